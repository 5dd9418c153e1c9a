"""Co-simulation of word-line groups: real cells with their stuck ones -> ADC codes -> output peripherals (OPCs).

One request and one result, whoever hosts the time: ``cosimulate`` streams a group alone, and the system model puts
``ComputedCrossbars`` in the place of crossbars that only keep time. The OPC is any back end of
``crossvote.sim.peripheral``; its clock cycles set the pace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.tile_parameters import TileParameters
from crossvote.sim.array.checksum import mismatches
from crossvote.sim.array.crossbar import combine, read_cells, reference_outputs
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Bundle, GroupImage, MatrixImage
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.kernel import Fifo, LocalTime, Module, Simulation
from crossvote.sim.kernel.simulation import Behaviour
from crossvote.sim.peripheral import NumpyPeripheral, Peripheral
from crossvote.sim.peripheral.opc_array import OpcArray, check_votes
from crossvote.sim.peripheral.tile_array import Requantisation, TileArray
from crossvote.sim.peripheral.tile_backend import TileModel
from crossvote.sim.system.evidence import dump_transaction


@dataclass(frozen=True, eq=False)
class CosimRequest:
    """A word-line group to be computed.

    Attributes:
        image: what is programmed. x: int[V, K], quantized activations.
        make_peripheral: makes an OPC; called once per bundle of bit lines.
        faults: the chip's stuck cells, or None.
        outputs: only OPCs that make some of these outputs of the group; None means all.
        quantum: token vectors that are computed at once.
        threads: see ``OpcArray``.
        evidence: folder for the first transaction that differs from the reference, in its integers or in what is said
            of its checksum, as a waveform.
        make_tile: makes a whole tile, called once per bundle in the place of ``make_peripheral``; its outputs are
            quantized activations, with the ranges of the reference's integers.
    """

    image: GroupImage
    x: NDArray[np.integer]
    make_peripheral: Callable[[], Peripheral]
    faults: FaultMap | None = None
    outputs: range | None = None
    quantum: int = 16
    threads: int = 1
    evidence: Path | None = None
    make_tile: Callable[[TileParameters], TileModel] | None = None


@dataclass(eq=False)
class Cosimulation:
    """What came out of a computed group, beside the reference.

    Attributes:
        group: its name. backend: name of the OPC that ran. opcs: output peripherals that ran.
        outputs, reference: int64[V, N]; columns other than ``simulated`` are 0.
        simulated: int64[n], outputs of the group that some OPC makes; pruned ones are none.
        code_pairs: (positive, negative) ADC code pairs that went through the OPCs. cycles: clock cycles of all OPCs
        together. disagreements: votes that were not unanimous.
        simulated_ps: time on the chip from the first read to the last output; 0 inside a system run, which has its own.
        peripheral_seconds: wall time inside the peripherals. evidence: files about the first difference.
        requantise: what the hardware makes of integers int64[V, N] before they come out; None: nothing.
        spans: row blocks that each OPC of a bundle adds. checksums: those of the column map that OPCs checked.
        checksum_mismatches: how often one of them did not hold, as the OPCs counted it. checksum_reference: as often as
            that must be.
    """

    group: str
    backend: str
    opcs: int
    outputs: NDArray[np.int64]
    reference: NDArray[np.int64]
    simulated: NDArray[np.int64]
    code_pairs: int = 0
    cycles: int = 0
    disagreements: int = 0
    simulated_ps: int = 0
    peripheral_seconds: float = 0.0
    evidence: tuple[Path, ...] = field(default=())
    requantise: Requantisation | None = None
    spans: tuple[range, ...] = ()
    checksums: tuple[int, ...] = ()
    checksum_mismatches: int = 0
    checksum_reference: int = 0

    @property
    def compared(self) -> int:
        """Integers that were computed and compared."""
        return len(self.outputs) * len(self.simulated)

    @property
    def mismatches(self) -> int:
        """Outputs that differ from the reference; 0 is the only acceptable value."""
        return int((self.outputs != self.reference).sum())


class CosimRun:
    """The crossbars and OPCs of a request, computed vector by vector as the host's time goes on.

    Raises:
        UserError: no such outputs, an image or a vote that the OPC cannot serve, a chip without digitised pairs, or a
            fault map for another chip.
    """

    def __init__(self, request: CosimRequest, chip: ChipConfig) -> None:
        image = request.image
        if chip.crossbar.pair != "digital":
            raise UserError(f"chip '{chip.name}': computing group {image.name} needs digitised pairs of crossbars.")
        check_votes(image)
        bundles = image.bundles(chip.opc.columns, chip.opc.outputs)
        if request.outputs is not None:
            bundles = tuple(bundle for bundle in bundles if np.isin(bundle.outputs, request.outputs).any())
            if not bundles:
                raise UserError(
                    f"group {image.name}: all outputs asked for are pruned, so there is nothing to simulate."
                )
        expected = _reference(image, request.x, chip, request.faults)
        self.request, self.opcs = request, _hardware(request, chip, bundles, expected)
        requantise = self.opcs.requantise if isinstance(self.opcs, TileArray) else None
        simulated = np.sort(np.concatenate([b.outputs for b in bundles])) if bundles else np.zeros(0, np.int64)
        if requantise is not None:
            expected = requantise(expected)
        reference = np.zeros_like(expected)
        reference[:, simulated] = expected[:, simulated]
        checked = image.column_map.checksums > 0
        checksums = tuple(int(image.column_map.check[bundle.lines[0]]) for bundle in bundles if checked)
        unheld = mismatches(image, request.x, request.faults, self.opcs.spans, checksums)
        self.result = Cosimulation(
            group=image.name,
            backend=self.opcs.backend,
            opcs=len(self.opcs),
            outputs=np.zeros_like(reference),
            reference=reference,
            simulated=simulated,
            requantise=requantise,
            spans=tuple(self.opcs.spans),
            checksums=checksums,
            checksum_reference=int(unheld.sum()),
        )
        self.unheld, self.done = unheld, 0

    def compute(self, until: int) -> None:
        """Let the OPCs digest the vectors up to ``until``, as far as that has not been done."""
        if until <= self.done:
            return
        chunk = slice(self.done, until)
        run, result = self.opcs.process(self.request.x[chunk]), self.result
        result.outputs[chunk] = run.outputs
        result.code_pairs += run.code_pairs
        result.cycles += run.cycles
        result.disagreements += run.disagreements
        result.checksum_mismatches += run.checksum_mismatches
        result.peripheral_seconds += run.seconds
        self.done = until
        if self.request.evidence is None or result.evidence or isinstance(self.opcs, TileArray):
            return  # there is no evidence of tiles
        every = range(len(self.opcs.bundles))
        wrong = np.argwhere(result.outputs[chunk] != result.reference[chunk])
        if len(wrong):
            vector, output = chunk.start + int(wrong[0, 0]), int(wrong[0, 1])
            made_by = next(at for at in every if output in self.opcs.bundles[at].outputs)
            result.evidence = self._evidence([vector], [made_by], self.request.evidence)
        elif run.checksum_mismatches != self.unheld[chunk].sum():
            # A count says neither which vector nor which OPC.
            result.evidence = self._evidence(range(chunk.start, until), every, self.request.evidence)

    def _evidence(self, vectors: Iterable[int], bundles: Sequence[int], folder: Path) -> tuple[Path, ...]:
        """Files about the first of the OPC runs that goes wrong, vector by vector; none if none does again."""
        assert isinstance(self.opcs, OpcArray)
        for vector, at, span in product(vectors, bundles, self.opcs.spans):
            peripheral, opc_map = self.opcs.peripherals[at], self.opcs.maps[at]
            reference = NumpyPeripheral(peripheral.parameters)
            reference.load_map(opc_map)
            codes = self.opcs.opc_codes(self.request.x[vector : vector + 1], span, self.opcs.bundles[at])
            got, expected = peripheral.process(codes), reference.process(codes)
            if not np.array_equal(got.outputs, expected.outputs) or got.mismatches != expected.mismatches:
                what = {"group": self.result.group, "token": vector, "row_blocks": [span.start, span.stop]}
                return dump_transaction(folder, peripheral.parameters, opc_map, codes, got, expected, what)
        return ()


def cosimulate(request: CosimRequest, chip: ChipConfig, progress: Progress = no_progress) -> Cosimulation:
    """Stream the token vectors of one group through its crossbars and OPCs, hosted by SimPy.

    All crossbars of the group read the same token at the same time (weights are stationary, word lines are shared), and
    all OPCs digest it at the same time; a bounded queue lies in between. Time is loose: the crossbars run ahead by a
    quantum of vectors, then the simulation catches up. With a quantum of one vector it is exact.

    Raises:
        UserError: see ``CosimRun``; or nothing of the group is on any bit line.
    """
    run, simulation, vectors = CosimRun(request, chip), Simulation(), len(request.x)
    if not len(run.opcs):
        raise UserError(f"group {request.image.name}: all its outputs are pruned, so there is nothing to simulate.")
    queue = Fifo(simulation, "queue", chip.opc.queue_vectors)
    one, two = run.opcs.measured_cycles()
    # The clock cycles of a whole tile hold its reads.
    read_ps = 0 if isinstance(run.opcs, TileArray) else chip.vector_interval_ps

    def crossbars() -> Behaviour:
        local = LocalTime(simulation, request.quantum * read_ps)
        for vector in range(1, vectors + 1):
            local.spend(read_ps)
            if local.due or vector == vectors:
                yield local.synchronise()
                first = run.done
                run.compute(vector)
                for _ in range(first, vector):
                    yield queue.put(None)
                progress("co-simulation", vector, vectors)

    def peripherals() -> Behaviour:
        for vector in range(1, vectors + 1):
            yield queue.get()
            yield simulation.delay((one if vector == vectors else two - one) * chip.opc.clock_ps)

    simulation.start(Module(simulation, "crossbars"), crossbars())
    simulation.run(simulation.start(Module(simulation, "opcs"), peripherals()))
    run.result.simulated_ps = simulation.now
    return run.result


def of_matrix(result: Cosimulation, matrix: MatrixImage) -> Cosimulation:
    """The integers of one matrix of a group that was computed as a whole.

    Code pairs, clock cycles, disagreements and checksums stay those of the group: output peripherals are shared.
    """
    own = np.zeros(result.outputs.shape[1], np.bool_)
    own[matrix.first_output : matrix.first_output + matrix.outputs] = True
    return replace(
        result,
        outputs=np.where(own, result.outputs, 0),
        reference=np.where(own, result.reference, 0),
        simulated=result.simulated[own[result.simulated]],
    )


def _hardware(
    request: CosimRequest, chip: ChipConfig, bundles: Sequence[Bundle], expected: NDArray[np.int64]
) -> OpcArray | TileArray:
    """What computes the bundles of a request."""
    image, faults, threads = request.image, request.faults, request.threads
    if request.make_tile is not None:
        return TileArray(image, chip, request.make_tile, faults, bundles, expected, threads)
    return OpcArray(image, chip, request.make_peripheral, faults, bundles, threads)


def cosim_requests(
    chip: ChipConfig, images: Mapping[str, GroupImage], x: Mapping[str, NDArray[np.integer]], **options: Any
) -> dict[str, CosimRequest]:
    """``CosimRequest`` for every group of ``images`` that has inputs in ``x``, both by group name.

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
    return {name: CosimRequest(images[name], values, **options) for name, values in x.items()}


def _reference(
    group: GroupImage, x: NDArray[np.integer], chip: ChipConfig, faults: FaultMap | None
) -> NDArray[np.int64]:
    """The integers that must come out, int64[V, N]: bit by bit where an ADC may clip, else at once."""
    if chip.clips:
        return reference_outputs(group, x, chip.opc.input_bits, chip.adc.bits, faults)
    return linear_outputs(group, x, faults)


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
