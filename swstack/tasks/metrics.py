"""GLUE's official metrics, in percent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

_log = logging.getLogger(__name__)


def _correlation(function: Callable[..., tuple[float, float]]) -> Callable[..., float]:
    def correlation(labels: np.ndarray, predictions: np.ndarray) -> float:
        # The correlation of a constant is undefined; a model that always says the same explains nothing.
        if np.ptp(predictions) == 0 or np.ptp(labels) == 0:
            return 0.0
        return float(function(labels, predictions)[0])

    return correlation


_METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": accuracy_score,
    "f1": lambda labels, predictions: f1_score(labels, predictions, zero_division=0),
    "matthews": matthews_corrcoef,
    "pearson": _correlation(pearsonr),
    "spearman": _correlation(spearmanr),
}


def predictions_from_logits(logits: np.ndarray, regression: bool) -> np.ndarray:
    """Class indices int64[n], or scores float[n] for a regression; logits have the shape (n, num_labels)."""
    return logits[:, 0] if regression else logits.argmax(axis=1)


def compute_metrics(names: Sequence[str], logits: np.ndarray, labels: np.ndarray, regression: bool) -> dict[str, float]:
    """Metric name -> value in percent; NaN where a logit is NaN or infinite, since such outputs answer nothing.

    names: of accuracy, f1 (of class 1), matthews, pearson, spearman. A constant prediction scores 0 in the
        correlations and in matthews.
    logits: float[n, num_labels]; labels: int[n] or float[n].
    """
    broken = int((~np.isfinite(logits)).any(axis=1).sum())
    if broken:  # the largest of NaN is class 0, which would be scored like an answer
        _log.warning("%d of %d outputs are NaN or infinite; the metrics are NaN.", broken, len(logits))
        return dict.fromkeys(names, float("nan"))
    predictions = predictions_from_logits(logits, regression)
    return {name: 100.0 * float(_METRICS[name](labels, predictions)) for name in names}
