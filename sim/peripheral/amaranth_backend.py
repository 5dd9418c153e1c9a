"""The OPC's hardware description in Amaranth's own simulator: slow, but real RTL without any compiler."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
from amaranth.sim import Simulator, SimulatorContext
from numpy.typing import NDArray

from crossvote.rtl.column_map import MAP_REFILL
from crossvote.rtl.opc import Opc
from crossvote.rtl.parameters import TAG_BITS, OpcParameters
from crossvote.rtl.registers import Register
from crossvote.sim.peripheral.base import LoadedOpc, PeripheralResult, check_codes, check_loaded
from crossvote.sim.peripheral.programming import beat_payloads, map_writes, scale_writes
from crossvote.sim.peripheral.waveform import finish_waveform


class AmaranthPeripheral(LoadedOpc):
    """Simulates ``crossvote.rtl.opc.Opc`` at a few thousand clock cycles per second. Every run starts from reset.

    With ``waveform``, every run writes that VCD file (the last one stays), and a view for GTKWave beside it.
    """

    name = "amaranth"

    def __init__(self, parameters: OpcParameters, waveform: Path | None = None) -> None:
        super().__init__(parameters)
        self.waveform = waveform

    def process(self, codes: NDArray[np.unsignedinteger]) -> PeripheralResult:
        """See ``Peripheral.process``."""
        check_codes(self.parameters, codes)
        opc_map, dut = check_loaded(self.parameters, self._map, self._scales), Opc(self.parameters)
        writes = map_writes(self.parameters, opc_map)
        if self._scales is not None:
            writes += scale_writes(self.parameters, self._scales)
        outputs = np.zeros((len(codes), opc_map.outputs), np.int64)
        cycles = disagreements = mismatches = 0

        async def write(ctx: SimulatorContext, address: int, word: int) -> None:
            ctx.set(dut.bus.address, address)
            ctx.set(dut.bus.write_data, word)
            ctx.set(dut.bus.write, 1)
            await ctx.tick()
            ctx.set(dut.bus.write, 0)

        async def testbench(ctx: SimulatorContext) -> None:
            nonlocal cycles, disagreements, mismatches
            for address, word in writes:
                await write(ctx, address, word)
            await write(ctx, Register.ROW_BLOCKS, codes.shape[1])
            await ctx.tick().repeat(MAP_REFILL)
            ctx.set(dut.o.ready, 1)
            beats = beat_payloads(self.parameters, codes)
            beat, delivered = next(beats, None), 0
            while delivered < outputs.size:
                ctx.set(dut.i.valid, beat is not None)
                ctx.set(dut.i.payload.as_value(), beat or 0)
                *_, accepted, valid, payload = await ctx.tick().sample(dut.i.ready, dut.o.valid, dut.o.payload)
                cycles += 1
                if accepted and beat is not None:
                    beat = next(beats, None)
                if valid:
                    vector = delivered // opc_map.outputs
                    assert (payload.error, payload.tag) == (0, vector % (1 << TAG_BITS))
                    outputs[vector, payload.output] = payload.sum
                    delivered += 1
            ctx.set(dut.bus.address, Register.DISAGREEMENTS)
            *_, disagreements = await ctx.tick().sample(dut.bus.read_data).repeat(2)
            ctx.set(dut.bus.address, Register.MISMATCHES)
            *_, mismatches = await ctx.tick().sample(dut.bus.read_data).repeat(2)

        simulator = Simulator(dut)
        simulator.add_clock(1e-9)
        simulator.add_testbench(testbench)
        raw = self.waveform.with_name(f".{self.waveform.name}") if self.waveform else None
        with simulator.write_vcd(str(raw)) if raw else nullcontext():
            simulator.run()
        if raw is not None and self.waveform is not None:
            finish_waveform(raw, self.waveform)
        return PeripheralResult(outputs, disagreements, cycles, mismatches)
