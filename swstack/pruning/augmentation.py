"""Augmentation for distillation: examples with other tokens, which the dense model answers in place of a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from crossvote.swstack.tasks.batches import Batch

#: Probability with which an ordinary token of a chosen example is exchanged.
EXCHANGED_TOKENS = 0.3


class TokenExchange:
    """Exchanges tokens in a share of a batch's examples, and marks these as without label.

    A token that is exchanged becomes one drawn from all ordinary tokens (no special one, no padding) of the batch, so
    that tokens are as frequent as in the task. The draws come from torch's default generator.

    The idea is TinyBERT's (Jiao et al. 2020, section 3.3): a small train set does not teach all that the dense model
    knows. Its own method draws words from a language model and from word vectors.
    """

    def __init__(self, examples: float, special_tokens: Sequence[int]) -> None:
        """examples: share of every batch, below one; rounded down, so one example at least keeps its label."""
        self._examples = examples
        self._special_tokens = torch.tensor(special_tokens)

    def __call__(self, batch: Batch) -> Batch:
        """A batch of the same shape; ``batch`` stays as it is. It must be on the CPU."""
        tokens = batch.inputs["input_ids"]
        chosen = torch.zeros(len(tokens), dtype=torch.bool)
        chosen[torch.randperm(len(tokens))[: int(self._examples * len(tokens))]] = True
        ordinary = ~torch.isin(tokens, self._special_tokens)
        exchanged = ordinary & chosen[:, None] & (torch.rand(tokens.shape) < EXCHANGED_TOKENS)
        pool = tokens[ordinary]
        mixed = tokens.clone()
        if len(pool):
            mixed[exchanged] = pool[torch.randint(len(pool), (int(exchanged.sum()),))]
        return replace(batch, inputs={**batch.inputs, "input_ids": mixed}, labelled=batch.labelled & ~chosen)
