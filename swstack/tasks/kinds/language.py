"""Language models: the next token of running text, or tokens that were masked out of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
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


def _tokens(tokenizer: PreTrainedTokenizerBase, passages: Sequence[Passage]) -> tuple[list[int], float]:
    """The passages' tokens in one row, an end-of-text token (where there is one) after each; and the unknown share."""
    rows = tokenizer([passage.text for passage in passages], add_special_tokens=False)["input_ids"]
    share = unknown_share(tokenizer, rows)
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return [token for row in rows for token in (*row, *end)], share


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


@register("causal-lm")
class CausalLanguage(_Language):
    """The next token. Windows overlap by half, and each token is asked for once, with at least half a window before it
    (but for those of the first window)."""

    def encode(self, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Passage], longest: int) -> Encoded:
        row, share = _tokens(tokenizer, examples)
        if len(row) < 2:
            raise UserError("a language model needs at least two tokens of text.")
        rows, labels = [], []
        done = 0
        for start in range(0, len(row), max(1, longest // 2)):
            window = torch.tensor(row[start : start + longest])
            asked = window.clone()
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
        row, share = _tokens(tokenizer, examples)
        before, after = tokenizer.cls_token_id, tokenizer.sep_token_id
        inner = longest - (before is not None) - (after is not None)
        rng = np.random.default_rng(seed_sequence(0, "masked tokens"))
        rows, labels = [], []
        for start in range(0, len(row), inner):
            part = np.array(row[start : start + inner])
            hidden = rng.random(len(part)) < _MASKED
            if not hidden.any():
                hidden[int(rng.integers(len(part)))] = True
            seen = [*([] if before is None else [before]), *np.where(hidden, mask, part)]
            asked = [*([] if before is None else [IGNORED]), *np.where(hidden, part, IGNORED)]
            if after is not None:
                seen, asked = [*seen, after], [*asked, IGNORED]
            rows.append(torch.tensor([int(token) for token in seen]))
            labels.append(torch.tensor([int(token) for token in asked]))
        return _encoded(rows, labels, share, tokenizer.pad_token_id, "masked-lm")
