"""What every text kind needs of a tokenizer: padding, unknown words, and which word a token belongs to."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from crossvote.sim.common.errors import UserError
from crossvote.swstack.tasks.base import AnyExample
from crossvote.swstack.tasks.encoded import Encoded

_log = logging.getLogger(__name__)

#: Share of unknown tokens above which a tokenizer is refused, and above which the share is said.
UNKNOWN_LIMIT, UNKNOWN_NOTED = 0.2, 0.01
#: Examples, and letters of each text, that are looked at for letters without a token.
_LOOKED_AT, _LONGEST = 200, 2000


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

    Raises:
        UserError: above ``UNKNOWN_LIMIT``; warns above ``UNKNOWN_NOTED``.
    """
    unknown = getattr(tokenizer, "unk_token_id", None)
    if unknown is None or unknown in {tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id}:
        return 0.0  # tokenizers of bytes name another special token there
    ids = np.concatenate([np.asarray(row, np.int64) for row in rows])
    missed = int((ids == unknown).sum())
    words = int((~np.isin(ids, list({*tokenizer.all_special_ids} - {unknown}))).sum())
    return _judged(missed / max(1, words), "the tokens are unknown to")


def dropped_share(tokenizer: PreTrainedTokenizerBase, examples: Sequence[AnyExample]) -> float:
    """Share of the letters of some examples that are in no token, as what a tokenizer without an unknown token does not
    know is left out (one of bytes read with the words of another model); 0 for one that cannot say.

    Raises:
        UserError: above ``UNKNOWN_LIMIT``; warns above ``UNKNOWN_NOTED``.
    """
    if not getattr(tokenizer, "is_fast", False):
        return 0.0
    chosen = examples[:: max(1, len(examples) // _LOOKED_AT)]
    texts = [text[:_LONGEST] for example in chosen for text in _texts(example)]
    letters = held = 0
    if texts:
        spans = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
        for text, places in zip(texts, spans, strict=True):
            inside = np.zeros(len(text), np.bool_)
            for start, end in places:
                inside[start:end] = True
            seen = np.array([not letter.isspace() for letter in text], np.bool_)
            letters += int(seen.sum())
            held += int((seen & inside).sum())
    return _judged(1 - held / max(1, letters) if letters else 0.0, "the letters are in no token of")


def _texts(example: AnyExample) -> list[str]:
    """What an example says: its texts, and words that are told apart already."""
    values = vars(example).values()
    told = [" ".join(value) for value in values if isinstance(value, tuple) and value and isinstance(value[0], str)]
    return [text for text in (*(value for value in values if isinstance(value, str)), *told) if text]


def _judged(share: float, what: str) -> float:
    if share > UNKNOWN_LIMIT:
        raise UserError(
            f"{100 * share:.1f} % of {what} the model's tokenizer, more than {100 * UNKNOWN_LIMIT:g} %: it is of "
            "another model, or made for another language than the data."
        )
    if share > UNKNOWN_NOTED:
        _log.warning("%.1f %% of %s the model's tokenizer.", 100 * share, what)
    return share


def split_words(
    tokenizer: PreTrainedTokenizerBase, sentences: Sequence[Sequence[str]], longest: int
) -> tuple[Any, list[list[int | None]]]:
    """Tokens of sentences that are in words already, and for each token the index of its word (None: a special one).

    Raises:
        UserError: a tokenizer that cannot say which word a token belongs to.
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
