"""Lane: column sums of several bit lines and two vectors in flight, against the NumPy reference."""

from __future__ import annotations

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.handle import HierarchyObject
from cocotb.triggers import RisingEdge

from crossvote.sim.array import arithmetic
from tb.bench import PARAMETERS, settle


@cocotb.test()
async def lane_accumulates_column_sums(dut: HierarchyObject) -> None:
    p, rng = PARAMETERS, np.random.default_rng(4)
    blocks, vectors = 2, 3
    for port in ("capture", "advance", "commit", "bank", "read_bank", "look__0", "look__1"):
        getattr(dut, f"lane__{port}").value = 0
    dut.rst.value = 0
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    full = (1 << p.adc_bits) - 1
    codes = rng.integers(0, full + 1, (vectors, blocks, p.input_bits, p.groups, 2))
    codes[0] = np.where(codes[0] > full // 2, full, 0)
    plain = np.zeros(p.groups, np.bool_)
    sums = arithmetic.column_sums(arithmetic.differences(codes[..., 0], codes[..., 1], plain)).sum(axis=1)

    async def check(vector: int) -> None:
        bank = vector % 2
        dut.lane__read_bank.value = bank
        for group in range(p.groups):
            getattr(dut, f"lane__look__{bank}").value = group
            await settle()
            assert dut.lane__sum.value.to_signed() == sums[vector, group]

    for vector in range(vectors):
        dut.lane__bank.value = vector % 2
        steps = [
            (bit, block, group)
            for bit in reversed(range(p.input_bits))
            for block in range(blocks)
            for group in range(p.groups)
        ]
        # Three steps are in the lane at once: one is captured, one advances, one is committed.
        for captured, advanced, committed in zip(
            [*steps, None, None], [None, *steps, None], [None, None, *steps], strict=True
        ):
            dut.lane__capture.value, dut.lane__advance.value = captured is not None, advanced is not None
            dut.lane__commit.value = committed is not None
            if captured is not None:
                bit, block, group = captured
                dut.lane__positive.value, dut.lane__negative.value = codes[vector, block, bit, group].tolist()
            if advanced is not None:
                bit, block, group = advanced
                dut.lane__group.value = group
                getattr(dut, f"lane__look__{vector % 2}").value = group
                dut.lane__clear.value = bit == p.input_bits - 1 and block == 0
                dut.lane__shift.value, dut.lane__subtract.value = block == 0, bit == p.input_bits - 1
            if committed is not None:
                dut.lane__commit_group.value = committed[2]
            await RisingEdge(dut.clk)
        dut.lane__commit.value = 0
        await check(vector)
        if vector:
            await check(vector - 1)  # the other bank still holds the vector before
