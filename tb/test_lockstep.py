"""A SimPy system around the OPC: hosted by this simulator and by SimPy with the compiled OPC, logs must be equal."""

from __future__ import annotations

import cocotb
import numpy as np
from cocotb.handle import HierarchyObject

from crossvote.rtl.parameters import TAG_BITS
from crossvote.rtl.registers import Register
from crossvote.sim.kernel import Module, clocked
from crossvote.sim.peripheral.numpy_backend import NumpyPeripheral
from crossvote.sim.peripheral.programming import beat_payloads
from crossvote.sim.peripheral.verilator_backend import VerilatorPeripheral
from tb.bench import PARAMETERS, PATIENCE, OpcBench
from tb.lockstep import Surroundings, lockstep
from tb.stimulus import random_codes, random_map

P = PARAMETERS
PERIOD_PS = 10_000


@cocotb.test()
@cocotb.parametrize(seed=[50, 51, 52], pause_cycles=[1, 4])
async def both_hosts_write_the_same_log(dut: HierarchyObject, seed: int, pause_cycles: int) -> None:
    rng = np.random.default_rng(seed)
    opc_map = random_map(rng, P)
    codes = random_codes(rng, P, 3, 1)
    beats, outputs = list(beat_payloads(P, codes)), 3 * opc_map.outputs
    pause = pause_cycles * PERIOD_PS

    bench = OpcBench(dut)
    await bench.start(watch=False)
    await bench.program(opc_map, 1)
    here = Surroundings(beats, outputs, pause, seed)
    await lockstep(dut, here, PERIOD_PS, 20 * PATIENCE)

    compiled = VerilatorPeripheral(P)
    compiled.load_map(opc_map)
    compiled.write(Register.ROW_BLOCKS, 1)
    width = (2 * P.lanes * P.adc_bits + 2 + TAG_BITS + 7) // 8
    there = Surroundings(beats, outputs, pause, seed)

    def step(beat: int | None, ready: bool) -> tuple[bool, int | None]:
        return compiled.step(None if beat is None else beat.to_bytes(width, "little"), ready)

    simulation = there.simulation
    simulation.start(Module(simulation, "opc"), clocked(simulation, PERIOD_PS, step, there.source, there.sink))
    simulation.run(there.done)

    assert here.log == there.log
    reference = NumpyPeripheral(P)
    reference.load_map(opc_map)
    expected = reference.process(codes).outputs.ravel().tolist()
    mask = (1 << P.sum_bits) - 1
    assert [item & mask for _, what, item in here.log if what == "got"] == [value & mask for value in expected]
    assert any(time % PERIOD_PS for time, _, _ in here.log), "nothing happened off the clock's grid"
