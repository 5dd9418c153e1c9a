"""Voter against the NumPy reference: all triples of corner values, then random ones with frequent ties."""

from __future__ import annotations

import itertools

import cocotb
import numpy as np
from cocotb.handle import HierarchyObject

from sim import arithmetic
from tb.bench import PARAMETERS, corners, settle


@cocotb.test()
async def voter_equals_reference(dut: HierarchyObject) -> None:
    top = 1 << (PARAMETERS.column_sum_bits - 1)
    rng = np.random.default_rng(3)
    near = rng.integers(-2, 3, (200, 3)) + rng.integers(-top + 2, top - 2, (200, 1))
    far = rng.integers(-top, top, (200, 3))
    triples = np.concatenate([list(itertools.product(corners(-top, top - 1), repeat=3)), near, far])
    medians, disagree = arithmetic.vote(triples)
    for (a, b, c), median, differs in zip(triples.tolist(), medians.tolist(), disagree.tolist(), strict=True):
        dut.voter__a.value, dut.voter__b.value, dut.voter__c.value = a, b, c
        await settle()
        assert dut.voter__median.value.to_signed() == median
        assert bool(dut.voter__unanimous.value) == (not differs)
