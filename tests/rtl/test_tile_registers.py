"""Registers of the tile in Amaranth's simulator: what is refused, and the interrupt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from amaranth.sim import Simulator, SimulatorContext

from crossvote.rtl.registers import Register, Status, scale_word
from crossvote.rtl.tile_control import offset_address, tile_scale_address
from tb.crossbars import TileOnCrossbars
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


def simulate(body: Callable[[TileOnCrossbars, SimulatorContext, Registers], Awaitable[None]]) -> None:
    cells = np.ones((P.opcs, 1, 2, P.rows, P.opc.columns), np.uint8)
    dut = TileOnCrossbars(P, cells)

    async def testbench(ctx: SimulatorContext) -> None:
        await body(dut, ctx, Registers(dut, ctx))

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(testbench)
    simulator.run()


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
