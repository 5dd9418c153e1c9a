"""An encoder of two layers with random weights whose tokenizer knows the words of an embedded task: runs in seconds.

    python examples/tiny_encoder.py tiny-bert

writes it in `save_pretrained` layout, so that `model.source = "./tiny-bert"` names it. It has learned nothing: good for
trying commands and for tests, not for results.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from crossvote.swstack.tasks import TaskConfig, load_task


def tiny_encoder(
    folder: Path,
    configuration: type[PretrainedConfig] = BertConfig,
    encoder: type[PreTrainedModel] = BertModel,
    task: str = "grammar-single",
    layers: int = 2,
) -> Path:
    """Write the encoder into ``folder``, equal for equal arguments, and return the folder."""
    examples = load_task(TaskConfig(name=task), 0).train
    words = sorted({word for example in examples for word in example.sentence1.split()})  # type: ignore[union-attr]
    vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 2, "intermediate_size": 64}
        encoder(configuration(vocab_size=len(vocabulary), max_position_embeddings=64, **sizes)).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    print(tiny_encoder(Path(sys.argv[1] if len(sys.argv) > 1 else "tiny-bert")))
