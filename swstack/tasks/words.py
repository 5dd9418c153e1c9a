"""What every text kind needs of a tokenizer: padding, unknown words, and which word a token belongs to."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from crossvote.sim.common.errors import UserError
from crossvote.swstack.tasks.encoded import Encoded

_log = logging.getLogger(__name__)

#: Share of unknown tokens above which a tokenizer is refused, and above which the share is said.
UNKNOWN_LIMIT, UNKNOWN_NOTED = 0.2, 0.01


def encoded_tokens(
    tokenizer: PreTrainedTokenizerBase,
    tokens: Mapping[str, Sequence[Sequence[int]]],
    labels: torch.Tensor | tuple[torch.Tensor, ...],
    asks: str,
    notes: tuple[Any, ...] = (),
) -> Encoded:
    """Examples from what a tokenizer made of their texts: name of the model's input -> tokens by example."""
    return Encoded(
        features={name: tuple(torch.tensor(row, dtype=torch.int64) for row in rows) for name, rows in tokens.items()},
        padding=padding_values(tokenizer, tokens),
        labels=labels,
        lengths=np.array([len(row) for row in tokens["input_ids"]]),
        unknown=unknown_share(tokenizer, tokens["input_ids"]),
        asks=asks,
        notes=notes,
    )


def padding_values(tokenizer: PreTrainedTokenizerBase, names: Iterable[str]) -> dict[str, int]:
    """Value that fills up a batch, for each of the model's inputs."""
    padding = dict.fromkeys(names, 0)
    padding["input_ids"] = tokenizer.pad_token_id
    if "token_type_ids" in padding:
        padding["token_type_ids"] = tokenizer.pad_token_type_id
    return padding


def unknown_share(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]) -> float:
    """Share of unknown tokens among those that stand for text; 0 for a tokenizer that knows every byte.

    Raises UserError above `UNKNOWN_LIMIT`; warns above `UNKNOWN_NOTED`.
    """
    unknown = getattr(tokenizer, "unk_token_id", None)
    if unknown is None or unknown in {tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id}:
        return 0.0  # tokenizers of bytes name another special token there
    ids = np.concatenate([np.asarray(row, np.int64) for row in rows])
    missed = int((ids == unknown).sum())
    words = int((~np.isin(ids, list({*tokenizer.all_special_ids} - {unknown}))).sum())
    share = missed / max(1, words)
    if share > UNKNOWN_LIMIT:
        raise UserError(
            f"{100 * share:.1f} % of the tokens are unknown to the model's tokenizer, more than "
            f"{100 * UNKNOWN_LIMIT:g} %: it is of another model, or made for another language than the data."
        )
    if share > UNKNOWN_NOTED:
        _log.warning("%.1f %% of the tokens are unknown to the model's tokenizer.", 100 * share)
    return share


def split_words(
    tokenizer: PreTrainedTokenizerBase, sentences: Sequence[Sequence[str]], longest: int
) -> tuple[Any, list[list[int | None]]]:
    """Tokens of sentences that are in words already, and for each token the index of its word (None: a special one).

    Raises UserError for a tokenizer that cannot say which word a token belongs to.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise UserError("words are told apart by a fast tokenizer only (tokenizer.json); this one is not.")
    if (
        getattr(tokenizer, "add_prefix_space", None) is False
    ):  # GPT-2's kind refuses words without the blank before them
        tokenizer.add_prefix_space = True
    tokens = tokenizer(
        [list(words) for words in sentences], is_split_into_words=True, truncation=True, max_length=longest
    )
    return tokens, [tokens.word_ids(index) for index in range(len(sentences))]
