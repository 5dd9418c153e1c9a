"""Tokenized examples and batches of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from crossvote.swstack.tasks import Example

#: Batches of similar length are cut from runs of this many batches of the shuffled data.
_BUCKET_BATCHES = 20


@dataclass(frozen=True, eq=False)
class Encoded:
    """Tokenized examples.

    features: name of the model's input -> one int64 vector of tokens per example.
    padding: name of the model's input -> value that fills up a batch.
    labels: int64[n] or, for a regression, float32[n].
    """

    features: dict[str, tuple[torch.Tensor, ...]]
    padding: dict[str, int]
    labels: torch.Tensor
    lengths: np.ndarray

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
    """Tokenize `examples`, truncated to `max_length` tokens or to what the model takes; remembers the last results."""
    first = [example.sentence1 for example in examples]
    second = None if examples[0].sentence2 is None else [str(example.sentence2) for example in examples]
    longest = min(max_length, tokenizer.model_max_length)
    tokens = tokenizer(first, second, truncation=True, max_length=longest, padding=False)
    padding = dict.fromkeys(tokens, 0)
    padding["input_ids"] = tokenizer.pad_token_id
    if "token_type_ids" in padding:
        padding["token_type_ids"] = tokenizer.pad_token_type_id
    kind = torch.float32 if any(isinstance(example.label, float) for example in examples) else torch.int64
    return Encoded(
        features={name: tuple(torch.tensor(row) for row in rows) for name, rows in tokens.items()},
        padding=padding,
        labels=torch.tensor([example.label for example in examples], dtype=kind),
        lengths=np.array([len(row) for row in tokens["input_ids"]]),
    )


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
