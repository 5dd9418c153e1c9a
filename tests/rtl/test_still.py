"""An OPC whose clock stops while it says that it is still does what one does whose clock runs on."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.hdl import EnableInserter, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped
from amaranth.sim import Simulator, SimulatorContext

from crossvote.rtl.opc import Opc
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.registers import Register
from crossvote.sim.peripheral.programming import map_writes
from tb.stimulus import random_map

P = OpcParameters(columns=8, lanes=4, planes=3, input_bits=3, adc_bits=3, row_blocks=2)
FIXED = OpcParameters(
    columns=8, lanes=2, planes=2, input_bits=2, adc_bits=3, row_blocks=1, voter=False, column_map=False
)
SCALED = OpcParameters(columns=4, lanes=4, planes=2, input_bits=2, adc_bits=3, row_blocks=1, scale_bits=4)


class Gated(wiring.Component):
    """An OPC that is clocked only when there is a beat, a register access, or something moves in it."""

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters, self._opc = parameters, Opc(parameters)
        self.clocked = Signal()
        super().__init__(self._opc.signature)

    def elaborate(self, platform: object) -> Module:
        m, opc = Module(), self._opc
        m.submodules.opc = EnableInserter(self.clocked)(opc)
        m.d.comb += self.clocked.eq(self.i.valid | self.bus.write | self.bus.read | ~opc.still)
        connect(m, flipped(self.i), opc.i)
        connect(m, opc.o, flipped(self.o))
        connect(m, flipped(self.bus), opc.bus)
        m.d.comb += [self.irq.eq(opc.irq), self.still.eq(opc.still)]
        return m


def trace(dut: Opc | Gated, seed: int, clocks: int) -> tuple[list[tuple[int, ...]], int]:
    """What the ports say in every clock of a random run, and the clocks that were not needed."""
    p = dut.parameters
    rng = np.random.default_rng(seed)
    opc_map = random_map(rng, p)
    writes = [*(map_writes(p, opc_map) if p.column_map else []), (int(Register.ROW_BLOCKS), p.row_blocks)]
    found: list[tuple[int, ...]] = []
    stopped = 0

    async def testbench(ctx: SimulatorContext) -> None:
        nonlocal stopped
        await ctx.tick()
        pending, place, length = list(writes), 0, p.beats(p.row_blocks)
        offered = False
        for _ in range(clocks):
            access = pending.pop(0) if pending else None
            read = access is None and rng.random() < 0.05
            ctx.set(dut.bus.address, access[0] if access else int(rng.integers(1 << len(dut.bus.address))))
            ctx.set(dut.bus.write_data, access[1] if access else int(rng.integers(1 << 32)))
            ctx.set(dut.bus.write, access is not None or rng.random() < 0.01)
            ctx.set(dut.bus.read, read)
            if not offered and not pending:
                # Bursts and rests, so that the OPC comes to a stand in every state.
                offered = rng.random() < (0.9 if (len(found) // 60) % 2 else 0.1)
                ctx.set(dut.i.payload.as_value(), int(rng.integers(1 << min(60, len(dut.i.payload.as_value())))))
                ctx.set(dut.i.payload.first, place == 0)
                ctx.set(dut.i.payload.last, place == length - 1)
            ctx.set(dut.i.valid, offered)
            ctx.set(dut.o.ready, rng.random() < 0.7)
            if isinstance(dut, Gated):
                stopped += not ctx.get(dut.clocked)
            ports = (dut.i.ready, dut.o.valid, dut.o.payload.as_value(), dut.irq, dut.bus.error, dut.still)
            *_, ready, valid, payload, irq, error, still = await ctx.tick().sample(*ports)
            answer = int(ctx.get(dut.bus.read_data)) << 1 | ctx.get(dut.bus.read_error) if read else 0
            found.append((ready, valid, payload if valid else 0, irq, error, still, answer))
            if offered and ready:
                place, offered = (place + 1) % length, False

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(testbench)
    simulator.run()
    return found, stopped


@pytest.mark.parametrize("parameters", [P, FIXED, SCALED], ids=["map", "fixed", "scaled"])
def test_a_still_opc_needs_no_clock(parameters: OpcParameters) -> None:
    expected, _ = trace(Opc(parameters), 3, 1500)
    got, stopped = trace(Gated(parameters), 3, 1500)
    assert got == expected
    assert stopped > 100, "the clock hardly ever stopped"
    assert sum(valid for _, valid, *_ in expected) > 20, "hardly any outputs"
