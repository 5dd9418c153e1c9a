"""How long the sentences of a run's dev set are, in tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import AutoTokenizer

from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.tasks import load_task
from crossvote.swstack.tasks.batches import encode


def dev_lengths(model: Path, config: RunConfig) -> NDArray[np.int64] | None:
    """Tokens of every dev example, special ones included, int64[n]; None where the run has no tokenizer yet."""
    if not any((model / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt")):
        return None
    tokenizer = AutoTokenizer.from_pretrained(model)
    task = load_task(config.task, config.seed)
    return np.asarray(encode(tokenizer, task.dev, task.max_length).lengths, np.int64)
