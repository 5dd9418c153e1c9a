"""The exact path on each kind of matrix that models have, against the module it takes the place of.

    python -m benchmarks.layer_types [--vectors 1024] [--repeats 5] [--output DIR]

Real modules of one-layer models of the width of BERT-base, with random weights (Gaussian, one outlier), 30 % of the
columns of the layers pruned, 0.05 % of the cells stuck. CPU times of one thread in turns with the baseline; a row is
printed when it is done.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from benchmarks.fault_evaluation import PRUNED, chip, weights
from benchmarks.measure import Result, compare, table, write
from crossvote.swstack.inference.convert import convert, swap_faults
from crossvote.swstack.inference.embedding_faults import FaultyEmbedding
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.models.layouts import head_groups, matrix_names, matrix_weight, word_line_groups
from crossvote.swstack.models.loading import find_groups
from crossvote.swstack.models.masks import MatrixMask, dense_masks

SCHEMES = ("none", "paper")
RATE, GOAL, WORDS = 0.0005, 0.6, 8192
_WIDTH: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 1,
    "vocab_size": WORDS,
}


@dataclass(frozen=True)
class Kind:
    """A model, and which of its matrices are timed: module path and what it is called in the table."""

    make: Callable[[], nn.Module]
    matrices: tuple[tuple[str, str], ...]


def _bert() -> nn.Module:
    return BertForSequenceClassification(BertConfig(**_WIDTH))


def _gpt2() -> nn.Module:
    return GPT2LMHeadModel(GPT2Config(n_embd=768, n_head=12, n_layer=1, vocab_size=WORDS))


def _albert() -> nn.Module:
    return AlbertForSequenceClassification(AlbertConfig(**{**_WIDTH, "num_hidden_layers": 12}))


def _neox() -> nn.Module:
    return GPTNeoXForCausalLM(GPTNeoXConfig(**_WIDTH))


def _llama() -> nn.Module:
    return LlamaForCausalLM(LlamaConfig(**{**_WIDTH, "intermediate_size": 2048}))


_BERT, _SHARED = "bert.encoder.layer.0.", "albert.encoder.albert_layer_groups.0.albert_layers.0."
KINDS = (
    Kind(
        _bert,
        (
            (_BERT + "attention.output.dense", "nn.Linear, attention output"),
            (_BERT + "intermediate.dense", "nn.Linear, feed-forward, up"),
            (_BERT + "output.dense", "nn.Linear, feed-forward, down"),
            ("bert.pooler.dense", "head, pooler (not pruned)"),
            ("classifier", "head, two labels (not pruned)"),
        ),
    ),
    Kind(
        _gpt2,
        (
            ("transformer.h.0.attn.c_attn", "Conv1D, fused QKV"),
            ("transformer.h.0.mlp.c_fc", "Conv1D, feed-forward, up"),
            ("lm_head", f"head, {WORDS:,} words (not pruned)"),
        ),
    ),
    Kind(_neox, (("gpt_neox.layers.0.attention.query_key_value", "nn.Linear, fused QKV of GPT-NeoX"),)),
    Kind(
        _llama,
        (
            ("model.layers.0.mlp.gate_proj", "gated feed-forward, gate"),
            ("model.layers.0.mlp.up_proj", "gated feed-forward, up"),
            ("model.layers.0.mlp.down_proj", "gated feed-forward, down"),
        ),
    ),
    Kind(_albert, ((_SHARED + "ffn", "ALBERT's shared feed-forward, up"),)),
)


def kinds(vectors: int, repeats: int) -> list[Result]:
    """One row per matrix and scheme, and one for the table of token embeddings, which is no matrix."""
    results: list[Result] = []

    def add(result: Result) -> None:
        results.append(result)
        print(table([result]).splitlines()[-1], flush=True)

    for kind in KINDS:
        torch.manual_seed(0)
        model = kind.make().eval()
        find_groups(model, head=True)
        behind = {name for group in head_groups(model) for name in group.matrices}
        rng, masks = np.random.default_rng(0), dense_masks(model)
        with torch.no_grad():
            for name in matrix_names(model):
                weight = matrix_weight(model, name)
                weight.copy_(torch.from_numpy(weights(*weight.shape)))
                if name not in behind:
                    masks[name] = MatrixMask(masks[name].rows, rng.random(len(masks[name].columns)) >= PRUNED)
        for scheme in SCHEMES:
            image = build_image(model, word_line_groups(model), masks, PRESETS[scheme], name=scheme)
            converted = convert(model, image)
            swap_faults(converted, chip(image, RATE))
            for path, called in kind.matrices:
                plain, own = model.get_submodule(path), converted.get_submodule(path)
                x = torch.randn(vectors, own.in_features, generator=torch.Generator().manual_seed(0))  # type: ignore[call-overload]
                name = f"{called}, {own.in_features}x{own.out_features}, {scheme}"
                found = compare(name, partial(own, x), type(plain).__name__, partial(plain, x), repeats)
                add(replace(found, goal=GOAL))
    model = _bert().eval()
    ids = torch.randint(0, WORDS, (vectors,), generator=torch.Generator().manual_seed(0))
    faulty = FaultyEmbedding(_bert().eval(), 0, 128, 128)
    plain = model.get_input_embeddings()  # type: ignore[operator]
    name = f"token embeddings, {WORDS}x768, a look-up"
    add(compare(name, partial(faulty.table, ids), "nn.Embedding", partial(plain, ids), 5 * repeats))
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vectors", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results = kinds(options.vectors, options.repeats)
    judged = [result.met for result in results if result.met is not None]
    remark = f"p = 0.05 %, {options.vectors} vectors, fp32 baseline; {sum(judged)} of {len(judged)} goals met.\n\n"
    write(options.output, "layer_types", results, {}, remark)


if __name__ == "__main__":
    main()
