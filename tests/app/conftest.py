"""A transformer small enough to run the whole pipeline in seconds, made without a network."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory) -> Path:
    """Directory of a two-layer BERT with random weights whose tokenizer knows the words of grammar-single."""
    from transformers import BertConfig, BertModel

    return _tiny_encoder(tmp_path_factory.mktemp("models") / "tiny-bert", BertConfig, BertModel)


@pytest.fixture(scope="session")
def tiny_mpnet(tmp_path_factory) -> Path:
    """The same as an MPNet, whose scores have a relative position bias."""
    from transformers import MPNetConfig, MPNetModel

    return _tiny_encoder(tmp_path_factory.mktemp("models") / "tiny-mpnet", MPNetConfig, MPNetModel)


def _tiny_encoder(folder: Path, configuration: type, encoder: type) -> Path:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    from crossvote.swstack.tasks import TaskConfig, load_task

    examples = load_task(TaskConfig(name="grammar-single"), 0).train
    words = sorted({word for example in examples for word in example.sentence1.split()})
    vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = configuration(
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
        )
        encoder(config).save_pretrained(folder)
    return folder
