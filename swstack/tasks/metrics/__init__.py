"""Metrics, in percent unless they say otherwise. A new one is a file here, or a decorated function in one.

Values are scikit-learn's and SciPy's; a name, a range and which way is better are all that is kept here. torchmetrics
knows these, too, but computes in single precision (an accuracy of 79.5333325 for 79.5333333) and finds NaN for the
correlation of a constant, so that results would no longer equal those that are kept.

Reading what a metric is like (for a report, say) loads neither PyTorch nor scikit-learn; computing it does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.later import Later
from crossvote.sim.common.registry import Registry

if TYPE_CHECKING:
    import numpy as np

    #: Labels and predictions of all examples -> value, 1 for a perfect answer.
    Compute = Callable[[np.ndarray, np.ndarray], float]
else:
    np = Later("numpy")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Metric:
    """What a metric measures, and how.

    Attributes:
        of: what it compares: "classes" or "scores" of examples, or the answers of a kind of task that it names itself
            (``measured_by`` of ``crossvote.swstack.tasks.kinds.Kind``).
        compute: of labels and predictions; None where the kind of task computes it, from more than these.
        two_classes: whether it is that of class 1 of two. lowest, highest: of all values it can have, in percent.
        lower_is_better: whether a smaller value is a better one.
    """

    of: str
    compute: Compute | None = None
    two_classes: bool = False
    lowest: float = 0.0
    highest: float = 100.0
    lower_is_better: bool = False


METRICS: Registry[Metric] = Registry("metric", __name__)


def metric(name: str, of: str, *, two_classes: bool = False, lowest: float = 0.0) -> Callable[[Compute], Compute]:
    """Decorator: make a function known as the metric ``name``; see ``Metric`` for the rest."""

    def add(function: Compute) -> Compute:
        METRICS.register(name)(Metric(of, function, two_classes, lowest))
        return function

    return add


def goodness(name: str, value: float) -> float:
    """A value of a metric turned so that more is better; of a metric that is not known here more is taken to be."""
    return -value if name in METRICS and METRICS[name].lower_is_better else value


def in_percent(name: str) -> bool:
    """Whether a metric is a percentage; one that is not known here is taken for one."""
    return name not in METRICS or METRICS[name].highest == 100.0


def lost(name: str, before: float, after: float) -> float:
    """How much worse ``after`` is than ``before``, in points of the metric; below 0 where it is better."""
    return goodness(name, before) - goodness(name, after)


def check_metrics(names: Sequence[str], kind: str, measured_by: Sequence[str], classes: int) -> None:
    """Refuse metrics that a kind of task, or one of so many classes, does not have.

    measured_by: what metrics of this kind are ``of``.

    Raises:
        UserError: the message names the first unknown one and those there are.
    """
    own = {name: one for name, one in METRICS.items() if one.of in measured_by}
    known = [name for name, one in own.items() if classes == 2 or not one.two_classes]
    for name in names:
        if name not in known:
            of = f" of {classes} classes" if name in own and classes > 2 else ""
            raise UserError(f"task.metrics: '{name}' is no metric of {kind}{of}; there are {', '.join(known)}.")


def predictions_from_logits(logits: np.ndarray, regression: bool) -> np.ndarray:
    """Class indices int64[n], or scores float[n] for a regression; logits have the shape (n, num_labels)."""
    return logits[:, 0] if regression else logits.argmax(axis=1)


def compute_metrics(names: Sequence[str], logits: np.ndarray, labels: np.ndarray, regression: bool) -> dict[str, float]:
    """Metric name -> value in percent; NaN where a logit is NaN or infinite, since such outputs answer nothing.

    names: of metrics that are computed from labels and predictions. A constant prediction scores 0 in the correlations
    and in matthews. logits: float[n, num_labels]; labels: int[n] or float[n].
    """
    if broken := int((~np.isfinite(logits)).any(axis=1).sum()):
        # The largest of NaN is class 0, which would be scored like an answer.
        _log.warning("%d of %d outputs are NaN or infinite; the metrics are NaN.", broken, len(logits))
        return dict.fromkeys(names, float("nan"))
    predictions = predictions_from_logits(logits, regression)
    values = {}
    for name in names:
        compute = METRICS[name].compute
        assert compute is not None, name
        values[name] = 100.0 * float(compute(labels, predictions))
    return values
