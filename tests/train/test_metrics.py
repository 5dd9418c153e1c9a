"""The metrics against hand-worked cases."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from crossvote.swstack.tasks.metrics import METRICS, compute_metrics, lost
from crossvote.swstack.training.loop import _keep_best, _Position


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


def test_points_are_lost_in_the_direction_of_the_metric():
    assert lost("accuracy", 90.0, 88.0) == 2.0
    assert lost("perplexity", 20.0, 22.0) == 2.0
    assert lost("somebody's own", 90.0, 88.0) == 2.0
    assert {name for name, one in METRICS.items() if one.lower_is_better} == {"perplexity"}


def test_what_a_metric_is_like_is_known_without_the_libraries_that_compute_it():
    code = (
        "import sys; from crossvote.swstack.tasks.metrics import METRICS\n"
        "assert METRICS['matthews'].lowest == -100 and len(list(METRICS)) > 15\n"
        "assert not {'torch', 'sklearn', 'scipy', 'transformers'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_early_stopping_keeps_the_lowest_perplexity():
    model, position = torch.nn.Linear(1, 1), _Position(0, 0.0, 0.0, [{"epoch": n} for n in range(3)])
    best: dict[str, torch.Tensor] = {}
    for value, score in ((1.0, 30.0), (2.0, 20.0), (3.0, 25.0)):
        torch.nn.init.constant_(model.weight, value)
        best = _keep_best(model, position, score, best, lower_is_better=True)
    assert (position.best_score, best["weight"].item(), position.epochs_without_gain) == (20.0, 2.0, 1)
