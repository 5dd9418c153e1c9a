"""Classes of sentences and sentence pairs."""

from __future__ import annotations

from collections.abc import Sequence

from crossvote.swstack.tasks.base import Example
from crossvote.swstack.tasks.fields import Fields
from crossvote.swstack.tasks.kinds import KINDS
from crossvote.swstack.tasks.kinds._sentences import Sentences


@KINDS.register("classification")
class Classification(Sentences):
    """A class for each sentence or pair."""

    classes_in = "label"
    measured_by = ("classes",)

    def usual_metrics(self, classes: Sequence[str]) -> tuple[str, ...]:
        return ("accuracy", "f1") if len(classes) == 2 else ("accuracy", "f1_macro")

    def example(self, fields: Fields) -> Example:
        return Example(fields.text("sentence1"), fields.optional_text("sentence2"), fields.class_of("label"))
