"""The next token of running text."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from crossvote.sim.common.errors import UserError
from crossvote.swstack.tasks.base import Passage
from crossvote.swstack.tasks.encoded import IGNORED, Encoded
from crossvote.swstack.tasks.kinds import KINDS
from crossvote.swstack.tasks.kinds._language import Language, encoded_rows, tokens_of


@KINDS.register("causal-lm")
class CausalLanguage(Language):
    """The next token. Windows overlap by half, and each token is asked for once, with at least half a window before it
    (but for those of the first window)."""

    head = "causal-lm"
    masked = False

    def encode(self, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Passage], longest: int) -> Encoded:
        row, of_text, share = tokens_of(tokenizer, examples)
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
        return encoded_rows(rows, labels, share, tokenizer.pad_token_id, "causal-lm")

    def _aligned(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return logits[:, :-1], labels[:, 1:]
