"""What can be asked of a model: one file a kind, which registers itself.

A kind makes examples of rows of own data, tokenizes them, gives the loss, keeps of the outputs what scoring needs, and
scores it. Naming a kind loads no torch; looking one up does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from crossvote.sim.common.registry import Registry
from crossvote.swstack.models.heads import Head, HeadKind
from crossvote.swstack.tasks.base import AnyExample, Task
from crossvote.swstack.tasks.fields import Fields

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import PreTrainedTokenizerBase

    from crossvote.swstack.tasks.encoded import Batch, Encoded


class Kind(ABC):
    """One kind of task.

    Attributes:
        head: which of a model's heads answers. outputs: its width; None: one for each class, 0: the kind fixes it.
        columns: of own data. optional: columns that may be absent. told: whether data are of this kind when they have
            its columns, without being told so.
        classes_in: the column that names classes; empty: there are none. many_classes: whether it is a list of them.
        measured_by: what metrics are ``of`` that measure it (``crossvote.swstack.tasks.metrics.Metric``).
        one_answer: whether a model answers each example with one vector of logits, and its label alone is right.
    """

    head: ClassVar[HeadKind]
    outputs: ClassVar[int | None] = None
    columns: ClassVar[tuple[str, ...]]
    optional: ClassVar[tuple[str, ...]] = ()
    told: ClassVar[bool] = False
    classes_in: ClassVar[str] = ""
    many_classes: ClassVar[bool] = False
    measured_by: ClassVar[tuple[str, ...]]
    one_answer: ClassVar[bool] = False

    @abstractmethod
    def usual_metrics(self, classes: Sequence[str]) -> tuple[str, ...]:
        """The metrics of a task that names none, the primary one first."""

    @abstractmethod
    def example(self, fields: Fields) -> AnyExample:
        """One row of own data as an example.

        Raises:
            UserError: the message names the row and the column that is wrong.
        """

    def form(self, example: Any) -> str:
        """What all examples must have alike so that batches can be made of them, in words; empty: nothing."""
        return ""

    @abstractmethod
    def encode(self, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Any], longest: int) -> Encoded:
        """Tokenized examples, none longer than ``longest`` tokens."""

    @abstractmethod
    def loss(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The scalar loss of a batch."""

    def choices(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """One row of logits for each choice that the model makes: a class, a word's class, a token."""
        return logits if logits.dim() == 2 else logits[batch.asked]

    @abstractmethod
    def outcomes(self, logits: torch.Tensor, batch: Batch) -> list[np.ndarray]:
        """Per example, what ``score`` needs; NaN or infinity where the outputs were no numbers."""

    @abstractmethod
    def score(
        self, names: Sequence[str], outcomes: Sequence[np.ndarray], encoded: Encoded, labels: Sequence[str]
    ) -> dict[str, float]:
        """Metric name -> value, of outcomes in the order of the examples; labels: names of the classes."""


@runtime_checkable
class AnswersBlindly(Protocol):
    """A kind that knows how models answer that do not look at their input, for chance levels."""

    def constant(self, encoded: Encoded, labels: Sequence[str]) -> Iterator[list[np.ndarray]]:
        """Outcomes of all examples for each answer that is the same for every input."""
        ...

    def exchanged(self, encoded: Encoded, labels: Sequence[str], rng: np.random.Generator) -> list[np.ndarray]:
        """Outcomes of right answers to other questions, drawn anew by every call."""
        ...

    def score(
        self, names: Sequence[str], outcomes: Sequence[np.ndarray], encoded: Encoded, labels: Sequence[str]
    ) -> dict[str, float]:
        """As in ``Kind``."""
        ...


KINDS: Registry[type[Kind]] = Registry("kind of task", __name__, lazy=True)


def kind_of(name: str) -> Kind:
    """The kind called ``name``."""
    return KINDS[name]()


def head_of(task: Task) -> Head:
    """What a model must answer."""
    kind = KINDS[task.asks]
    outputs = task.num_labels if kind.outputs is None else kind.outputs
    return Head(kind.head, outputs, task.labels, task.regression)
