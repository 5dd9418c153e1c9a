"""Tokenized examples and batches of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from crossvote.sim.common.errors import UserError
from crossvote.swstack.tasks import Example

_log = logging.getLogger(__name__)

#: Share of unknown tokens above which a tokenizer is refused, and above which the share is said.
UNKNOWN_LIMIT, UNKNOWN_NOTED = 0.2, 0.01
#: Batches of similar length are cut from runs of this many batches of the shuffled data.
_BUCKET_BATCHES = 20


@dataclass(frozen=True, eq=False)
class Encoded:
    """Tokenized examples.

    features: name of the model's input -> one int64 vector of tokens per example.
    padding: name of the model's input -> value that fills up a batch.
    labels: int64[n] or, for a regression, float32[n].
    unknown: share of the tokens, special ones left out, that the tokenizer does not know.
    """

    features: dict[str, tuple[torch.Tensor, ...]]
    padding: dict[str, int]
    labels: torch.Tensor
    lengths: np.ndarray
    unknown: float

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples padded to the longest.

    inputs: the model's keyword arguments, int64[batch, length].
    labelled: bool[batch], false where the label does not belong to the inputs and is not to be learned.
    """

    indices: np.ndarray
    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor
    labelled: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`."""
        inputs = {name: value.to(device) for name, value in self.inputs.items()}
        return Batch(self.indices, inputs, self.labels.to(device), self.labelled.to(device))


@lru_cache(maxsize=16)
def encode(tokenizer: PreTrainedTokenizerBase, examples: tuple[Example, ...], max_length: int) -> Encoded:
    """Tokenize `examples`, truncated to `max_length` tokens or to what the model takes; remembers the last results.

    Raises UserError if more than a fifth of the tokens are unknown: such a tokenizer is of another model or language.
    """
    first = [example.sentence1 for example in examples]
    second = None if examples[0].sentence2 is None else [str(example.sentence2) for example in examples]
    longest = min(max_length, tokenizer.model_max_length)
    tokens = tokenizer(first, second, truncation=True, max_length=longest, padding=False)
    padding = dict.fromkeys(tokens, 0)
    padding["input_ids"] = tokenizer.pad_token_id
    if "token_type_ids" in padding:
        padding["token_type_ids"] = tokenizer.pad_token_type_id
    unknown = _unknown_share(tokenizer, tokens["input_ids"])
    lengths = np.array([len(row) for row in tokens["input_ids"]])
    if longest < max_length and (lengths == longest).any():
        _log.warning("the model has positions for %d tokens, fewer than max_length = %d.", longest, max_length)
    kind = torch.float32 if any(isinstance(example.label, float) for example in examples) else torch.int64
    return Encoded(
        features={name: tuple(torch.tensor(row) for row in rows) for name, rows in tokens.items()},
        padding=padding,
        labels=torch.tensor([example.label for example in examples], dtype=kind),
        lengths=lengths,
        unknown=unknown,
    )


def _unknown_share(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]) -> float:
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


def batches(encoded: Encoded, batch_size: int, rng: np.random.Generator | None = None) -> Iterator[Batch]:
    """Padded batches over all examples, each example once.

    Without `rng`: sorted by length, for evaluation. With `rng`: shuffled, examples of similar length together, the
    batches in random order, for training.
    """
    for indices in batch_indices(encoded.lengths, batch_size, rng):
        yield collate(encoded, indices)


def batch_indices(lengths: np.ndarray, batch_size: int, rng: np.random.Generator | None = None) -> list[np.ndarray]:
    """Indices of the examples of every batch; see `batches`."""
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


def collate(encoded: Encoded, indices: np.ndarray) -> Batch:
    """The examples `indices` as one batch, padded to the longest of them."""
    inputs = {
        name: pad_sequence([rows[i] for i in indices], batch_first=True, padding_value=encoded.padding[name])
        for name, rows in encoded.features.items()
    }
    labels = encoded.labels[torch.from_numpy(indices)]
    return Batch(indices, inputs, labels, torch.ones(len(indices), dtype=torch.bool))
