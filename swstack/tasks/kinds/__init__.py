"""What can be asked of a model: one file a kind, which registers itself.

A kind tokenizes its examples, gives the loss, keeps of the outputs what scoring needs, and scores it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from crossvote.sim.common.registry import Registry
from crossvote.swstack.tasks.base import TaskKind
from crossvote.swstack.tasks.encoded import Batch, Encoded


class Kind(Protocol):
    """One kind of task."""

    def encode(self, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Any], longest: int) -> Encoded:
        """Tokenized examples, none longer than `longest` tokens."""
        ...

    def loss(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The scalar loss of a batch."""
        ...

    def outcomes(self, logits: torch.Tensor, batch: Batch) -> list[np.ndarray]:
        """Per example, what `score` needs; NaN or infinity where the outputs were no numbers."""
        ...

    def score(
        self, names: Sequence[str], outcomes: Sequence[np.ndarray], encoded: Encoded, labels: Sequence[str]
    ) -> dict[str, float]:
        """Metric name -> value, of outcomes in the order of the examples; labels: names of the classes."""
        ...


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


_KINDS: Registry[Kind] = Registry("kind of task", __name__)


def register(*names: TaskKind) -> Any:
    """Class decorator: an instance of the class answers for these kinds."""

    def add(cls: type) -> type:
        instance = cls()
        for name in names:
            _KINDS.register(name)(instance)
        return cls

    return add


def kind_of(name: TaskKind) -> Kind:
    """The kind called `name`."""
    return _KINDS[name]
