"""Intervals cover what they should, pairing pays, and the tolerated rate is where the loss is what is allowed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from crossvote.sim.common.errors import UserError
from crossvote.swstack.evaluation.statistics import (
    linear_crossing,
    mean_band,
    paired_difference,
    student_factor,
    student_half_width,
    tail,
    tolerated_rate,
)


def test_the_band_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        band = mean_band(rng.normal(80, 3, 30))
        inside += band.low <= 80 <= band.high
    assert 180 <= inside <= 198  # 95 % of 200 is 190


def test_one_chip_and_equal_chips_have_no_spread():
    assert (mean_band([5.0]).low, mean_band([5.0]).high) == (5.0, 5.0)
    assert (mean_band([5.0, 5.0]).low, mean_band([5.0, 5.0]).high) == (5.0, 5.0)
    assert student_half_width([5.0]) == float("inf")
    assert student_half_width([4.0, 6.0]) == pytest.approx(12.706, abs=1e-3)


def test_pairing_removes_what_chips_have_in_common():
    rng = np.random.default_rng(1)
    common = rng.normal(0, 10, 40)
    first = {chip: 70 + common[chip] for chip in range(40)}
    second = {chip: 71 + common[chip] + rng.normal(0, 0.1) for chip in range(5, 40)}
    difference = paired_difference(first, second)
    assert difference.value == pytest.approx(1.0, abs=0.1)
    alone = mean_band(list(first.values()))
    assert difference.high - difference.low < 0.2 < alone.high - alone.low
    with pytest.raises(UserError, match="nothing to pair"):
        paired_difference({0: 1.0}, {1: 1.0})


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_the_factor_of_students_t_is_scipys(confidence):
    for chips in (*range(2, 41), 300):
        assert student_factor(chips, confidence) == pytest.approx(
            special.stdtrit(chips - 1, (1 + confidence) / 2), rel=1e-12
        )


def test_the_tail_is_the_score_that_all_but_the_worst_reach():
    assert tail(np.arange(101)) == pytest.approx(5.0)


def test_the_tolerated_rate_lies_between_the_rates_where_the_loss_crosses():
    scores = {0.001: {0: 89.5, 1: 89.5}, 0.1: {0: 87.5, 1: 87.5}, 0.01: {0: 88.5, 1: 88.5}}
    found = tolerated_rate(scores, 90.0)
    assert found.value == found.low == found.high == pytest.approx(10**-2.5)
    assert tolerated_rate(scores, 90.0, allowed=0.1).value == 0
    assert tolerated_rate(scores, 90.0, allowed=9).value == 0.1
    spread = tolerated_rate({0.001: {0: 89.5, 1: 89.9}, 0.01: {0: 88.1, 1: 88.9}}, 90.0)
    assert spread.low < spread.value < spread.high
    with pytest.raises(UserError, match="at least one chip"):
        tolerated_rate({0.1: {0: 1.0}, 0.2: {1: 1.0}}, 90.0)


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        ([0.0, 0.5, 2.5], (0.01 + 0.25 * 0.02, False)),
        ([0.0, 0.5, 0.9], (0.03, True)),
        ([1.5, 0.0, 0.0], (0.0, False)),
        ([0.0, 2.0, 0.0], (0.005, False)),
        ([-1.0, 3.0, 9.0], (0.005, False)),
    ],
)
def test_a_linear_crossing_is_where_the_loss_first_exceeds_what_is_allowed(lost, expected):
    rate, beyond = linear_crossing([0.0, 0.01, 0.03], lost, 1.0)
    assert (rate, beyond) == (pytest.approx(expected[0]), expected[1])
