"""Tokenized examples and batches of them, whatever is asked about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

#: Label of a token that is not asked about, as in ``torch.nn.functional.cross_entropy``.
IGNORED = -100


@dataclass(frozen=True, eq=False)
class Encoded:
    """Tokenized examples.

    features: name of the model's input -> one int64 vector of tokens per example (for pictures float32[C, H, W]).
    padding: name of the model's input -> value that fills up a batch.
    labels: int64[n], for a regression float32[n], or one int64 vector per example: a class for each token (``IGNORED``
        where none is asked for), or the first and last token of an answer.
    unknown: share of the tokens, special ones left out, that the tokenizer does not know, or of the letters that are in
        no token, whichever is more.
    asks: the kind of the task. notes: what scoring needs besides, per example.
    """

    features: dict[str, tuple[torch.Tensor, ...]]
    padding: dict[str, int]
    labels: torch.Tensor | tuple[torch.Tensor, ...]
    lengths: np.ndarray
    unknown: float = 0.0
    asks: str = "classification"
    notes: tuple[Any, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples padded to the longest.

    inputs: the model's keyword arguments, int64[batch, length].
    labels: int64[batch], float32[batch], or int64[batch, tokens].
    labelled: bool[batch], false where the label does not belong to the inputs and is not to be learned.
    """

    indices: np.ndarray
    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor
    labelled: torch.Tensor
    asks: str = "classification"

    @property
    def asked(self) -> torch.Tensor:
        """bool of the labels' shape: what is asked about."""
        return self.labels != IGNORED

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``."""
        inputs = {name: value.to(device) for name, value in self.inputs.items()}
        return Batch(self.indices, inputs, self.labels.to(device), self.labelled.to(device), self.asks)


def collate(encoded: Encoded, indices: np.ndarray) -> Batch:
    """The examples ``indices`` as one batch, padded to the longest of them.

    The collators of transformers pad what a tokenizer made, on the side that the tokenizer at hand says; here are also
    pictures, labels of tokens and places of answers, tokenized once for all epochs, and padded on the right always.
    """
    inputs = {
        name: pad_sequence([rows[i] for i in indices], batch_first=True, padding_value=encoded.padding[name])
        for name, rows in encoded.features.items()
    }
    if isinstance(encoded.labels, torch.Tensor):
        labels = encoded.labels[torch.from_numpy(indices)]
    else:
        labels = pad_sequence([encoded.labels[i] for i in indices], batch_first=True, padding_value=IGNORED)
    return Batch(indices, inputs, labels, torch.ones(len(indices), dtype=torch.bool), encoded.asks)
