"""Language models: the next token of running text, or tokens that were masked out of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.seeds import seed_sequence
from crossvote.swstack.tasks.base import Passage
from crossvote.swstack.tasks.encoded import IGNORED, Batch, Encoded
from crossvote.swstack.tasks.kinds import register
from crossvote.swstack.tasks.words import unknown_share

#: Share of the tokens that a masked language model is asked for, as BERT was trained.
_MASKED = 0.15


def _tokens(
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


def _encoded(rows: list[torch.Tensor], labels: list[torch.Tensor], share: float, pad: int, asks: str) -> Encoded:
    return Encoded(
        features={"input_ids": tuple(rows), "attention_mask": tuple(torch.ones_like(row) for row in rows)},
        padding={"input_ids": pad, "attention_mask": 0},
        labels=tuple(labels),
        lengths=np.array([len(row) for row in rows]),
        unknown=share,
        asks=asks,  # type: ignore[arg-type]
    )


class _Language:
    """What both kinds score alike: an outcome is (sum of -log p, tokens asked for, tokens guessed right)."""

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


@register("causal-lm")
class CausalLanguage(_Language):
    """The next token. Windows overlap by half, and each token is asked for once, with at least half a window before it
    (but for those of the first window)."""

    def encode(self, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Passage], longest: int) -> Encoded:
        row, of_text, share = _tokens(tokenizer, examples)
        if of_text.sum() < 2:
            raise UserError("a language model needs at least two tokens of text.")
        rows, labels = [], []
        done = 0
        for start in range(0, len(row), max(1, longest // 2)):
            window = torch.tensor(row[start : start + longest])
            asked = window.clone()
            asked[torch.from_numpy(~of_text[start : start + longest])] = IGNORED
            asked[: done - start] = IGNORED
            if (asked[1:] != IGNORED).any():
                rows.append(window)
                labels.append(asked)
            done = start + len(window)
            if done == len(row):
                break
        return _encoded(rows, labels, share, tokenizer.pad_token_id, "causal-lm")

    def _aligned(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return logits[:, :-1], labels[:, 1:]


@register("masked-lm")
class MaskedLanguage(_Language):
    """Tokens in place of which the model sees the mask; which ones, is drawn once."""

    def encode(self, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Passage], longest: int) -> Encoded:
        mask = getattr(tokenizer, "mask_token_id", None)
        if mask is None:
            raise UserError("the tokenizer has no mask token, so the model is no masked language model.")
        row, of_text, share = _tokens(tokenizer, examples)
        before, after = tokenizer.cls_token_id, tokenizer.sep_token_id
        inner = longest - (before is not None) - (after is not None)
        if inner < 1:
            raise UserError(f"the model takes {longest} tokens at most, which leaves no room for text.")
        rng = np.random.default_rng(seed_sequence(0, "masked tokens"))
        rows, labels = [], []
        for start in range(0, len(row), inner):
            part = np.array(row[start : start + inner])
            text = of_text[start : start + inner]
            hidden = (rng.random(len(part)) < _MASKED) & text
            if not hidden.any():
                hidden[rng.choice(np.flatnonzero(text), min(1, int(text.sum())))] = True
            seen = [*([] if before is None else [before]), *np.where(hidden, mask, part)]
            asked = [*([] if before is None else [IGNORED]), *np.where(hidden, part, IGNORED)]
            if after is not None:
                seen, asked = [*seen, after], [*asked, IGNORED]
            rows.append(torch.tensor([int(token) for token in seen]))
            labels.append(torch.tensor([int(token) for token in asked]))
        return _encoded(rows, labels, share, tokenizer.pad_token_id, "masked-lm")
