"""What the kinds share that answer a sentence, a pair or a picture with one vector: a class, or a score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from crossvote.swstack.models.heads import HeadKind
from crossvote.swstack.tasks.base import Example
from crossvote.swstack.tasks.encoded import Batch, Encoded
from crossvote.swstack.tasks.kinds import Kind
from crossvote.swstack.tasks.metrics import compute_metrics
from crossvote.swstack.tasks.words import encoded_tokens


class Sentences(Kind):
    """One answer for each sentence or pair."""

    head: ClassVar[HeadKind] = "sequence-classification"
    columns: ClassVar[tuple[str, ...]] = ("sentence1", "label")
    optional: ClassVar[tuple[str, ...]] = ("sentence2",)
    one_answer = True

    def form(self, example: Example) -> str:
        """No batch holds both single sentences and pairs."""
        return "a single sentence" if example.sentence2 is None else "a pair"

    def encode(self, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], longest: int) -> Encoded:
        first = [example.sentence1 for example in examples]
        second = None if examples[0].sentence2 is None else [str(example.sentence2) for example in examples]
        tokens = tokenizer(first, second, truncation=True, max_length=longest, padding=False)
        scores = any(isinstance(example.label, float) for example in examples)
        kind = torch.float32 if scores else torch.int64
        labels = torch.tensor([example.label for example in examples], dtype=kind)
        return encoded_tokens(tokenizer, tokens, labels, examples[0].asks)

    def loss(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross entropy over classes, or the squared error of scores (float labels), over the labelled examples."""
        logits, labels = logits[batch.labelled], batch.labels[batch.labelled]
        if labels.is_floating_point():
            return functional.mse_loss(logits[:, 0], labels)
        return functional.cross_entropy(logits, labels)

    def outcomes(self, logits: torch.Tensor, batch: Batch) -> list[np.ndarray]:
        """The logits themselves."""
        return list(logits.float().cpu().numpy())

    def score(
        self, names: Sequence[str], outcomes: Sequence[np.ndarray], encoded: Encoded, labels: Sequence[str]
    ) -> dict[str, float]:
        assert isinstance(encoded.labels, torch.Tensor)
        return compute_metrics(names, np.stack(outcomes), encoded.labels.numpy(), encoded.labels.is_floating_point())
