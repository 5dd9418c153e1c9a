"""What a command prints when its stage is done."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import synthetic_run as synthetic

from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.records import Accuracy
from crossvote.swstack.experiment.stages.summary import _point, summarize


def point(**changes: Any) -> dict[str, Any]:
    return {"scheme": "best", "rate": 0.01, "mean": 81.5, "sd": 1.25, "chips": 5, **changes}


@pytest.mark.parametrize(
    ("changes", "metric", "text"),
    [
        ({}, "accuracy", "best, 1 % stuck: accuracy 81.50 % (standard deviation 1.25, 5 chips)"),
        ({"chips": 1, "sd": 0.0}, "accuracy", "best, 1 % stuck: accuracy 81.50 % (1 chip)"),
        ({"rate": 0.0, "chips": 1, "sd": 0.0}, "accuracy", "best, no faults: accuracy 81.50 %"),
        ({}, "perplexity", "best, 1 % stuck: perplexity 81.5 (standard deviation 1.25, 5 chips)"),
    ],
)
def test_a_mean_is_told_with_the_scatter_that_was_measured(changes: dict[str, Any], metric: str, text: str) -> None:
    assert _point(point(**changes), metric) == text


class Run:
    """A run directory with one record."""

    def __init__(self, record: Accuracy) -> None:
        self.record = record

    def read(self, name: str, kind: type[Accuracy]) -> Accuracy:
        assert (name, kind) == (paths.RESULTS["eval"], Accuracy)
        return self.record


def test_a_model_at_chance_level_is_said_to_be_at_it_by_eval_too() -> None:
    whole: dict[str, Any] = {field.name: None for field in dataclasses.fields(Accuracy)}
    record = Accuracy(**{**whole, **synthetic.results()["eval"], "fault_free": {"dense": 50.0, "pruned": 50.0}})
    first, *points = summarize(Run(record), "eval")  # type: ignore[arg-type]
    assert first.startswith("THE MODEL IS AT CHANCE LEVEL")
    assert len(points) == len(record.points)
