"""How long the sentences of a run's dev set are, in tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import AutoTokenizer

from crossvote.sim.common.files import reading
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.task import task_of_run
from crossvote.swstack.tasks.batches import encode

#: Files of which one at least is there where a tokenizer is.
_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt")


def dev_lengths(run: Path, config: RunConfig) -> NDArray[np.int64] | None:
    """Tokens of every dev example, special ones included, int64[n]; None where the run has no tokenizer yet.

    Raises:
        UserError: the tokenizer is damaged, or the data cannot be read.
    """
    model = run / paths.PRUNED
    found = [name for name in _FILES if (model / name).exists()]
    if not found:
        return None
    for name in found:
        RunDirectory(run).whole(f"{paths.PRUNED}/{name}")
    with reading(model, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    task = task_of_run(run, config)
    return np.asarray(encode(tokenizer, task.dev, task.max_length).lengths, np.int64)
