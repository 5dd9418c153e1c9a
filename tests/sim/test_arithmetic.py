from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossvote.sim.array import arithmetic


@given(st.integers(2, 16), st.integers(0, 2**32 - 1))
def test_input_bits_rebuild_the_value(bits, seed):
    low, high = arithmetic.input_range(bits)
    x = np.random.default_rng(seed).integers(low, high, (3, 7), endpoint=True)
    x[0, :2] = low, high
    planes = arithmetic.input_bits(x, bits)
    assert planes.shape == (3, bits, 7)
    assert np.array_equal(np.einsum("vtk,t->vk", planes, arithmetic.bit_weights(bits)), x)


@pytest.mark.parametrize("value", [-129, 128])
def test_input_outside_the_range_is_refused(value):
    with pytest.raises(ValueError, match="8 bits hold -128 to 127"):
        arithmetic.input_bits(np.array([[value]]), 8)


def test_adc_clips_at_its_last_code():
    bits, cells = np.ones((1, 128), np.uint8), np.ones((128, 2), np.uint8)
    cells[1:, 1] = 0
    assert arithmetic.adc_codes(bits, cells, 8).tolist() == [[128, 1]]
    assert arithmetic.adc_codes(bits, cells, 7).tolist() == [[127, 1]]


def test_flip_cancels_the_input_sum():
    rng = np.random.default_rng(5)
    x, plus, minus = (rng.integers(0, 2, shape) for shape in ((4, 64), (64, 6), (64, 6)))
    plain = arithmetic.differences(x @ plus, x @ minus, np.zeros(6, bool))
    flipped = arithmetic.differences(x @ (1 - plus), x @ (1 - minus), np.ones(6, bool))
    assert np.array_equal(plain, flipped)


def test_top_input_bit_counts_negative():
    d = np.zeros((8, 1), np.int64)
    d[7] = 3
    assert arithmetic.column_sums(d).tolist() == [3 * -128]


@pytest.mark.parametrize("count", [1, 3, 5])
def test_vote_is_the_median_and_reports_dissent(count):
    values = np.random.default_rng(count).integers(-9, 9, (50, count))
    values[0] = 4
    median, dissent = arithmetic.vote(values)
    assert np.array_equal(median, np.median(values, axis=-1))
    assert np.array_equal(dissent, [len(set(row)) > 1 for row in values.tolist()])


def test_vote_needs_an_odd_number():
    with pytest.raises(ValueError, match="odd"):
        arithmetic.vote(np.zeros((1, 2), np.int64))
