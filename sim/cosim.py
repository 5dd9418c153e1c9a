"""Co-simulation of one word-line group: crossbars with stuck cells -> ADC codes -> output peripheral, hosted by SimPy.

All crossbars of the group read the same token at the same time (weights are stationary, word lines are shared). Their
codes go through a bounded queue to the output peripherals (OPCs), which are the exported Verilog when the peripheral
is a compiled one. With ``vote = output`` one OPC serves the row blocks of its bit lines one after the other, because it
adds them before the vote; otherwise every row block has an OPC of its own and the partial sums are added behind it.

Time is loose: one transaction carries the token vectors of one quantum, and its delay is what the crossbars need per
vector (``ChipConfig.vector_interval_ps``) or the clock cycles that the peripheral reports.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

from rtl.parameters import OpcParameters
from sim import arithmetic
from sim.chip import ChipConfig
from sim.crossbar import driven_bits, read_cells, reference_outputs
from sim.errors import UserError
from sim.faults import FaultMap
from sim.image import Bundle, GroupImage
from sim.peripheral import OpcMap, Peripheral
from sim.progress import Progress, no_progress


def opc_parameters(chip: ChipConfig) -> OpcParameters:
    """The RTL's parameters for a chip.

    Raises:
        UserError: sizes that the RTL cannot have.
    """
    opc = chip.opc
    try:
        return OpcParameters(
            columns=opc.columns,
            lanes=opc.lanes,
            planes=opc.planes,
            input_bits=opc.input_bits,
            adc_bits=chip.adc.bits,
        )
    except ValueError as error:
        raise UserError(f"chip '{chip.name}': the output peripheral cannot be built: {error}") from None


@dataclass(frozen=True, eq=False)
class CosimResult:
    """What came out of the simulated hardware, beside the NumPy reference.

    Attributes:
        outputs, reference: int64[V, n], the integers of the simulated outputs (``output_index``) and of the reference.
        output_index: int64[n], outputs of the group that were simulated.
        opcs: output peripherals simulated. code_pairs: (positive, negative) ADC code pairs that went through them.
        cycles: clock cycles of all OPCs together. disagreements: votes that were not unanimous.
        simulated_ps: time on the chip from the first read to the last output.
        peripheral_seconds: wall time inside the peripheral. wall_seconds: of the whole run.
    """

    outputs: NDArray[np.int64]
    reference: NDArray[np.int64]
    output_index: NDArray[np.int64]
    backend: str
    opcs: int
    code_pairs: int
    cycles: int
    disagreements: int
    simulated_ps: int
    peripheral_seconds: float
    wall_seconds: float

    @property
    def mismatches(self) -> int:
        """Outputs that differ from the reference; 0 is the only acceptable value."""
        return int((self.outputs != self.reference).sum())


def cosimulate(
    group: GroupImage,
    x: NDArray[np.integer],
    chip: ChipConfig,
    make_peripheral: Callable[[], Peripheral],
    faults: FaultMap | None = None,
    outputs: range | None = None,
    quantum: int = 4,
    progress: Progress = no_progress,
) -> CosimResult:
    """Stream token vectors through the crossbars and peripherals of a group.

    Args:
        group: what is programmed. x: int[V, K], quantized activations. faults: the chip's stuck cells.
        make_peripheral: called once per OPC.
        outputs: only OPCs that make some of these outputs of the group are simulated; None means all.
        quantum: token vectors per transaction.

    Raises:
        UserError: no such outputs, an image the peripheral cannot serve, or a fault map for another chip.
    """
    start = time.perf_counter()
    wanted = range(group.outputs) if outputs is None else outputs
    bundles = [b for b in group.bundles(chip.opc.columns) if np.isin(b.outputs, wanted).any()]
    if not bundles:
        raise UserError(f"group {group.name}: all outputs asked for are pruned, so there is nothing to simulate.")
    run = _Run(group, chip, make_peripheral, faults, bundles, len(x), progress)
    run.stream(np.asarray(x), quantum)
    index = np.sort(np.concatenate([b.outputs for b in bundles]))
    reference = reference_outputs(group, x, chip.opc.input_bits, chip.adc.bits, faults)
    return CosimResult(
        outputs=run.sums[:, index],
        reference=reference[:, index],
        output_index=index,
        backend=run.opcs[0].peripheral.name,
        opcs=len(run.opcs),
        code_pairs=run.code_pairs,
        cycles=run.cycles,
        disagreements=run.disagreements,
        simulated_ps=int(run.env.now),
        peripheral_seconds=run.peripheral_seconds,
        wall_seconds=time.perf_counter() - start,
    )


@dataclass(frozen=True, eq=False)
class _Opc:
    """One output peripheral: its bit lines, the row blocks it serves and its queue."""

    bundle: Bundle
    row_blocks: slice
    peripheral: Peripheral
    queue: simpy.Store


class _Run:
    """State of one co-simulation run."""

    def __init__(
        self,
        group: GroupImage,
        chip: ChipConfig,
        make_peripheral: Callable[[], Peripheral],
        faults: FaultMap | None,
        bundles: list[Bundle],
        vectors: int,
        progress: Progress,
    ) -> None:
        self.env = simpy.Environment()
        self.group, self.chip, self.progress = group, chip, progress
        self.cells = [read_cells(group, row_block, faults) for row_block in range(group.row_blocks)]
        self.sums = np.zeros((vectors, group.outputs), np.int64)
        self.code_pairs = self.cycles = self.disagreements = 0
        self.peripheral_seconds = 0.0
        serial = group.vote == "output"
        spans = [slice(0, group.row_blocks)] if serial else [slice(g, g + 1) for g in range(group.row_blocks)]
        self.opcs = []
        for bundle in bundles:
            opc_map = OpcMap.from_bundle(group.column_map, bundle, chip.opc.columns)
            for span in spans:
                peripheral = make_peripheral()
                peripheral.load_map(opc_map)
                queue = simpy.Store(self.env, capacity=chip.opc.queue_vectors)
                self.opcs.append(_Opc(bundle, span, peripheral, queue))

    def stream(self, x: NDArray[np.integer], quantum: int) -> None:
        """Run until every vector of x has left the peripherals."""
        chunks = [slice(i, min(i + quantum, len(x))) for i in range(0, len(x), quantum)]
        self.steps_done, self.steps = 0, len(chunks) * len(self.opcs)
        self.env.process(self._crossbars(x, chunks))
        for opc in self.opcs:
            self.env.process(self._peripheral(opc, len(chunks)))
        self.env.run()

    def _crossbars(self, x: NDArray[np.integer], chunks: list[slice]) -> Generator[Any, Any, None]:
        """Read every crossbar of the group, one quantum of tokens after the other."""
        for chunk in chunks:
            vectors = chunk.stop - chunk.start
            yield self.env.timeout(vectors * self.chip.vector_interval_ps)
            codes = np.stack([self._codes(g, x[chunk]) for g in range(self.group.row_blocks)], axis=1)
            for opc in self.opcs:
                yield opc.queue.put((chunk, codes[:, opc.row_blocks][..., opc.bundle.lines, :]))

    def _codes(self, row_block: int, x: NDArray[np.integer]) -> NDArray[np.uint16]:
        """uint16[V, n_x, lines, 2]."""
        bits = driven_bits(self.group, row_block, x, self.chip.opc.input_bits)
        codes = [arithmetic.adc_codes(bits, cells, self.chip.adc.bits) for cells in self.cells[row_block]]
        return np.stack(codes, axis=-1)

    def _peripheral(self, opc: _Opc, chunks: int) -> Generator[Any, Any, None]:
        """Digest one transaction after the other and add its outputs to the tokens' sums."""
        missing = self.chip.opc.columns - len(opc.bundle.lines)
        for _ in range(chunks):
            chunk, codes = yield opc.queue.get()
            padded = np.pad(codes, [(0, 0)] * 3 + [(0, missing), (0, 0)])
            start = time.perf_counter()
            result = opc.peripheral.process(padded)
            self.peripheral_seconds += time.perf_counter() - start
            yield self.env.timeout(result.cycles * self.chip.opc.clock_ps)
            self.sums[chunk, opc.bundle.outputs] += result.outputs
            self.code_pairs += padded[..., 0].size
            self.cycles += result.cycles
            self.disagreements += result.disagreements
            self.steps_done += 1
            self.progress("co-simulation", self.steps_done, self.steps)
