"""Metrics of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.later import Later
from crossvote.swstack.tasks.metrics import METRICS, Metric, metric

if TYPE_CHECKING:
    import numpy as np

    from crossvote.swstack.tasks.metrics import Compute
else:
    np = Later("numpy")


@metric("accuracy", of="classes")
def _accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(labels, predictions))


@metric("balanced_accuracy", of="classes")
def _balanced_accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    from sklearn.metrics import balanced_accuracy_score

    return float(balanced_accuracy_score(labels, predictions))


@metric("matthews", of="classes", lowest=-100.0)
def _matthews(labels: np.ndarray, predictions: np.ndarray) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(labels, predictions))


@metric("f1", of="classes", two_classes=True)
def _f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Of class 1, as GLUE scores MRPC and QQP."""
    from sklearn.metrics import f1_score

    if max(labels.max(initial=0), predictions.max(initial=0)) > 1:
        raise UserError("metric 'f1' is that of class 1 of two; for more classes take f1_macro or f1_weighted.")
    return float(f1_score(labels, predictions, zero_division=0))


def _averaged(function: str, average: str) -> Compute:
    def compute(labels: np.ndarray, predictions: np.ndarray) -> float:
        from sklearn import metrics

        return float(getattr(metrics, function)(labels, predictions, average=average, zero_division=0))

    return compute


for _average in ("macro", "weighted", "micro"):
    for _name in ("f1", "precision", "recall"):
        METRICS.register(f"{_name}_{_average}")(Metric("classes", _averaged(f"{_name}_score", _average)))
