"""Chance level: the best constant answer on the labels that are measured, and what luck adds to it."""

from __future__ import annotations

import numpy as np
import pytest

from crossvote.swstack.tasks.chance import Chance, chance_level

LABELS = [1] * 68 + [0] * 32


@pytest.mark.parametrize(
    ("metric", "score", "noise"),
    # Of a guess with the right frequencies p, q on n examples: accuracy 2 p q / sqrt(n - 1), F1 q / sqrt(n - 1).
    [
        ("accuracy", 68.0, 196 * 2 * 0.68 * 0.32 / 99**0.5),
        ("f1", 100 * 2 * 0.68 / 1.68, 196 * 0.32 / 99**0.5),
        ("matthews", 0.0, 196 / 99**0.5),
    ],
)
def test_every_metric_has_the_chance_level_of_its_best_constant_answer(metric, score, noise):
    found = chance_level((metric,), LABELS, 2, regression=False)[metric]
    assert found.score == pytest.approx(score)
    assert found.noise == pytest.approx(noise, rel=0.15)
    assert found.examples == 100


def test_the_majority_is_that_of_the_measured_labels_and_of_any_class():
    found = chance_level(("accuracy",), [2, 2, 2, 0, 1], 3, regression=False)["accuracy"]
    assert found.score == pytest.approx(60.0)


def test_a_constant_explains_nothing_of_a_score():
    scores = np.random.default_rng(0).normal(size=400).tolist()
    found = chance_level(("pearson", "spearman"), scores, 1, regression=True)
    for chance in found.values():
        assert chance.score == 0.0
        assert chance.noise == pytest.approx(196 / 399**0.5, rel=0.15)


def test_labels_of_one_class_leave_no_room_for_luck():
    assert chance_level(("accuracy",), [0, 0, 0], 2, regression=False)["accuracy"] == Chance("accuracy", 100.0, 0.0, 3)


def test_within_the_noise_is_chance_and_above_it_is_not():
    chance = Chance("accuracy", 50.0, 3.0, 1000)
    assert [chance.holds(score) for score in (12.0, 50.0, 53.0, float("nan"), 53.1, 97.0)] == [
        *[True] * 4,
        *[False] * 2,
    ]
