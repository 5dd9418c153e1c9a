"""The metrics against hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest

from crossvote.swstack.tasks.metrics import compute_metrics


def test_classification_metrics_are_percentages():
    labels = np.array([1, 1, 1, 0, 0])
    logits = np.array([[0, 1], [0, 1], [1, 0], [0, 1], [1, 0]], dtype=float)  # says 1 1 0 1 0
    values = compute_metrics(("f1", "accuracy", "matthews"), logits, labels, regression=False)
    assert list(values) == ["f1", "accuracy", "matthews"]
    assert values["accuracy"] == pytest.approx(60.0)
    assert values["f1"] == pytest.approx(100 * 2 * 2 / (2 * 2 + 1 + 1))
    assert values["matthews"] == pytest.approx(100 * (2 * 1 - 1 * 1) / np.sqrt(3 * 3 * 2 * 2))


def test_correlations():
    labels = np.array([0.0, 1.0, 2.0, 4.0])
    logits = np.array([[0.0], [1.0], [4.0], [9.0]])
    values = compute_metrics(("spearman", "pearson"), logits, labels, regression=True)
    assert values["spearman"] == pytest.approx(100.0)
    assert values["pearson"] == pytest.approx(100 * np.corrcoef(labels, logits[:, 0])[0, 1])


def test_a_constant_answer_scores_zero():
    labels = np.array([0, 1, 1, 0])
    always_no = np.array([[1.0, 0.0]] * 4)
    assert compute_metrics(("f1", "matthews"), always_no, labels, regression=False) == {"f1": 0.0, "matthews": 0.0}
    assert compute_metrics(("spearman",), np.ones((4, 1)), labels.astype(float), regression=True) == {"spearman": 0.0}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_no_numbers_score_nothing_and_that_is_said(value, caplog):
    logits = np.array([[1.0, 0.0], [0.0, 1.0], [value, 0.0]])
    values = compute_metrics(("accuracy", "f1"), logits, np.array([0, 1, 0]), regression=False)
    assert np.isnan([values["accuracy"], values["f1"]]).all()
    assert "1 of 3 outputs are NaN or infinite" in caplog.text
