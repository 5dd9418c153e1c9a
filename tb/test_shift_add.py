"""Shift-add: a whole vector, top bit first, gives the column sum of the NumPy reference."""

from __future__ import annotations

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.handle import HierarchyObject
from cocotb.triggers import RisingEdge

from crossvote.sim.array import arithmetic
from tb.bench import PARAMETERS, settle


@cocotb.test()
async def shift_add_equals_reference(dut: HierarchyObject) -> None:
    p = PARAMETERS
    rng = np.random.default_rng(2)
    full = p.difference_magnitude
    extremes = [np.full((p.row_blocks, p.input_bits), full), np.full((p.row_blocks, p.input_bits), -full)]
    worst = np.full((p.row_blocks, p.input_bits), full)
    worst[:, -1] = -full  # the top bit is subtracted, so this is the largest column sum there is
    cases = [*extremes, worst, -worst, *rng.integers(-full, full + 1, (20, p.row_blocks, p.input_bits))]
    dut.rst.value = 0
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    await RisingEdge(dut.clk)
    for d in cases:
        total = 0
        for bit in reversed(range(p.input_bits)):
            for block in range(p.row_blocks):
                dut.shift_add__previous.value = (
                    total if bit < p.input_bits - 1 or block else int(rng.integers(-100, 100))
                )
                dut.shift_add__difference.value = int(d[block, bit])
                dut.shift_add__clear.value = bit == p.input_bits - 1 and block == 0
                dut.shift_add__shift.value = block == 0
                dut.shift_add__subtract.value = bit == p.input_bits - 1
                dut.shift_add__enable.value = 1
                await RisingEdge(dut.clk)
                dut.shift_add__enable.value = 0
                await settle()
                total = dut.shift_add__next.value.to_signed()
        assert total == arithmetic.column_sums(d[:, :, None]).sum()
