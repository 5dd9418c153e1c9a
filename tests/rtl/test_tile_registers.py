"""Registers of the tile in Amaranth's simulator: what is refused, and the interrupt."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from amaranth.sim import Simulator, SimulatorContext
from numpy.typing import NDArray

from crossvote.rtl.registers import OPTIONS_WORD, Register, Status, scale_word
from crossvote.rtl.tile_parameters import TileParameters
from crossvote.rtl.tile_registers import (
    LOG_LINE_WORD,
    SELF_TEST_REGISTERS,
    TileRegister,
    offset_address,
    tile_capability_words,
    tile_scale_address,
)
from crossvote.sim.peripheral import OpcScales
from crossvote.sim.peripheral.numpy_backend import NumpyPeripheral
from crossvote.sim.peripheral.tile import activation_payloads, tile_codes, tile_outputs, tile_writes
from tb.crossbars import TileOnCrossbars
from tb.stimulus import random_map
from tb.tile_case import THREE_OPCS as P


class Registers:
    """The register port of a tile in a test bench."""

    def __init__(self, dut: TileOnCrossbars, ctx: SimulatorContext) -> None:
        self.dut, self.ctx = dut, ctx

    async def write(self, address: int, word: int, strobe: int = 0xF) -> bool:
        """False when it is refused."""
        bus, ctx = self.dut.bus, self.ctx
        for port, value in ((bus.address, address), (bus.write_data, word & 0xFFFFFFFF), (bus.write_strobe, strobe)):
            ctx.set(port, value)
        ctx.set(bus.write, 1)
        *_, refused = await ctx.tick().sample(bus.error)
        ctx.set(bus.write, 0)
        return not refused

    async def read(self, address: int) -> int:
        bus, ctx = self.dut.bus, self.ctx
        ctx.set(bus.address, address)
        ctx.set(bus.read, 1)
        await ctx.tick()
        ctx.set(bus.read, 0)
        return int(ctx.get(bus.read_data))


def simulate(
    body: Callable[[TileOnCrossbars, SimulatorContext, Registers], Awaitable[None]],
    cells: NDArray[np.uint8] | None = None,
    parameters: TileParameters = P,
) -> list[int]:
    """Run a test bench; the values of all outputs that were taken."""
    dut = TileOnCrossbars(
        parameters, np.ones((P.opcs, 1, 2, P.rows, P.opc.columns), np.uint8) if cells is None else cells
    )
    values = []

    async def watch(ctx: SimulatorContext) -> None:
        async for *_, valid, ready, out in ctx.tick().sample(dut.o.valid, dut.o.ready, dut.o.payload):
            if valid and ready:
                values.append(out.value)

    async def testbench(ctx: SimulatorContext) -> None:
        await body(dut, ctx, Registers(dut, ctx))

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(testbench)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    return values


GOOD_SCALE, GOOD_OFFSET = scale_word(multiplier=200, shift=3), -7 & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("address", "word", "strobe"),
    [
        (tile_scale_address(P, 1), scale_word(multiplier=1 << P.scale_bits, shift=0), 0xF),
        (tile_scale_address(P, 1), scale_word(multiplier=1, shift=16), 0xF),
        (tile_scale_address(P, 1), scale_word(multiplier=1, shift=0), 0x7),
        (tile_scale_address(P, P.opc.outputs), scale_word(multiplier=1, shift=0), 0xF),
        (offset_address(P, 1), 1 << 15, 0xF),
        (offset_address(P, 1), -(1 << 15) - 1, 0xF),
        (offset_address(P, 1), 3, 0x3),
        (offset_address(P, P.opc.outputs), 3, 0xF),
    ],
    ids=["multiplier", "shift", "part of a scale", "no such scale", "large", "small", "part of an offset", "no such"],
)
def test_scales_and_offsets_that_do_not_fit_are_refused(address: int, word: int, strobe: int) -> None:
    async def body(dut: TileOnCrossbars, ctx: SimulatorContext, registers: Registers) -> None:
        assert await registers.write(tile_scale_address(P, 1), GOOD_SCALE)
        assert await registers.write(offset_address(P, 1), GOOD_OFFSET)
        assert not await registers.read(Register.STATUS) >> Status.REFUSED & 1
        assert not await registers.write(address, word, strobe)
        assert await registers.read(Register.STATUS) >> Status.REFUSED & 1
        assert await registers.read(tile_scale_address(P, 1)) == GOOD_SCALE
        assert await registers.read(offset_address(P, 1)) == GOOD_OFFSET

    simulate(body)


@pytest.mark.parametrize(("offset", "read"), [((1 << 15) - 1, (1 << 15) - 1), (-(1 << 15), 0xFFFF8000)])
def test_the_largest_and_the_smallest_offset_are_taken(offset: int, read: int) -> None:
    async def body(dut: TileOnCrossbars, ctx: SimulatorContext, registers: Registers) -> None:
        assert await registers.write(offset_address(P, 0), offset)
        assert await registers.read(offset_address(P, 0)) == read

    simulate(body)


def test_interrupt_says_when_the_whole_tile_is_done() -> None:
    """Not when its OPCs are: they have nothing to do while a vector comes in, and before its last output leaves."""

    async def body(dut: TileOnCrossbars, ctx: SimulatorContext, registers: Registers) -> None:
        assert not ctx.get(dut.irq)
        assert await registers.write(Register.INTERRUPTS, 1 << Status.BUSY | 1 << Status.REFUSED)
        assert await registers.read(Register.INTERRUPTS) == 1 << Status.BUSY | 1 << Status.REFUSED
        assert ctx.get(dut.irq), "an idle tile"
        ctx.set(dut.i.valid, 1)
        beats, seen_busy = 0, 0
        for _ in range(400):
            idle = not await registers.read(Register.STATUS) & 1
            # BUSY as it was in the clock of the read; the interrupt follows it at once.
            beats += ctx.get(dut.i.ready) and ctx.get(dut.i.valid)
            if beats:
                ctx.set(dut.i.valid, 0)
                seen_busy += not idle
                assert ctx.get(dut.irq) == 0, "the vector is not complete, so the tile stays busy"
        assert seen_busy > 300
        assert not await registers.write(Register.ROW_BLOCKS, 0)
        assert ctx.get(dut.irq), "a refused write"
        assert await registers.write(Register.STATUS, 1 << Status.REFUSED)
        assert not ctx.get(dut.irq)
        assert await registers.write(Register.INTERRUPTS, 0)
        assert await registers.read(Register.INTERRUPTS) == 0

    simulate(body)


def test_a_tile_says_what_it_is() -> None:
    """Its own ID, version and sizes; those of its OPCs, but with the bits of its own scales."""

    async def body(dut: TileOnCrossbars, ctx: SimulatorContext, registers: Registers) -> None:
        said = {address: await registers.read(address) for address in tile_capability_words(P)}
        assert said == tile_capability_words(P)
        assert said[Register.ID].to_bytes(4, "big") == b"TILE"
        assert said[TileRegister.TILE_SIZES] == P.rows | P.port << 13 | P.opcs << 20
        scale_bits = OPTIONS_WORD["scale_bits"]
        assert said[Register.OPTIONS] >> scale_bits.offset & (1 << scale_bits.width) - 1 == P.scale_bits
        absent = (*SELF_TEST_REGISTERS, Register.MISMATCHES, TileRegister.MISMATCH_OPC, max(TileRegister) + 1)
        for address in (*tile_capability_words(P), *absent):
            assert not await registers.write(address, 0)
        for address in absent:
            assert await registers.read(address) == 0
            assert ctx.get(dut.bus.read_error)

    simulate(body)


def test_the_log_of_every_opc_is_shown() -> None:
    """Votes differ in one OPC more than in the others; each has its counts of bit lines."""
    p = dataclasses.replace(P, opc=dataclasses.replace(P.opc, log_bits=6))
    rng = np.random.default_rng(6)
    opc_map = random_map(rng, p.opc, replicated=1.0)
    cells = rng.integers(0, 2, (p.opcs, 1, 2, p.rows, p.opc.columns)).astype(np.uint8)
    cells[0] = 0
    x = rng.integers(-4, 4, (3, p.opcs * p.rows))
    expected = []
    for codes in tile_codes(p, cells, x):
        reference = NumpyPeripheral(p.opc)
        reference.load_map(opc_map)
        expected.append(reference.line_disagreements(codes).tolist())
    scales = OpcScales.from_floats(np.ones(opc_map.outputs), p.scale_bits, 1.0)
    offset = LOG_LINE_WORD["opc"].offset

    async def body(dut: TileOnCrossbars, ctx: SimulatorContext, registers: Registers) -> None:
        for address, word in tile_writes(p, opc_map, 1, scales, np.zeros(opc_map.outputs, np.int64)):
            assert await registers.write(address, word)
        for wrong in (p.opc.columns, p.opcs << offset, 1 << 24):
            assert not await registers.write(Register.LOG_LINE, wrong)
        for line in range(p.opc.columns):
            assert await registers.write(Register.LOG_LINE, line)
            assert await registers.write(Register.LOG_COUNT, 0)
        ctx.set(dut.o.ready, 1)
        marks = [False] * (p.input_beats(1) - 1) + [True]
        for vector in x:
            await send(dut, ctx, vector, marks)
        while await registers.read(Register.STATUS) & 1 << Status.BUSY:
            pass
        for opc, counts in enumerate(expected):
            for line, count in enumerate(counts):
                word = line | opc << offset
                assert await registers.write(Register.LOG_LINE, word)
                assert await registers.read(Register.LOG_LINE) == word
                for _ in range(4):
                    await ctx.tick()
                assert await registers.read(Register.LOG_COUNT) == count, (opc, line)

    simulate(body, cells, p)
    assert sum(expected[0]) == 0
    assert sum(expected[1]) > 0
    assert expected[1] != expected[2]


async def send(dut: TileOnCrossbars, ctx: SimulatorContext, vector: NDArray[np.integer], marks: list[bool]) -> None:
    """The beats of a vector with these marks in the place of ``last``."""
    mark = 1 << P.opc.input_bits * P.port
    beats = list(activation_payloads(P, vector[None]))
    beats = [beats[n % len(beats)] & ~mark | last * mark for n, last in enumerate(marks)]
    for beat in beats:
        ctx.set(dut.i.payload.as_value(), beat)
        ctx.set(dut.i.valid, 1)
        *_, taken = await ctx.tick().sample(dut.i.ready)
        while not taken:
            *_, taken = await ctx.tick().sample(dut.i.ready)
    ctx.set(dut.i.valid, 0)


@pytest.mark.parametrize("late", [0, 1, 3])
def test_a_lost_or_doubled_beat_costs_its_vector_only(late: int) -> None:
    """What was not marked as counted is dropped, MISFRAMED is set, interrupts, and is cleared; what follows is right.

    ``late``: beats that come behind where the mark should be; 0: the mark comes a beat early.
    """
    rng = np.random.default_rng(late)
    half, beats = 1 << P.opc.input_bits - 1, P.input_beats(1)
    x = rng.integers(-half, half, (4, P.opcs * P.rows))
    opc_map = random_map(rng, P.opc)
    scales = OpcScales.from_floats(np.ones(opc_map.outputs), P.scale_bits, 1.0)
    offsets = np.zeros(opc_map.outputs, np.int64)
    cells = np.ones((P.opcs, 1, 2, P.rows, P.opc.columns), np.uint8)
    cells[:, :, 1] = 0
    wrong = [False] * (beats + late - 2 if late == 0 else beats + late - 1) + [True]
    right = [False] * (beats - 1) + [True]

    async def body(dut: TileOnCrossbars, ctx: SimulatorContext, registers: Registers) -> None:
        for address, word in tile_writes(P, opc_map, 1, scales, offsets):
            assert await registers.write(address, word)
        assert await registers.write(Register.INTERRUPTS, 1 << Status.MISFRAMED)
        ctx.set(dut.o.ready, 1)
        for vector, marks in zip(x, (right, wrong, wrong, right), strict=True):
            assert ctx.get(dut.irq) == (await registers.read(Register.STATUS) >> Status.MISFRAMED & 1)
            await send(dut, ctx, vector, marks)
        assert ctx.get(dut.irq)
        assert await registers.write(Register.STATUS, 1 << Status.REFUSED)
        assert await registers.read(Register.STATUS) >> Status.MISFRAMED & 1, "only what is written is cleared"
        assert await registers.write(Register.STATUS, 1 << Status.MISFRAMED)
        assert not ctx.get(dut.irq)
        for _ in range(200):
            await ctx.tick()
        assert not await registers.read(Register.STATUS)

    found = simulate(body, cells)
    kept = tile_outputs(P, opc_map, cells, x[[0, 3]], scales, offsets)
    assert found == kept.ravel().tolist()
