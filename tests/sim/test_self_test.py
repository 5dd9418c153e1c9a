"""What a self-test finds: everything when reads are right, and by its reads' odds when they are not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.self_test import RepeatedReads, found_by
from crossvote.sim.array.silicon import Silicon
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import build


def test_right_reads_find_every_stuck_cell_and_no_other():
    chip = Silicon(3, 1, 0.05, 32, 64).faults(6)
    result = found_by(RepeatedReads(), chip)
    assert result.faults.content_hash == chip.content_hash
    assert (result.missed, result.false_alarms) == (0, 0)
    # March C* takes five writes and six reads of every word line.
    assert (result.writes, result.reads) == (5 * 6 * 32, 6 * 6 * 32)
    assert found_by(RepeatedReads(), FaultMap.empty(32, 64, 0)).reads == 0


@pytest.mark.parametrize("needed", [1, 2, 3])
@pytest.mark.parametrize("misread", [0.0, 0.1, 0.3])
def test_odds_are_those_of_all_outcomes_of_three_reads(needed, misread):
    test = RepeatedReads(misread=misread, needed=needed)
    for chance, wrong in ((test.coverage, 1 - misread), (1 - (1 - test.false_alarms) ** 0.5, misread)):
        total = 0.0
        for reads in itertools.product((True, False), repeat=3):
            if sum(reads) >= needed:
                total += float(np.prod([wrong if read else 1 - wrong for read in reads]))
        assert chance == pytest.approx(total)


def test_misreads_miss_stuck_cells_and_accuse_good_ones_as_often_as_said():
    chip = Silicon(0, 0, 0.1, 64, 64).faults(40)
    test = RepeatedReads(misread=0.1)
    result = found_by(test, chip)
    stuck, size = len(chip.cells), chip.size
    assert result.missed == pytest.approx((1 - test.coverage) * stuck, rel=0.15)
    assert result.false_alarms == pytest.approx(test.false_alarms * (size - stuck), rel=0.05)
    assert len(result.faults.cells) == stuck - result.missed + result.false_alarms
    found = np.isin(result.faults.cells, chip.cells)
    true = np.isin(chip.cells, result.faults.cells)
    np.testing.assert_array_equal(result.faults.stuck_at[found], chip.stuck_at[true])
    assert (~found).sum() == result.false_alarms
    again = found_by(test, chip)
    assert again.faults.content_hash == result.faults.content_hash


def test_a_larger_chip_is_tested_like_its_first_part():
    small, large = (Silicon(0, 0, 0.1, 32, 32).faults(crossbars) for crossbars in (3, 9))
    test = RepeatedReads(misread=0.2)
    whole = found_by(test, large).faults
    for part in (found_by(test, small).faults, found_by(test, large, 0, 3).faults):
        np.testing.assert_array_equal(part.cells, whole.of_crossbars(0, 3)[0])
        np.testing.assert_array_equal(part.stuck_at, whole.of_crossbars(0, 3)[1])
    alone = found_by(test, large, 4, 6)
    np.testing.assert_array_equal(alone.faults.cells, whole.of_crossbars(4, 6)[0])
    assert alone.reads == 2 * 32 * 6


@pytest.mark.parametrize("values", [{"misread": 0.5}, {"misread": -0.1}, {"needed": 0}, {"needed": 4}])
def test_tests_that_are_none_are_refused(values):
    with pytest.raises(UserError, match=next(iter(values))):
        build(RepeatedReads, values, "test")
