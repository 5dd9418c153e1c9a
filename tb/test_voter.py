"""Voter against the NumPy reference: all triples of corner values, then random ones with frequent ties."""

from __future__ import annotations

import itertools

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.handle import HierarchyObject
from cocotb.triggers import RisingEdge

from crossvote.sim.array import arithmetic
from tb.bench import PARAMETERS, corners, settle


@cocotb.test()
async def voter_equals_reference(dut: HierarchyObject) -> None:
    top = 1 << (PARAMETERS.column_sum_bits - 1)
    rng = np.random.default_rng(3)
    near = rng.integers(-2, 3, (200, 3)) + rng.integers(-top + 2, top - 2, (200, 1))
    far = rng.integers(-top, top, (200, 3))
    triples = np.concatenate([list(itertools.product(corners(-top, top - 1), repeat=3)), near, far])
    medians, disagree = arithmetic.vote(triples)
    dut.rst.value = 0
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    await RisingEdge(dut.clk)
    for triple, median, differs in zip(triples.tolist(), medians.tolist(), disagree.tolist(), strict=True):
        for value in triple:
            dut.voter__value.value, dut.voter__take.value = value, 1
            await RisingEdge(dut.clk)
            dut.voter__take.value = 0
            if rng.random() < 0.2:
                await RisingEdge(dut.clk)
        await settle()
        assert dut.voter__newest.value.to_signed() == triple[-1]
        assert dut.voter__median.value.to_signed() == median
        assert bool(dut.voter__unanimous.value) == (not differs)
