"""Metrics of scores: how well numbers agree with numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from crossvote.sim.common.later import Later
from crossvote.swstack.tasks.metrics import METRICS, Metric, metric

if TYPE_CHECKING:
    import numpy as np

    from crossvote.swstack.tasks.metrics import Compute
else:
    np = Later("numpy")


def _correlation(function: str) -> Compute:
    def correlation(labels: np.ndarray, predictions: np.ndarray) -> float:
        from scipy import stats

        # The correlation of a constant is undefined; a model that always says the same explains nothing.
        if np.ptp(predictions) == 0 or np.ptp(labels) == 0:
            return 0.0
        return float(getattr(stats, function)(labels, predictions)[0])

    return correlation


for _name in ("pearson", "spearman"):
    METRICS.register(_name)(Metric("scores", _correlation(f"{_name}r"), lowest=-100.0))
METRICS.register("kendall")(Metric("scores", _correlation("kendalltau"), lowest=-100.0))


@metric("r2", of="scores", lowest=-math.inf)
def _r2(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Share of the variance that is explained; a model worse than the mean is below 0, without a bound."""
    from sklearn.metrics import r2_score

    return float(r2_score(labels, predictions))
