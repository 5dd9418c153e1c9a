"""A word-line group streamed through its OPCs, clock cycle by clock cycle, with a log of what happened when.

The crossbars read a vector, hand its codes to every OPC, and read the next one while these digest them. SimPy hosts the
time and steps compiled OPCs at every edge; a SystemC platform that plays the same layer (``crossvote systemc``) writes
the same log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.column_map import MAP_REFILL
from crossvote.rtl.parameters import TAG_BITS
from crossvote.rtl.registers import Register
from crossvote.sim.array.crossbar import driven_bits
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Bundle
from crossvote.sim.chip.components.opc import opc_parameters
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.kernel import Fifo, Module, Simulation, clocked
from crossvote.sim.kernel.simulation import Behaviour
from crossvote.sim.peripheral.base import OpcMap
from crossvote.sim.peripheral.numpy_backend import NumpyPeripheral
from crossvote.sim.peripheral.opc_array import OpcArray
from crossvote.sim.peripheral.programming import beat_payloads, map_writes
from crossvote.sim.peripheral.verilator_backend import VerilatorPeripheral
from crossvote.sim.system.cosim import CosimRequest


class SteppedOpc(Protocol):
    """An OPC or a tile that goes clock by clock, as ``VerilatorPeripheral`` does."""

    def step(self, beat: bytes | None, ready: bool) -> tuple[bool, int | None]: ...


@dataclass(frozen=True, eq=False)
class StreamedOpc:
    """One OPC of a streamed layer.

    Attributes:
        bundle: its bit lines and outputs. span: the row blocks that it adds. opc_map: what its bit lines hold.
    """

    bundle: Bundle
    span: range
    opc_map: OpcMap


class StreamedLayer:
    """A request's crossbars and OPCs, ready to be streamed.

    Attributes:
        request, chip, parameters: what is streamed. opcs: in the order of the log. interval_ps: from one vector that
        the crossbars read to the next. quantum_ps: how far an initiator may run ahead.

    Raises:
        UserError: a chip whose OPC has no map or has a scale stage, or an image that its OPCs cannot serve.
    """

    #: What is streamed to, as a word in names.
    kind = "opc"

    def __init__(self, request: CosimRequest, chip: ChipConfig) -> None:
        self.request, self.chip, self.parameters = request, chip, opc_parameters(chip)
        p, group = self.parameters, request.image
        if p.scale_bits or not p.column_map:
            raise UserError(f"chip '{chip.name}': a streamed layer needs an OPC with a column map and no scale stage.")
        self._check_pairs()
        bundles = group.bundles(chip.opc.columns, chip.opc.outputs)
        self._array = OpcArray(group, chip, lambda: NumpyPeripheral(p), request.faults, bundles)
        self.opcs = tuple(
            StreamedOpc(bundle, span, opc_map)
            for span in self._array.spans
            for bundle, opc_map in zip(bundles, self._array.maps, strict=True)
        )
        if not self.opcs:
            raise UserError(f"group {group.name}: all its outputs are pruned, so there is nothing to stream.")
        self.bundles = bundles
        self._set_times()

    def _check_pairs(self) -> None:
        if self.chip.crossbar.pair != "digital":
            name = self.request.image.name
            raise UserError(f"chip '{self.chip.name}': streaming group {name} needs digitised pairs of crossbars.")

    def _set_times(self) -> None:
        self.interval_ps, self.clock_ps = self.chip.vector_interval_ps, self.chip.opc.clock_ps
        self.quantum_ps = self.request.quantum * self.interval_ps

    @property
    def vectors(self) -> int:
        return len(self.request.x)

    @property
    def faults(self) -> FaultMap | None:
        return self.request.faults

    @property
    def made(self) -> NDArray[np.int64]:
        """int64[n], outputs of the group that some OPC makes, ascending."""
        return np.sort(np.concatenate([bundle.outputs for bundle in self.bundles]))

    def codes(self, opc: StreamedOpc) -> NDArray[np.unsignedinteger]:
        """What an OPC gets, as ``Peripheral.process`` takes it."""
        return self._array.opc_codes(self.request.x, opc.span, opc.bundle)

    def writes(self, number: int) -> list[tuple[int, int]]:
        """(address, word) of the register writes that program an OPC."""
        opc = self.opcs[number]
        return [*map_writes(self.parameters, opc.opc_map), (int(Register.ROW_BLOCKS), len(opc.span))]

    def beats(self, number: int) -> int:
        """Beats of a vector of an OPC."""
        return self.parameters.beats(len(self.opcs[number].span))

    def payloads(self, number: int) -> list[bytes]:
        """The beats of all vectors of an OPC, little-endian."""
        p = self.parameters
        size = (2 * p.lanes * p.adc_bits + 2 + TAG_BITS + 7) // 8
        return [payload.to_bytes(size, "little") for payload in beat_payloads(p, self.codes(self.opcs[number]))]

    @property
    def value_bits(self) -> int:
        """Bits of the value of an output, the lowest of its payload."""
        return self.parameters.sum_bits

    def make(self, number: int) -> SteppedOpc:
        """An OPC, programmed."""
        opc = VerilatorPeripheral(self.parameters)
        opc.load_map(self.opcs[number].opc_map)
        opc.write(Register.ROW_BLOCKS, len(self.opcs[number].span))
        return opc

    def driven(self) -> NDArray[np.int16]:
        """int16[V, row blocks * rows], inputs as driven: 0 on word lines that are pruned or beyond the group."""
        group, width = self.request.image, self.chip.opc.input_bits
        weights = 1 << np.arange(width)
        weights[-1] *= -1
        blocks = [
            np.tensordot(driven_bits(group, block, self.request.x, width).astype(np.int64), weights, (1, 0))
            for block in range(group.row_blocks)
        ]
        return np.concatenate(blocks, axis=1).astype(np.int16)


@dataclass(frozen=True)
class Entry:
    """What happened to one vector in one OPC, times in ps.

    sent: its codes were offered. accepted: the last beat was taken. finished: the last output was delivered.
    """

    opc: int
    vector: int
    sent_ps: int
    accepted_ps: int
    finished_ps: int
    outputs: tuple[int, ...]

    def line(self) -> str:
        """As a row of the log."""
        times = f"{self.sent_ps},{self.accepted_ps},{self.finished_ps}"
        return f"{self.opc},{self.vector},{times},{' '.join(map(str, self.outputs))}"


def log_text(entries: list[Entry]) -> str:
    """The log as CSV."""
    return "\n".join(["opc,vector,sent_ps,accepted_ps,finished_ps,outputs", *(e.line() for e in entries)]) + "\n"


class _Edges:
    """One OPC or tile at its clock: what went in and came out, and when."""

    def __init__(self, parent: Simulation, number: int, layer: StreamedLayer, opc: SteppedOpc) -> None:
        self.module = Module(parent, f"{layer.kind}_{number}")
        vectors = layer.vectors
        self.simulation, self.opc, self.value_bits = parent, opc, layer.value_bits
        self.per_vector, self.beats = layer.opcs[number].opc_map.outputs, layer.beats(number)
        self.source = Fifo(self.module, "source", self.beats + 1)
        self.sink = Fifo(self.module, "sink", 1)
        self._payloads = layer.payloads(number)
        self.accepted = [parent.env.event() for _ in range(vectors)]
        self.done = parent.env.event()
        self.sent: list[int] = []
        self.taken: list[int] = []
        self.outputs: list[tuple[int, int]] = []
        self._beats_taken = 0

    def step(self, beat: bytes | None, ready: bool) -> tuple[bool, None]:
        """One clock; outputs are taken as they come."""
        accepted, payload = self.opc.step(beat, True)
        now, bits = self.simulation.now, self.value_bits
        if accepted:
            self._beats_taken += 1
            vector, rest = divmod(self._beats_taken, self.beats)
            if rest == 0:
                self.taken.append(now)
                self.accepted[vector - 1].succeed()
        if payload is not None:
            value = payload & (1 << bits) - 1
            self.outputs.append((now, value - (value >> bits - 1 << bits)))
            if len(self.outputs) == len(self.accepted) * self.per_vector:
                self.done.succeed()
        return accepted, None

    def offer(self, vector: int) -> None:
        """All beats of a vector, whose place is free because the one before was accepted."""
        self.sent.append(self.simulation.now)
        for payload in self._payloads[vector * self.beats : (vector + 1) * self.beats]:
            self.source.put(payload)

    def entries(self, number: int) -> list[Entry]:
        found = []
        for vector, (sent, taken) in enumerate(zip(self.sent, self.taken, strict=True)):
            own = self.outputs[vector * self.per_vector : (vector + 1) * self.per_vector]
            found.append(Entry(number, vector, sent, taken, own[-1][0], tuple(value for _, value in own)))
        return found


def stream(layer: StreamedLayer) -> list[Entry]:
    """Stream a layer, every OPC stepped at every edge; the log, by OPC and vector.

    Programming comes first, over each OPC's registers, one access per clock: ID is read, the map and ROW_BLOCKS are
    written, and STATUS is read until the map has been fetched anew.
    """
    simulation = Simulation()
    period = layer.clock_ps
    edges = [_Edges(simulation, n, layer, layer.make(n)) for n in range(len(layer.opcs))]
    clocks = max(1 + len(layer.writes(n)) + MAP_REFILL for n in range(len(layer.opcs)))

    def crossbars() -> Behaviour:
        yield simulation.delay(clocks * period + layer.interval_ps)
        for vector in range(layer.vectors):
            start = simulation.now
            for one in edges:
                one.offer(vector)
            for one in edges:
                yield one.accepted[vector]
            yield simulation.delay(max(0, start + layer.interval_ps - simulation.now))
        for one in edges:
            yield one.done

    for one in edges:
        simulation.start(one.module, clocked(simulation, period, one.step, one.source, one.sink))
    simulation.run(simulation.start(Module(simulation, "crossbars"), crossbars()))
    return [entry for number, one in enumerate(edges) for entry in one.entries(number)]


def outputs_of(layer: StreamedLayer, entries: list[Entry]) -> NDArray[np.int64]:
    """int64[V, N]: what a log says about the outputs of the group, partial sums added; 0 where no OPC makes them."""
    found = np.zeros((layer.vectors, layer.request.image.outputs), np.int64)
    for entry in entries:
        found[entry.vector, layer.opcs[entry.opc].bundle.outputs] += entry.outputs
    return found
