"""A tiny random BERT with its own word list, and a tiny task, so that training takes seconds."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from crossvote.swstack.models.loading import save_model
from crossvote.swstack.tasks import Example, Task

WORDS = ("alpha", "beta", "gamma", "delta", "red", "green", "blue", "not", "and", "the")


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory) -> Path:
    """A saved two-layer BERT of width 32 with two heads."""
    folder = tmp_path_factory.mktemp("tiny")
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS)))
    tokenizer = BertTokenizerFast(vocab=str(vocabulary), do_lower_case=True)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForSequenceClassification(config)
    save_model(model, tokenizer, folder / "model")
    return folder / "model"


@pytest.fixture
def changed(tiny_directory, tmp_path):
    """A copy of the tiny checkpoint with other keys in its configuration and other tensors."""

    def make(config=None, tensors=None) -> Path:
        folder = tmp_path / "model"
        shutil.copytree(tiny_directory, folder)
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **(config or {})}))
        if tensors is not None:
            path = folder / "model.safetensors"
            held = tensors(load_file(path))
            save_file({name: tensor.contiguous() for name, tensor in held.items()}, path, metadata={"format": "pt"})
        return folder

    return make


def _examples(rng: np.random.Generator, count: int) -> tuple[Example, ...]:
    """Label 1 where 'red' occurs, turned round by 'not'."""
    rows = []
    for _ in range(count):
        words = list(rng.choice(WORDS, size=int(rng.integers(3, 9))))
        rows.append(Example(" ".join(words), None, int(("red" in words) != ("not" in words))))
    return tuple(rows)


@pytest.fixture(scope="session")
def tiny_task() -> Task:
    rng = np.random.default_rng(0)
    train, dev = _examples(rng, 96), _examples(rng, 40)
    return Task("tiny", train, dev, ("no", "yes"), ("accuracy", "f1"), "drawn in the test", 16)


@pytest.fixture(scope="session")
def glue_dir() -> Path:
    folder = Path(os.environ.get("CROSSVOTE_GLUE_DIR") or Path(__file__).parents[3] / "shared" / "glue")
    if not folder.is_dir():
        pytest.skip(f"no GLUE data: set CROSSVOTE_GLUE_DIR, or put it at {folder}")
    return folder
