"""What the kinds of language models share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from crossvote.swstack.tasks.base import Passage
from crossvote.swstack.tasks.encoded import IGNORED, Batch, Encoded
from crossvote.swstack.tasks.fields import Fields
from crossvote.swstack.tasks.kinds import Kind
from crossvote.swstack.tasks.words import unknown_share


def tokens_of(
    tokenizer: PreTrainedTokenizerBase, passages: Sequence[Passage]
) -> tuple[list[int], NDArray[np.bool_], float]:
    """The passages' tokens in one row, which of them are of the text, and the unknown share.

    Between passages stands an end-of-text token, where there is one: the model sees it, and is not asked for it, for
    where a passage was cut is nothing that the text says.
    """
    rows = tokenizer([passage.text for passage in passages], add_special_tokens=False)["input_ids"]
    share = unknown_share(tokenizer, rows)
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    of_text = [text for row in rows for text in (*[True] * len(row), *[False] * len(end))]
    return [token for row in rows for token in (*row, *end)], np.array(of_text, np.bool_), share


def encoded_rows(rows: list[torch.Tensor], labels: list[torch.Tensor], share: float, pad: int, asks: str) -> Encoded:
    return Encoded(
        features={"input_ids": tuple(rows), "attention_mask": tuple(torch.ones_like(row) for row in rows)},
        padding={"input_ids": pad, "attention_mask": 0},
        labels=tuple(labels),
        lengths=np.array([len(row) for row in rows]),
        unknown=share,
        asks=asks,
    )


class Language(Kind):
    """What all score alike: an outcome is (sum of -log p, tokens asked for, tokens guessed right)."""

    outputs = 0
    columns = ("text",)
    measured_by = ("tokens",)
    #: Whether tokens are hidden in the text, instead of asking for the next one.
    masked: ClassVar[bool]

    def usual_metrics(self, classes: Sequence[str]) -> tuple[str, ...]:
        return ("token_accuracy", "perplexity")

    def example(self, fields: Fields) -> Passage:
        return Passage(fields.text("text"), self.masked)

    def _aligned(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [batch, length, words] and the tokens [batch, length] they are about."""
        return logits, labels

    def loss(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        logits, labels = self._aligned(logits, batch.labels)
        return functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)

    def outcomes(self, logits: torch.Tensor, batch: Batch) -> list[np.ndarray]:
        logits, labels = self._aligned(logits, batch.labels.to(logits.device))
        asked = labels != IGNORED
        flat = functional.cross_entropy(
            logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
        ).view(labels.shape)
        right = (logits.argmax(dim=-1) == labels) & asked
        sums = torch.stack([flat.double().sum(1), asked.double().sum(1), right.double().sum(1)], dim=1)
        return list(sums.cpu().numpy())

    def score(
        self, names: Sequence[str], outcomes: Sequence[np.ndarray], encoded: Encoded, labels: Sequence[str]
    ) -> dict[str, float]:
        """``perplexity`` is exp of the mean -log p per token, not a percentage; ``token_accuracy`` is one."""
        loss, tokens, right = np.sum(outcomes, axis=0)
        values = {
            "perplexity": float(np.exp(min(loss / tokens, 700.0))) if np.isfinite(loss) else float("nan"),
            "token_accuracy": 100.0 * float(right / tokens) if np.isfinite(loss) else float("nan"),
        }
        return {name: values[name] for name in names}

    def constant(self, encoded: Encoded, labels: Sequence[str]) -> Iterator[list[np.ndarray]]:
        """The most frequent token, every token with the probability of its frequency."""
        asked = self._asked(encoded)
        yield self._answered(asked, [np.full(len(row), _most_frequent(asked)) for row in asked])

    def exchanged(self, encoded: Encoded, labels: Sequence[str], rng: np.random.Generator) -> list[np.ndarray]:
        """The tokens that are asked for, in a random order."""
        asked = self._asked(encoded)
        drawn = rng.permutation(np.concatenate(asked))
        return self._answered(asked, np.split(drawn, np.cumsum([len(row) for row in asked])[:-1]))

    def _asked(self, encoded: Encoded) -> list[np.ndarray]:
        """The tokens that are asked for, by example."""
        nothing = torch.zeros(1, 1)
        rows = [self._aligned(nothing, row[None])[1][0] for row in encoded.labels]
        return [row[row != IGNORED].numpy() for row in rows]

    def _answered(self, asked: Sequence[np.ndarray], said: Sequence[np.ndarray]) -> list[np.ndarray]:
        tokens, counts = np.unique(np.concatenate(asked), return_counts=True)
        information = -np.log(counts / counts.sum())
        return [
            np.array([information[np.searchsorted(tokens, row)].sum(), len(row), (row == answer).sum()])
            for row, answer in zip(asked, said, strict=True)
        ]


def _most_frequent(rows: Sequence[np.ndarray]) -> int:
    tokens, counts = np.unique(np.concatenate(rows), return_counts=True)
    return int(tokens[counts.argmax()])
