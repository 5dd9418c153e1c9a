"""What a model answers: the kind of its head and the names of its classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

HeadKind = Literal[
    "sequence-classification",
    "token-classification",
    "question-answering",
    "masked-lm",
    "causal-lm",
    "image-classification",
]


@dataclass(frozen=True)
class Head:
    """What the outputs of a model mean.

    kind: which of the library's classes carries it.
    outputs: width of the head; 1 for a regression, 0 where the kind fixes it (language models, answer spans).
    labels: names of the classes in the order of the outputs; empty where they have none.
    """

    kind: HeadKind = "sequence-classification"
    outputs: int = 0
    labels: tuple[str, ...] = ()
    regression: bool = False

    def settings(self) -> dict[str, Any]:
        """Keys for the model's configuration."""
        found: dict[str, Any] = {}
        if self.outputs:
            found["num_labels"] = self.outputs
        if self.kind == "sequence-classification":
            found["problem_type"] = "regression" if self.regression else "single_label_classification"
        return found
