"""Models whose words are in a file of SentencePiece, as ALBERT, XLNet, DeBERTa-v2 and their kin are published."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedModel,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    XLNetConfig,
    XLNetForSequenceClassification,
)

from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.loading import load_model, save_model
from crossvote.swstack.tasks import Example, Task
from crossvote.swstack.training.predict import evaluate

spm = pytest.importorskip("sentencepiece")
pytest.importorskip("google.protobuf")

SIZES: dict[str, Any] = {
    "vocab_size": 80,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 40,
}
XLNET = {"vocab_size": 80, "d_model": 32, "n_layer": 1, "n_head": 2, "d_inner": 64}
MARKS = ["<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"]

#: Family -> its model, the name of its file of words, and how those were trained.
FAMILIES: dict[str, tuple[Callable[[], PreTrainedModel], str, dict[str, Any]]] = {
    "albert": (
        lambda: AlbertForSequenceClassification(AlbertConfig(**SIZES, embedding_size=16)),
        "spiece.model",
        {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": ["[CLS]", "[SEP]"]},
    ),
    "xlnet": (
        lambda: XLNetForSequenceClassification(XLNetConfig(**XLNET)),
        "spiece.model",
        {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1, "control_symbols": MARKS},
    ),
    "deberta-v2": (
        lambda: DebertaV2ForSequenceClassification(DebertaV2Config(**SIZES)),
        "spm.model",
        {
            **{"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3, "pad_piece": "[PAD]"},
            **{"bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"},
        },
    ),
    "xlm-roberta": (
        lambda: XLMRobertaForSequenceClassification(XLMRobertaConfig(**SIZES)),
        "sentencepiece.bpe.model",
        {"unk_id": 0, "bos_id": 1, "eos_id": 2},
    ),
    "llama": (
        lambda: LlamaForSequenceClassification(LlamaConfig(**SIZES)),
        "tokenizer.model",
        {"unk_id": 0, "bos_id": 1, "eos_id": 2, "model_type": "bpe"},
    ),
}


def sentences(task: Task) -> list[str]:
    return [example.sentence1 for example in task.train if isinstance(example, Example)]


def make(folder: Path, family: str, task: Task) -> Any:
    """A checkpoint as it is published, without ``tokenizer.json``; returns SentencePiece's own reader of its words."""
    build, name, settings = FAMILIES[family]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        build().save_pretrained(folder)
    words = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences(task)),
        model_writer=words,
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
        **settings,
    )
    (folder / name).write_bytes(words.getvalue())
    if family == "llama":
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
    return spm.SentencePieceProcessor(model_file=str(folder / name))


@pytest.mark.parametrize("family", FAMILIES)
def test_words_are_cut_as_sentencepiece_cuts_them(family: str, tiny_task: Task, tmp_path: Path) -> None:
    """And a saved model has them without it."""
    reader = make(tmp_path / "model", family, tiny_task)
    model, tokenizer = load_model(ModelConfig(source=str(tmp_path / "model")), 2, False, seed=0)
    special = set(tokenizer.all_special_tokens)
    for text in sentences(tiny_task)[:5]:
        tokens = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
        assert [token for token in tokens if token not in special] == reader.encode(text, out_type=str)
    scores = evaluate(model, tokenizer, tiny_task)
    save_model(model, tokenizer, tmp_path / "saved")
    assert not list((tmp_path / "saved").glob("*.model"))
    again = load_model(ModelConfig(source=str(tmp_path / "saved")), 2, False, seed=0)
    assert evaluate(*again, tiny_task) == scores


def test_words_without_a_class_that_reads_them_are_said(
    tiny_task: Task, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path / "model", "llama", tiny_task)
    (tmp_path / "model" / "tokenizer_config.json").unlink()
    with caplog.at_level(logging.WARNING):
        load_model(ModelConfig(source=str(tmp_path / "model")), 2, False, seed=0)
    assert "no 'tokenizer_class' says how the words of tokenizer.model are read" in caplog.text
