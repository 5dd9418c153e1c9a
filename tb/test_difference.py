"""Difference against the NumPy reference: corner codes in all combinations, then random ones."""

from __future__ import annotations

import cocotb
import numpy as np
from cocotb.handle import HierarchyObject

from crossvote.sim.array import arithmetic
from tb.bench import PARAMETERS, corners, settle


@cocotb.test()
async def difference_equals_reference(dut: HierarchyObject) -> None:
    full = (1 << PARAMETERS.adc_bits) - 1
    values = corners(0, full)
    pairs = np.array(
        [(a, b) for a in values for b in values] + np.random.default_rng(1).integers(0, full + 1, (200, 2)).tolist()
    )
    expected = arithmetic.differences(pairs[:, 0], pairs[:, 1], np.zeros(len(pairs), np.bool_))
    for (positive, negative), value in zip(pairs.tolist(), expected.tolist(), strict=True):
        dut.difference__positive.value, dut.difference__negative.value = positive, negative
        await settle()
        assert dut.difference__difference.value.to_signed() == value
