"""Scores of sentences and sentence pairs."""

from __future__ import annotations

from collections.abc import Sequence

from crossvote.swstack.tasks.base import Example
from crossvote.swstack.tasks.fields import Fields
from crossvote.swstack.tasks.kinds import KINDS
from crossvote.swstack.tasks.kinds._sentences import Sentences


@KINDS.register("regression")
class Regression(Sentences):
    """A score for each sentence or pair."""

    measured_by = ("scores",)

    def usual_metrics(self, classes: Sequence[str]) -> tuple[str, ...]:
        return ("spearman", "pearson")

    def example(self, fields: Fields) -> Example:
        return Example(fields.text("sentence1"), fields.optional_text("sentence2"), fields.number("label"))
