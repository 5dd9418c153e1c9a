"""Quantized word-line groups, placed images and tiny models to test the compiler and the fast evaluation with."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    MPNetConfig,
    MPNetForSequenceClassification,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from crossvote.sim.array.column_map import ColumnMap, Vote
from crossvote.sim.array.image import GroupImage, Image, MatrixImage
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.mapping.programming import QuantizedGroup, place_group, program
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.mapping.schemes.replicas import Replicas
from crossvote.swstack.models.layouts import word_line_groups
from crossvote.swstack.models.masks import MatrixMask, dense_masks

SCHEMES: dict[str, Replicas] = {
    **{
        name: scheme
        for name in ("none", "none-column", "paper", "best")
        if isinstance(scheme := PRESETS[name], Replicas)
    },
    "two planes, output": Replicas(flip="all", replicas={"msb": 3, "msb-1": 5}, vote="output", scale="column"),
    "two planes, crossbar": Replicas(flip="msb", replicas={"msb": 5, "0": 3}, vote="crossbar", placement="packed"),
    "alone": Replicas(flip="msb", replicas={"msb": 3, "msb-1": 5}, vote="alone", scale="column"),
    "unflipped": Replicas(replicas={"msb": 3}, vote="output", scale="column", placement="packed"),
}


def quantized(
    rng: np.random.Generator, inputs: int = 40, outputs: int = 13, planes: int = 7, pruned: float = 0.3
) -> QuantizedGroup:
    """Random integers of two matrices (one if there is a single output), with pruned rows and columns."""
    top = 2**planes - 1
    kept_inputs, kept_outputs = rng.random(inputs) >= pruned / 2, rng.random(outputs) >= pruned
    q = rng.integers(-top, top + 1, (inputs, outputs)).astype(np.int32)
    q[:, ~kept_outputs] = 0
    q[~kept_inputs] = 0
    first = outputs // 2
    sizes = [(0, first), (first, outputs - first)] if first else [(0, outputs)]
    matrices = tuple(
        MatrixImage(f"m{i}", start, size, np.ones(1, np.float32), None) for i, (start, size) in enumerate(sizes)
    )
    return QuantizedGroup("g", q, matrices, kept_inputs, kept_outputs)


def placed(
    rng: np.random.Generator,
    protection: Replicas,
    planes: int = 7,
    first_pair: int = 0,
    cell_bits: int = 1,
    **sizes: int | float,
) -> tuple[QuantizedGroup, GroupImage]:
    """A random group on crossbars of 16 x 24 cells."""
    group = quantized(rng, planes=planes, **sizes)  # type: ignore[arg-type]
    return group, place_group(
        group, protection, planes, rows=16, columns=24, first_pair=first_pair, cell_bits=cell_bits
    )


#: Codes: per plane the (shift, replicas) of its terms; planes that are not named are left out.
CODES: dict[str, dict[int, list[tuple[int, int]]]] = {
    "mean5": {6: [(4, 1)] * 4, 5: [(4, 1), (3, 1), (3, 1)], 4: [(4, 1)], 3: [(3, 1)], 2: [(2, 1)]},
    "vote5": {6: [(6, 3)], 5: [(5, 3)], 4: [(3, 1)] * 2, 3: [(3, 1)], 2: [(2, 1)]},
    "mixed": {6: [(5, 3), (5, 1)], 5: [(4, 3), (4, 3)], 1: [(0, 5), (0, 1)]},
}


def coded(
    rng: np.random.Generator,
    code: dict[int, list[tuple[int, int]]],
    vote: Vote = "crossbar",
    flipped: tuple[int, ...] = (),
    **sizes: int | float,
) -> tuple[QuantizedGroup, GroupImage]:
    """A random group whose outputs have the terms of a code, on scattered bit lines of crossbars of 16 x 24 cells."""
    group = quantized(rng, **sizes)  # type: ignore[arg-type]
    q = np.sign(group.q) * (np.abs(group.q) & sum(1 << plane for plane in code))
    entries = [
        (output, plane, shift, [s for s, _ in terms[:i]].count(shift), replica, plane in flipped)
        for output in np.flatnonzero(group.kept_outputs)
        for plane, terms in code.items()
        for i, (shift, replicas) in enumerate(terms)
        for replica in range(replicas)
    ]
    lines = max(1, -(-(len(entries) + 2) // 24)) * 24
    table = np.zeros((6, lines), np.int64)
    table[0] = -1
    if entries:
        table[:, rng.permutation(lines)[: len(entries)]] = np.array(entries).T
    output, plane, shift, copy, replica, flips = table
    column_map = ColumnMap(
        output.astype(np.int32),
        plane.astype(np.int8),
        replica.astype(np.int8),
        flips.astype(np.bool_),
        shift.astype(np.int8),
        copy.astype(np.int8),
    )
    return dataclasses.replace(group, q=q), GroupImage(
        name="g",
        inputs=len(q),
        planes=7,
        rows=16,
        columns=24,
        matrices=group.matrices,
        column_map=column_map,
        cells=program(q, column_map, 16),
        kept_inputs=group.kept_inputs,
        vote=vote,
        first_pair=1,
    )


def driven_inputs(rng: np.random.Generator, group: GroupImage, vectors: int = 7) -> NDArray[np.int64]:
    """Full-scale 8-bit inputs [V, K], among them the extremes."""
    x = rng.integers(-128, 128, (vectors, group.inputs))
    x[0], x[-1] = -128, 127
    return np.where(group.kept_inputs, x, 0)


def tiny_model(family: str = "bert") -> PreTrainedModel:
    """A two-layer sequence classifier with random weights, in evaluation mode."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    vocabulary = {"vocab_size": 50, "max_position_embeddings": 40}
    models = {
        "bert": lambda: BertForSequenceClassification(BertConfig(**sizes, **vocabulary)),
        "roberta": lambda: RobertaForSequenceClassification(RobertaConfig(**sizes, **vocabulary)),
        "electra": lambda: ElectraForSequenceClassification(ElectraConfig(embedding_size=16, **sizes, **vocabulary)),
        "mpnet": lambda: MPNetForSequenceClassification(MPNetConfig(**sizes, **vocabulary)),
        "distilbert": lambda: DistilBertForSequenceClassification(
            DistilBertConfig(dim=32, hidden_dim=48, n_layers=2, n_heads=2, **vocabulary)
        ),
        "gpt2": lambda: GPT2ForSequenceClassification(
            GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=50, n_positions=40, pad_token_id=0)
        ),
    }
    return models[family]().eval()


def random_masks(model: PreTrainedModel, seed: int = 0, pruned: float = 0.35) -> dict[str, MatrixMask]:
    rng = np.random.default_rng(seed)
    return {
        name: MatrixMask(rng.random(mask.rows.size) >= 0.1, rng.random(mask.columns.size) >= pruned)
        for name, mask in dense_masks(model).items()
    }


def tiny_image(model: PreTrainedModel, scheme: str = "best", masks: dict[str, MatrixMask] | None = None) -> Image:
    groups = word_line_groups(model)
    return build_image(model, groups, masks, SCHEMES[scheme], rows=16, columns=32, name=scheme)


def tokens(examples: int = 3, length: int = 9) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 50, (examples, length), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
