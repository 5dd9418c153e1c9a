"""When a tile takes codes, and that an event which waits to be cleared is seen in STATUS alone."""

from __future__ import annotations

import cocotb
import numpy as np
from cocotb.handle import HierarchyObject
from cocotb.triggers import RisingEdge

from crossvote.rtl.registers import Register, Status
from crossvote.sim.peripheral.scales import OpcScales
from crossvote.sim.peripheral.tile import activation_payloads
from tb.array_model import ArrayModel
from tb.march_case import PARAMETERS as P
from tb.march_case import bank
from tb.stimulus import always, random_map
from tb.tile_bench import TileBench


@cocotb.test()
async def codes_are_taken_as_converters_give_them(dut: HierarchyObject) -> None:
    """In the clock in which the n-th of a read's beats is converted, no sooner and no later."""
    rng = np.random.default_rng(57)
    bench = TileBench(dut, P)
    await bench.start()
    cocotb.start_soon(ArrayModel(dut, P, bank()).run())
    opc_map = random_map(rng, P.opc, outputs=1)
    for blocks in range(1, P.opc.row_blocks + 1):
        await bench.program(opc_map, blocks, OpcScales(np.ones(1, np.int64), np.zeros(1, np.int64)), np.zeros(1, int))
        x = rng.integers(-4, 4, (2, P.opcs * blocks * P.rows))
        running = cocotb.start_soon(bench.stream(x, 1, always(), always()))
        sampled, taken, before, clock = [], [], (0, 0), 0
        while not running.done():
            await RisingEdge(dut.clk)
            clock += 1
            at = int(dut.array__convert_block.value), int(dut.array__convert_group.value)
            if at != before:
                taken.append(clock - 1)
            if dut.array__sample.value:
                sampled.append(clock)
            before = at
        beats = blocks * P.opc.groups
        rate = min(beats, P.convert_clocks)
        delays = [-(-n * P.convert_clocks // rate) for n in range(1, beats + 1)]
        assert len(sampled) == len(x) * P.opc.input_bits
        assert taken == [start + delay for start in sampled for delay in delays]


@cocotb.test()
async def an_event_waits_in_its_own_register(dut: HierarchyObject) -> None:
    """Other registers read as they are, and what is written to them clears nothing."""
    bench = TileBench(dut, P)
    await bench.start()
    x = np.zeros((1, P.port), np.int64)
    dut.i__valid.value, dut.i__payload.value = 1, next(activation_payloads(P, x))
    await RisingEdge(dut.clk)
    dut.i__valid.value = 0
    for _ in range(2 * P.opc.input_bits):
        await RisingEdge(dut.clk)
    waiting = 1 << Status.MISFRAMED
    assert await bench.read(Register.STATUS) == waiting
    for address, words in (
        (Register.ROW_BLOCKS, (1, 2)),
        (Register.STEPS, (1, 3)),
        (Register.DISAGREEMENTS, (0, (1 << 32) - 1)),
        (Register.INTERRUPTS, (0, waiting)),
    ):
        for word in words:
            assert await bench.write(address, word)
            assert await bench.read(address) == word
            assert await bench.read(Register.STATUS) == waiting
    assert dut.irq.value
    assert await bench.write(Register.STATUS, waiting)
    assert await bench.read(Register.STATUS) == 0
