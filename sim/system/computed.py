"""Crossbars whose integers are computed while the system model runs: real cells, stuck ones included, and a real OPC.

They answer the same transport call as crossbars that only keep time. The output peripheral is any backend of
``crossvote.sim.peripheral``: the exported Verilog when it is a compiled one, and then its clock cycles set the time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.array.crossbar import combine, read_cells
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import GroupImage
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.kernel import Module, Transaction
from crossvote.sim.peripheral import NumpyPeripheral, Peripheral
from crossvote.sim.peripheral.opc_array import OpcArray
from crossvote.sim.system.evidence import dump_transaction
from crossvote.sim.system.network import Network, Route
from crossvote.sim.system.placement import GroupPlace
from crossvote.sim.system.stages import Crossbars, GroupTiming, Token


@dataclass(frozen=True, eq=False)
class RealGroup:
    """A word-line group to be computed.

    Attributes:
        image: what is programmed. x: int[tokens, K], quantized activations; further tokens are timed only.
        make_peripheral: makes an OPC; called once per bundle of bit lines.
        faults: the chip's stuck cells, or None.
        quantum: token vectors that are computed at once; changes nothing but speed.
        threads: see ``OpcArray``.
        evidence: folder for the first transaction whose integers differ from the reference, as a waveform.
    """

    image: GroupImage
    x: NDArray[np.integer]
    make_peripheral: Callable[[], Peripheral]
    faults: FaultMap | None = None
    quantum: int = 16
    threads: int = 1
    evidence: Path | None = None


@dataclass(eq=False)
class Computed:
    """What came out of a computed group.

    Attributes:
        outputs: int64[tokens, N], integers from the peripherals; pruned outputs are 0.
        reference: int64[tokens, N], the same from one integer product per row block and a median.
        code_pairs: pairs of ADC codes that went through the peripherals. cycles: clock cycles of all OPCs together.
        disagreements: votes that were not unanimous. opcs: output peripherals on the chip.
        peripheral_seconds: wall time inside the peripherals. evidence: files about the first mismatch.
    """

    backend: str
    outputs: NDArray[np.int64]
    reference: NDArray[np.int64]
    opcs: int
    code_pairs: int = 0
    cycles: int = 0
    disagreements: int = 0
    peripheral_seconds: float = 0.0
    evidence: tuple[Path, ...] = ()

    @property
    def mismatches(self) -> int:
        """Outputs that differ from the reference; 0 is the only acceptable value."""
        return int((self.outputs != self.reference).sum())


class ComputedCrossbars(Crossbars):
    """``Crossbars`` that also compute; the time of the output peripheral is what the backend's cycles say.

    Raises:
        UserError: a chip whose ADCs clip or that has no pairs of 1-bit cells, or vectors of the wrong length.
    """

    def __init__(
        self,
        parent: Module,
        name: str,
        place: GroupPlace,
        timing: GroupTiming,
        network: Network,
        route: Route,
        resolution: str,
        real: RealGroup,
    ) -> None:
        chip, image = timing.chip, real.image
        if chip.clips or chip.crossbar.pair != "digital" or chip.pipeline.peripheral != "rtl":
            raise UserError(
                f"chip '{chip.name}': computing group {image.name} needs digitised pairs, ADCs that do not clip and "
                "pipeline.peripheral = 'rtl'."
            )
        self.real = real
        self.opcs = OpcArray(
            image,
            chip,
            real.make_peripheral,
            real.faults,
            image.bundles(chip.opc.columns, chip.opc.outputs),
            real.threads,
        )
        if len(self.opcs):
            one, two = self.opcs.measured_cycles()
            timing = replace(timing, measured=(two - one, one - timing.beats))
        super().__init__(parent, name, place, timing, network, route, resolution)
        self.computed = Computed(
            backend=self.opcs.backend,
            outputs=np.zeros((len(real.x), image.outputs), np.int64),
            reference=linear_outputs(image, real.x, real.faults),
            opcs=len(self.opcs),
        )
        # Tokens come in the order of ``real.x``: so many have come, so many are computed.
        self._started = self._done = 0

    def transport(self, transaction: Transaction, arrival_ps: int) -> tuple[int, int]:
        """Time as in ``Crossbars``; the vectors of a quantum are computed when its first token comes."""
        assert isinstance(transaction, Token)
        if self._done < len(self.real.x) and self._started >= self._done:
            self._compute(slice(self._done, min(self._done + self.real.quantum, len(self.real.x))))
        if self._started < len(self.real.x):
            transaction.request = self.real.x[self._started : self._started + 1]
            transaction.response = self.computed.outputs[self._started : self._started + 1]
        self._started += 1
        return super().transport(transaction, arrival_ps)

    def _compute(self, chunk: slice) -> None:
        run, computed = self.opcs.process(self.real.x[chunk]), self.computed
        computed.outputs[chunk] = run.outputs
        computed.code_pairs += run.code_pairs
        computed.cycles += run.cycles
        computed.disagreements += run.disagreements
        computed.peripheral_seconds += run.seconds
        self._done = chunk.stop
        wrong = np.argwhere(computed.outputs[chunk] != computed.reference[chunk])
        if len(wrong) and self.real.evidence is not None and not computed.evidence:
            computed.evidence = self._evidence(chunk.start + int(wrong[0, 0]), int(wrong[0, 1]), self.real.evidence)

    def _evidence(self, token: int, output: int, folder: Path) -> tuple[Path, ...]:
        """Files about the OPC run that made ``output`` of ``token`` wrong; none if it does not happen again."""
        at = next(i for i, bundle in enumerate(self.opcs.bundles) if output in bundle.outputs)
        peripheral, opc_map = self.opcs.peripherals[at], self.opcs.maps[at]
        reference = NumpyPeripheral(peripheral.parameters)
        reference.load_map(opc_map)
        for span in self.opcs.spans:
            codes = self.opcs.opc_codes(self.real.x[token : token + 1], span, self.opcs.bundles[at])
            got, expected = peripheral.process(codes).outputs, reference.process(codes).outputs
            if not np.array_equal(got, expected):
                what = {"group": self.real.image.name, "token": token, "row_blocks": [span.start, span.stop]}
                return dump_transaction(folder, peripheral.parameters, opc_map, codes, got, expected, what)
        return ()


def linear_outputs(group: GroupImage, x: NDArray[np.integer], faults: FaultMap | None) -> NDArray[np.int64]:
    """y int64[V, N] for inputs x [V, K] where no ADC clips, without ADC codes: D = x (cells+ - cells-) per bit line.

    Independent of the bit-serial reference in ``crossvote.sim.array.crossbar`` and n_x times cheaper.
    """
    driven = np.zeros((len(x), group.row_blocks * group.rows))
    driven[:, : group.inputs] = np.where(group.kept_inputs, x, 0)
    sums = np.empty((len(x), group.row_blocks, len(group.column_map)), np.int64)
    sign = np.where(group.column_map.flipped, -1, 1)
    for g in range(group.row_blocks):
        cells = read_cells(group, g, faults).astype(np.float64)
        sums[:, g] = (driven[:, g * group.rows : (g + 1) * group.rows] @ (cells[0] - cells[1])) * sign
    return combine(sums, group.column_map, group.vote, group.outputs)


def real_groups(
    chip: ChipConfig, images: dict[str, GroupImage], x: dict[str, NDArray[np.integer]], **options: object
) -> dict[str, RealGroup]:
    """``RealGroup`` for every group of ``images`` that has inputs in ``x``, both by group name.

    Raises:
        UserError: inputs of the wrong length or range for their group.
    """
    low, high = -(1 << (chip.opc.input_bits - 1)), (1 << (chip.opc.input_bits - 1)) - 1
    for name, values in x.items():
        group = images.get(name)
        if group is None:
            raise UserError(f"there is no word-line group '{name}'; known are {', '.join(images)}.")
        if values.ndim != 2 or values.shape[1] != group.inputs:
            raise UserError(f"group {name} takes vectors of {group.inputs} inputs, not an array of {values.shape}.")
        if values.size and (values.min() < low or values.max() > high):
            raise UserError(f"the inputs of group {name} do not fit into {chip.opc.input_bits} bits.")
    return {name: RealGroup(images[name], values, **options) for name, values in x.items()}  # type: ignore[arg-type]
