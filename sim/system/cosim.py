"""Co-simulation of one word-line group: crossbars with stuck cells -> ADC codes -> output peripherals, hosted by SimPy.

All crossbars of the group read the same token at the same time (weights are stationary, word lines are shared), and
all output peripherals (OPCs) digest it at the same time; a bounded queue lies in between. The OPCs are the exported
Verilog when the peripheral is a compiled one, and then its clock cycles set their pace.

Time is loose: the crossbars run ahead by a quantum of token vectors, which are computed at once; then the simulation
catches up. With a quantum of one vector it is exact.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.array.crossbar import reference_outputs
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import GroupImage
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.kernel import Fifo, LocalTime, Module, Simulation
from crossvote.sim.kernel.simulation import Behaviour
from crossvote.sim.peripheral import Peripheral
from crossvote.sim.peripheral.opc_array import OpcArray, OpcRun


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
    threads: int = 1,
    progress: Progress = no_progress,
) -> CosimResult:
    """Stream token vectors through the crossbars and peripherals of a group.

    Args:
        group: what is programmed. x: int[V, K], quantized activations. faults: the chip's stuck cells.
        make_peripheral, threads: see ``OpcArray``.
        outputs: only OPCs that make some of these outputs of the group are simulated; None means all.
        quantum: token vectors that the crossbars run ahead; 1 is exact.

    Raises:
        UserError: no such outputs, an image the peripheral cannot serve, or a fault map for another chip.
    """
    start = time.perf_counter()
    wanted = range(group.outputs) if outputs is None else outputs
    bundles = [b for b in group.bundles(chip.opc.columns, chip.opc.outputs) if np.isin(b.outputs, wanted).any()]
    if not bundles:
        raise UserError(f"group {group.name}: all outputs asked for are pruned, so there is nothing to simulate.")
    opcs = OpcArray(group, chip, make_peripheral, faults, bundles, threads)
    runs, simulated_ps = _stream(opcs, np.asarray(x), quantum, progress)
    index = np.sort(np.concatenate([b.outputs for b in bundles]))
    reference = reference_outputs(group, x, chip.opc.input_bits, chip.adc.bits, faults)
    return CosimResult(
        outputs=np.concatenate([run.outputs for run in runs])[:, index],
        reference=reference[:, index],
        output_index=index,
        backend=opcs.backend,
        opcs=len(opcs),
        code_pairs=sum(run.code_pairs for run in runs),
        cycles=sum(run.cycles for run in runs),
        disagreements=sum(run.disagreements for run in runs),
        simulated_ps=simulated_ps,
        peripheral_seconds=sum(run.seconds for run in runs),
        wall_seconds=time.perf_counter() - start,
    )


def _stream(opcs: OpcArray, x: NDArray[np.integer], quantum: int, progress: Progress) -> tuple[list[OpcRun], int]:
    """Results quantum by quantum, and the time (ps) at which the last output is there."""
    chip, simulation = opcs.chip, Simulation()
    queue = Fifo(simulation, "queue", chip.opc.queue_vectors)
    one, two = opcs.measured_cycles()
    runs: list[OpcRun] = []

    def crossbars() -> Behaviour:
        local, first = LocalTime(simulation, quantum * chip.vector_interval_ps), 0
        for vector in range(1, len(x) + 1):
            local.spend(chip.vector_interval_ps)
            if local.due or vector == len(x):
                yield local.synchronise()
                runs.append(opcs.process(x[first:vector]))
                for _ in range(first, vector):
                    yield queue.put(None)
                first = vector
                progress("co-simulation", vector, len(x))

    def peripherals() -> Behaviour:
        for vector in range(1, len(x) + 1):
            yield queue.get()
            yield simulation.delay((one if vector == len(x) else two - one) * chip.opc.clock_ps)

    simulation.start(Module(simulation, "crossbars"), crossbars())
    simulation.run(simulation.start(Module(simulation, "opcs"), peripherals()))
    return runs, simulation.now
