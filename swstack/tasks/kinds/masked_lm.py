"""Tokens that were masked out of running text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.seeds import seed_sequence
from crossvote.swstack.tasks.base import Passage
from crossvote.swstack.tasks.encoded import IGNORED, Encoded
from crossvote.swstack.tasks.kinds import KINDS
from crossvote.swstack.tasks.kinds._language import Language, encoded_rows, tokens_of

#: Share of the tokens that a masked language model is asked for, as BERT was trained.
_MASKED = 0.15


@KINDS.register("masked-lm")
class MaskedLanguage(Language):
    """Tokens in place of which the model sees the mask; which ones, is drawn once."""

    head = "masked-lm"
    masked = True

    def encode(self, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Passage], longest: int) -> Encoded:
        mask = getattr(tokenizer, "mask_token_id", None)
        if mask is None:
            raise UserError("the tokenizer has no mask token, so the model is no masked language model.")
        row, of_text, share = tokens_of(tokenizer, examples)
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
        return encoded_rows(rows, labels, share, tokenizer.pad_token_id, "masked-lm")
