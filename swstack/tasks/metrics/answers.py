"""Metrics that kinds of tasks compute themselves, from more than labels and predictions."""

from __future__ import annotations

import math

from crossvote.swstack.tasks.metrics import METRICS, Metric

METRICS.register("entity_f1")(Metric("entities"))
METRICS.register("answer_f1")(Metric("spans"))
METRICS.register("exact_match")(Metric("spans"))
METRICS.register("token_accuracy")(Metric("tokens"))
#: exp of the mean -log p of a token, no percentage.
METRICS.register("perplexity")(Metric("tokens", highest=math.inf, lower_is_better=True))
