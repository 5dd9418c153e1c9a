"""What a task is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol


@dataclass(frozen=True)
class Example:
    """One labelled sentence or sentence pair; the label is a class index or a regression score."""

    sentence1: str
    sentence2: str | None
    label: int | float

    @property
    def asks(self) -> str:
        """Kind of task the example belongs to."""
        return "regression" if isinstance(self.label, float) else "classification"


@dataclass(frozen=True)
class TaggedWords:
    """A sentence in words, with a class index for each."""

    words: tuple[str, ...]
    tags: tuple[int, ...]

    @property
    def asks(self) -> str:
        """Kind of task the example belongs to."""
        return "token-classification"


@dataclass(frozen=True)
class Question:
    """A question and the passage that answers it; where each of the equally good answers starts in the passage."""

    question: str
    context: str
    answers: tuple[str, ...]
    starts: tuple[int, ...]

    @property
    def asks(self) -> str:
        """Kind of task the example belongs to."""
        return "question-answering"


@dataclass(frozen=True)
class Passage:
    """Running text, for language models; masked: tokens are hidden in it, instead of asking for the next one."""

    text: str
    masked: bool = False

    @property
    def asks(self) -> str:
        """Kind of task the example belongs to."""
        return "masked-lm" if self.masked else "causal-lm"


@dataclass(frozen=True)
class Picture:
    """A picture, its pixels from 0 to 1 in rows of each channel, and its class index."""

    pixels: tuple[tuple[tuple[float, ...], ...], ...]
    label: int

    @property
    def asks(self) -> str:
        """Kind of task the example belongs to."""
        return "image-classification"


class AnyExample(Protocol):
    """A frozen dataclass that says which kind of task it belongs to; kinds may bring examples of their own."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def asks(self) -> str:
        """Kind of task the example belongs to."""
        ...


@dataclass(frozen=True, eq=False)
class Task:
    """A task with its data.

    train: empty where a task was loaded to be measured alone.
    labels: class names in index order; empty where there are no classes.
    metrics: names known to ``crossvote.swstack.tasks.metrics``; the first is the primary one.
    provenance: where the data came from and how many rows there are, for reports.
    """

    name: str
    train: tuple[AnyExample, ...]
    dev: tuple[AnyExample, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    provenance: str
    max_length: int

    @property
    def asks(self) -> str:
        """The kind of task."""
        kind = self.dev[0].asks
        return "regression" if kind == "classification" and not self.labels else kind

    @property
    def regression(self) -> bool:
        """Whether labels are scores instead of classes."""
        return self.asks == "regression"

    @property
    def num_labels(self) -> int:
        """Outputs of the classification head; 1 for a regression."""
        return max(1, len(self.labels))

    @property
    def primary_metric(self) -> str:
        """The metric by which results are reported."""
        return self.metrics[0]
