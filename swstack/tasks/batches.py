"""Tokenized examples and batches of them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from transformers import PreTrainedTokenizerBase

from crossvote.sim.common.errors import UserError
from crossvote.swstack.models.tokenizers import ROWS
from crossvote.swstack.tasks.base import AnyExample
from crossvote.swstack.tasks.encoded import Batch, Encoded, collate
from crossvote.swstack.tasks.kinds import kind_of
from crossvote.swstack.tasks.words import dropped_share

__all__ = ["Batch", "Encoded", "batch_indices", "batches", "collate", "encode"]

_log = logging.getLogger(__name__)

#: Batches of similar length are cut from runs of this many batches of the shuffled data.
_BUCKET_BATCHES = 20


@lru_cache(maxsize=16)
def encode(tokenizer: PreTrainedTokenizerBase, examples: tuple[AnyExample, ...], max_length: int) -> Encoded:
    """Tokenize ``examples``, truncated to ``max_length`` tokens or to what the model takes; remembers the last results.

    Raises:
        UserError: more than a fifth of the tokens are unknown: such a tokenizer is of another model or language.
    """
    longest = min(max_length, tokenizer.model_max_length)
    encoded = kind_of(examples[0].asks).encode(tokenizer, examples, longest)
    if not len(encoded):
        raise UserError("the examples hold no text.")
    if not encoded.lengths.all():
        raise UserError(
            f"the model's tokenizer makes no token of example {int(np.argmin(encoded.lengths)) + 1}; it is of another "
            "model, or the text is empty."
        )
    encoded = dataclasses.replace(encoded, unknown=max(encoded.unknown, dropped_share(tokenizer, examples)))
    rows = getattr(tokenizer, ROWS, None)
    highest = max((int(row.max()) for row in encoded.features.get("input_ids", ())), default=0)
    if rows is not None and highest >= rows:
        raise UserError(
            f"the model's tokenizer makes token {highest}, but the model has embeddings for {rows} tokens only: the "
            "tokenizer is of another model, or the embeddings were not resized when tokens were added."
        )
    if longest < max_length and (encoded.lengths == longest).any():
        _log.warning("the model takes %d tokens at most, fewer than max_length = %d.", longest, max_length)
    return encoded


def batches(encoded: Encoded, batch_size: int, rng: np.random.Generator | None = None) -> Iterator[Batch]:
    """Padded batches over all examples, each example once.

    Without ``rng``: sorted by length, for evaluation. With ``rng``: shuffled, examples of similar length together, the
    batches in random order, for training.
    """
    for indices in batch_indices(encoded.lengths, batch_size, rng):
        yield collate(encoded, indices)


def batch_indices(lengths: np.ndarray, batch_size: int, rng: np.random.Generator | None = None) -> list[np.ndarray]:
    """Indices of the examples of every batch; see ``batches``.

    Unlike those of ``LengthGroupedSampler`` of transformers, which gives the longest first, the batches of a run come
    in random order.
    """
    if rng is None:
        order = np.argsort(lengths, kind="stable")
        return _cut(order, batch_size)
    order = rng.permutation(len(lengths))
    runs = _cut(order, batch_size * _BUCKET_BATCHES)
    sorted_runs = [run[np.argsort(lengths[run], kind="stable")] for run in runs]
    cut = [batch for run in sorted_runs for batch in _cut(run, batch_size)]
    return [cut[i] for i in rng.permutation(len(cut))]


def _cut(values: np.ndarray, size: int) -> list[np.ndarray]:
    return [values[start : start + size] for start in range(0, len(values), size)]
