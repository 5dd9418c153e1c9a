"""A transformer small enough to run the whole pipeline in seconds, made without a network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory) -> Path:
    """Directory of a two-layer BERT with random weights whose tokenizer knows the words of grammar-single."""
    from tiny_encoder import tiny_encoder
    from transformers import BertConfig, BertModel

    return tiny_encoder(tmp_path_factory.mktemp("models") / "tiny-bert", BertConfig, BertModel)


@pytest.fixture(scope="session")
def tiny_mpnet(tmp_path_factory) -> Path:
    """The same as an MPNet, whose scores have a relative position bias."""
    from tiny_encoder import tiny_encoder
    from transformers import MPNetConfig, MPNetModel

    return tiny_encoder(tmp_path_factory.mktemp("models") / "tiny-mpnet", MPNetConfig, MPNetModel)
