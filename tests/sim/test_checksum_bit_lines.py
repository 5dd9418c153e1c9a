"""Checksum bit lines: silent on healthy crossbars, and what they see of wrong cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossvote.sim.array.checksum import checksum_cells, residues
from crossvote.sim.common.errors import UserError


def pair(rng: np.random.Generator, rows: int = 24, lines: int = 20) -> np.ndarray:
    return rng.integers(0, 2, (2, rows, lines)).astype(np.uint8)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), bits=st.integers(1, 8))
def test_healthy_crossbars_are_silent_for_all_inputs(seed, bits):
    rng = np.random.default_rng(seed)
    cells = pair(rng)
    x = rng.integers(-128, 128, (50, 24))
    assert not residues(cells, checksum_cells(cells, bits), x).any()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), bits=st.integers(1, 8), in_checksum=st.booleans())
def test_a_wrong_cell_is_seen_where_its_input_is_no_multiple_of_the_modulus(seed, bits, in_checksum):
    """The column sums themselves, line by line, as the periphery adds them up."""
    rng = np.random.default_rng(seed)
    cells = pair(rng)
    checksum = checksum_cells(cells, bits)
    wrong = checksum if in_checksum else cells
    sign, k, line = rng.integers(2), rng.integers(24), rng.integers(wrong.shape[2])
    wrong[sign, k, line] ^= 1
    x = rng.integers(-128, 128, (50, 24))
    found = residues(cells, checksum, x)
    column_sums = [x @ (a[0].astype(np.int64) - a[1]) for a in (cells, checksum)]
    modulus = 1 << bits
    np.testing.assert_array_equal(
        found, (column_sums[0].sum(axis=1) - column_sums[1] @ (1 << np.arange(bits))) % modulus
    )
    counts = 1 << int(line) if in_checksum else 1
    np.testing.assert_array_equal(found != 0, x[:, k] * counts % modulus != 0)


@pytest.mark.parametrize("bits", [0, 17])
def test_other_checksums_are_refused(bits):
    with pytest.raises(UserError, match=f"a checksum of {bits} bits; it has 1 to 16"):
        checksum_cells(pair(np.random.default_rng(0)), bits)
