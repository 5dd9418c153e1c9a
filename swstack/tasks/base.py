"""What a sentence task is."""

from __future__ import annotations

from dataclasses import dataclass

from crossvote.swstack.models.heads import Head


@dataclass(frozen=True)
class Example:
    """One labelled sentence or sentence pair; the label is a class index or a regression score."""

    sentence1: str
    sentence2: str | None
    label: int | float


@dataclass(frozen=True, eq=False)
class Task:
    """A sentence task with its data.

    labels: class names in index order; empty for a regression.
    metrics: names known to `crossvote.swstack.tasks.metrics`; the first is the primary one.
    provenance: where the data came from and how many rows there are, for reports.
    """

    name: str
    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    provenance: str
    max_length: int

    @property
    def regression(self) -> bool:
        """Whether labels are scores instead of classes."""
        return not self.labels

    @property
    def num_labels(self) -> int:
        """Outputs of the classification head; 1 for a regression."""
        return max(1, len(self.labels))

    @property
    def head(self) -> Head:
        """What a model must answer."""
        return Head(outputs=self.num_labels, labels=self.labels, regression=self.regression)

    @property
    def primary_metric(self) -> str:
        """The metric by which results are reported."""
        return self.metrics[0]

    @property
    def is_pair(self) -> bool:
        """Whether examples have a second sentence."""
        return self.train[0].sentence2 is not None
