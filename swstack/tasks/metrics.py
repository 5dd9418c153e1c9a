"""Metrics of classes and scores, in percent. A new one is one decorated function."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats
from sklearn import metrics as sklearn_metrics

from crossvote.sim.common.errors import UserError

_log = logging.getLogger(__name__)

#: Labels and predictions of all examples -> value, 1 for a perfect answer.
Metric = Callable[[np.ndarray, np.ndarray], float]

METRICS: dict[str, Metric] = {}
#: Of them, those that compare scores; the others compare classes.
_OF_SCORES = ("pearson", "spearman", "kendall", "r2")
#: Of them, those of class 1 of two.
_OF_TWO = ("f1",)
#: Metrics that the kinds of other tasks compute themselves, from more than labels and predictions.
OF_KINDS: dict[str, tuple[str, ...]] = {
    "token-classification": ("entity_f1",),
    "question-answering": ("answer_f1", "exact_match"),
    "causal-lm": ("token_accuracy", "perplexity"),
    "masked-lm": ("token_accuracy", "perplexity"),
}


def metric(name: str) -> Callable[[Metric], Metric]:
    """Decorator: register a metric under `name`, by which configurations and tasks ask for it."""

    def add(function: Metric) -> Metric:
        METRICS[name] = function
        return function

    return add


METRICS["accuracy"] = sklearn_metrics.accuracy_score
METRICS["balanced_accuracy"] = sklearn_metrics.balanced_accuracy_score
METRICS["matthews"] = sklearn_metrics.matthews_corrcoef


@metric("f1")
def _f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Of class 1, as GLUE scores MRPC and QQP."""
    if max(labels.max(initial=0), predictions.max(initial=0)) > 1:
        raise UserError("metric 'f1' is that of class 1 of two; for more classes take f1_macro or f1_weighted.")
    return float(sklearn_metrics.f1_score(labels, predictions, zero_division=0))


def _averaged(function: Callable[..., float], average: str) -> Metric:
    return lambda labels, predictions: float(function(labels, predictions, average=average, zero_division=0))


for _average in ("macro", "weighted", "micro"):
    METRICS[f"f1_{_average}"] = _averaged(sklearn_metrics.f1_score, _average)
    METRICS[f"precision_{_average}"] = _averaged(sklearn_metrics.precision_score, _average)
    METRICS[f"recall_{_average}"] = _averaged(sklearn_metrics.recall_score, _average)


def _correlation(function: Callable[..., tuple[float, float]]) -> Metric:
    def correlation(labels: np.ndarray, predictions: np.ndarray) -> float:
        # The correlation of a constant is undefined; a model that always says the same explains nothing.
        if np.ptp(predictions) == 0 or np.ptp(labels) == 0:
            return 0.0
        return float(function(labels, predictions)[0])

    return correlation


METRICS["pearson"] = _correlation(stats.pearsonr)
METRICS["spearman"] = _correlation(stats.spearmanr)
METRICS["kendall"] = _correlation(stats.kendalltau)
METRICS["r2"] = sklearn_metrics.r2_score


def check_metrics(names: Sequence[str], kind: str, classes: int) -> None:
    """Refuse metrics that a kind of task, or one of so many classes, does not have.

    Raises UserError naming the first unknown one and those there are.
    """
    known = OF_KINDS.get(kind, ())
    if kind not in ("question-answering", "causal-lm", "masked-lm"):
        known += tuple(
            name
            for name in METRICS
            if (name in _OF_SCORES) == (kind == "regression") and (classes == 2 or name not in _OF_TWO)
        )
    for name in names:
        if name not in known:
            of = f" of {classes} classes" if name in _OF_TWO and classes > 2 else ""
            raise UserError(f"task.metrics: '{name}' is no metric of {kind}{of}; there are {', '.join(known)}.")


def predictions_from_logits(logits: np.ndarray, regression: bool) -> np.ndarray:
    """Class indices int64[n], or scores float[n] for a regression; logits have the shape (n, num_labels)."""
    return logits[:, 0] if regression else logits.argmax(axis=1)


def compute_metrics(names: Sequence[str], logits: np.ndarray, labels: np.ndarray, regression: bool) -> dict[str, float]:
    """Metric name -> value in percent; NaN where a logit is NaN or infinite, since such outputs answer nothing.

    names: keys of `METRICS`. A constant prediction scores 0 in the correlations and in matthews.
    logits: float[n, num_labels]; labels: int[n] or float[n].
    """
    if broken := int((~np.isfinite(logits)).any(axis=1).sum()):
        # The largest of NaN is class 0, which would be scored like an answer.
        _log.warning("%d of %d outputs are NaN or infinite; the metrics are NaN.", broken, len(logits))
        return dict.fromkeys(names, float("nan"))
    predictions = predictions_from_logits(logits, regression)
    return {name: 100.0 * float(METRICS[name](labels, predictions)) for name in names}
