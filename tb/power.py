"""Energy of an OPC in library cells, from the toggles of its nets while it digests ADC codes.

Of every net: 1/2 C V^2 for a change, C the pins that hang on it and ``WIRE_PF`` per sink; the internal energy of the
cell that drives it, and that of the flip-flops' data pins. Of every flip-flop: both edges of its clock. What a net
spends on pins inside a memory is the memory's: a fan-out to every word is no load of who drives an SRAM.
Nothing is placed, so there is no clock tree, and signals have no delays, so there are no glitches. Energies are by
block: the part of the OPC whose name the cell carries.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.asic import WIRE_PF
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.registers import index_bits
from crossvote.sim.peripheral.base import OpcMap
from crossvote.sim.peripheral.programming import beat_payloads, map_writes, scale_writes
from crossvote.sim.peripheral.scales import OpcScales
from tb.gates import Gates, GateSimulation, Instance

#: Blocks by the beginning of a cell's name, as a pattern; the first that fits. What is left is the OPC's own glue.
#: ``banks``, ``map`` and ``scales`` are memories and what stands around them, which mapping mixes.
BLOCKS = {
    r"lane_\d+\.(shift_add|difference)": "lanes",
    "lane_": "banks",
    "sequencer": "glue",
    "map_check": "check",
    "map": "map",
    r"readout\.voter": "voter",
    "readout": "readout",
    r"scale\.scaler": "scale",
    "scale": "scales",
    "registers": "registers",
    "log": "log",
}
GLUE = "glue"
#: What the nets of memories are called.
MEMORIES = ("bank_", "entries", "counts", "words_")


@dataclass(frozen=True)
class BlockEnergy:
    """Energy of a block, pJ. data: of signals. clock: of its registers' clock pins. memory_clock: of its memories'.

    registers, memory_bits: flip-flops of either kind.
    """

    data: float
    clock: float
    memory_clock: float
    registers: int
    memory_bits: int


@dataclass(frozen=True)
class Run:
    """What a run of vectors gave. outputs: of each stream, in order. clocks: of the counted vector.

    energies: of that vector, mean over the streams, by block.
    """

    outputs: list[list[int]]
    clocks: int
    energies: dict[str, BlockEnergy]


def block(name: str, blocks: Mapping[str, str] = BLOCKS) -> str:
    """The block of a cell."""
    own = name.removeprefix("$flatten").replace("\\", "")
    return next((found for begin, found in blocks.items() if re.match(begin, own)), GLUE)


def is_memory(gates: Gates, one: Instance) -> bool:
    """Whether a flip-flop is a bit of a memory."""
    nets = [one.nets[pin.name] for pin in one.cell.pins.values() if pin.output and pin.name in one.nets]
    return any(f".{kind}" in f".{name}" for net in nets for name in gates.names[net] for kind in MEMORIES)


def block_areas(gates: Gates, blocks: Mapping[str, str] = BLOCKS) -> dict[str, float]:
    """Cell area of each block, um2."""
    found: dict[str, float] = defaultdict(float)
    for one in gates.instances:
        found[block(one.name, blocks)] += one.cell.area
    return dict(found)


def energies(
    gates: Gates,
    toggles: NDArray[np.int64],
    streams: int,
    clocks: int,
    volts: float,
    blocks: Mapping[str, str] = BLOCKS,
) -> dict[str, BlockEnergy]:
    """Energy by block of ``clocks`` clocks with these toggles of all streams: the mean of a stream."""
    of = {one.name: block(one.name, blocks) for one in gates.instances}
    holding = {of[one.name] for one in gates.storing if is_memory(gates, one)}
    load, stored_load = np.zeros(gates.nets), np.zeros(gates.nets)
    inner, stored_inner = np.zeros(gates.nets), np.zeros(gates.nets)
    owner, memory_owner = [GLUE] * gates.nets, [GLUE] * gates.nets
    clocked: dict[str, float] = defaultdict(float)
    memory: dict[str, float] = defaultdict(float)
    registers: dict[str, int] = defaultdict(int)
    bits: dict[str, int] = defaultdict(int)
    # Nets that come from outside are charged to where they go.
    for one in gates.instances:
        own = of[one.name]
        for sink, net in one.nets.items():
            if one.cell.pins[sink].output:
                continue
            if own in holding:
                stored_load[net] += one.cell.pins[sink].capacitance + WIRE_PF
                memory_owner[net] = own
            else:
                load[net] += one.cell.pins[sink].capacitance + WIRE_PF
                owner[net] = own
    for one in gates.instances:
        own = of[one.name]
        for pin_name, net in one.nets.items():
            pin = one.cell.pins[pin_name]
            if pin.output:
                owner[net] = own
                alone, with_memory = pin.edge_pj(float(load[net])), pin.edge_pj(float(load[net] + stored_load[net]))
                inner[net] += alone
                stored_inner[net] += with_memory - alone
            elif pin.clock:
                energy = 2 * pin.edge_pj(0.0) + (pin.capacitance + WIRE_PF) * volts**2
                stored = is_memory(gates, one)
                (memory if stored else clocked)[own] += energy * clocks
                (bits if stored else registers)[own] += 1
            else:
                (stored_inner if own in holding else inner)[net] += pin.edge_pj(0.0)
    data: dict[str, float] = defaultdict(float)
    for loads, inside, owners in ((load, inner, owner), (stored_load, stored_inner, memory_owner)):
        net_energy = (loads * volts**2 / 2 + inside) * toggles / streams
        net_energy[gates.clock] = 0.0
        for net, energy in enumerate(net_energy.tolist()):
            data[owners[net]] += energy
    return {
        name: BlockEnergy(data[name], clocked[name], memory[name], registers[name], bits[name])
        for name in sorted({*data, *clocked, *memory})
    }


def _writes(parameters: OpcParameters, opc_map: OpcMap, scales: OpcScales | None) -> Iterator[tuple[int, int]]:
    if parameters.column_map:
        yield from map_writes(parameters, opc_map)
    if scales is not None:
        yield from scale_writes(parameters, scales)


def drive(
    gates: Gates,
    parameters: OpcParameters,
    opc_map: OpcMap,
    scales: OpcScales | None,
    codes: Sequence[NDArray[np.unsignedinteger]],
    volts: float,
) -> Run:
    """Program an OPC, stream vectors back to back, and take the energy of the last but one.

    From its first beat to that of the last vector it is accumulated and one before it read out: a period of the steady
    state, with five vectors. codes: for each stream, as ``Peripheral.process`` takes them, three vectors at least.
    """
    streams = len(codes)
    simulation = GateSimulation(gates, -(-streams // 64))
    every = [list(beat_payloads(parameters, one)) for one in codes]
    beats = parameters.beats(codes[0].shape[1])
    total = beats * len(codes[0])
    steps = len(opc_map.read_order) if parameters.column_map else parameters.fixed_steps
    window = index_bits(parameters)
    assert len(gates.ports["bus__address"]) == window + 2
    wanted = len(codes[0]) * opc_map.outputs
    sums = simulation.gates.ports["o__payload"][: parameters.sum_bits]
    gates.ports["sum"] = sums
    outputs: list[list[int]] = [[] for _ in codes]
    writes = [*_writes(parameters, opc_map, scales)]
    for port in gates.ports:
        if port not in gates.outputs and port not in ("clk", "sum"):
            simulation.set(port, [0])
    simulation.set("rst", [1])
    simulation.settle()
    simulation.tick()
    simulation.set("rst", [0])
    simulation.set("bus__write_strobe", [0xF])
    simulation.set("o__ready", [1])
    for address, word in writes:
        simulation.set("bus__address", [address])
        simulation.set("bus__write_data", [word])
        simulation.set("bus__write", [1])
        simulation.settle()
        simulation.tick()
    simulation.set("bus__write", [0])
    sent = clocks = 0
    limit = 3 * total + len(codes[0]) * 4 * steps + 1000
    for _ in range(limit):
        simulation.set("i__valid", [int(sent < total)])
        if sent < total:
            simulation.set("i__payload", [one[sent] for one in every])
        simulation.settle()
        ready, valid = simulation.get("i__ready", streams), simulation.get("o__valid", streams)
        assert len(set(ready)) == len(set(valid)) == 1, "streams of one map keep step"
        if valid[0]:
            for number, value in enumerate(simulation.get("sum", streams)):
                outputs[number].append(value - (value >> (parameters.sum_bits - 1) << parameters.sum_bits))
        clocks += simulation.count
        simulation.tick()
        if ready[0] and sent < total:
            sent += 1
            # What an edge shows is the clock before it, so counting begins with the edge behind the beat.
            if sent == total - 2 * beats + 1:
                simulation.count = True
            elif sent == total - beats + 1:
                simulation.count = False
        if len(outputs[0]) == wanted:
            break
    assert len(outputs[0]) == wanted, f"{len(outputs[0])} of {wanted} outputs came"
    found = energies(gates, simulation.toggles[: gates.nets], streams, clocks, volts)
    return Run(outputs, clocks, found)
