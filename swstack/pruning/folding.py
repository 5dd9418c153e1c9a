"""Exact folding: what a pruned column still adds is a constant, and constants can move to where they cost nothing.

A pruned output column delivers its bias. In evaluation mode, with b the biases and W the K x N weights:

* value: attention weights sum to one, so a pruned value column d always delivers b_V[d]; b_O += b_V[d] W_O[d, :].
* first feed-forward matrix: a pruned column j is the constant act(b_1[j]); b_2 += act(b_1[j]) W_2[j, :].
* key: a pruned key column d adds q_d b_K[d] to all scores of a query alike, which softmax ignores; b_K[d] = 0, and
  the query column d meets only zeros and can be pruned as well.

A pruned query column must keep its bias (b_Q[d] k_d differs from key to key), and so must those of the attention
output and of the second feed-forward matrix. Word lines that carry a folded constant are driven with zero afterwards:
the row is pruned for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from transformers.activations import ACT2FN

from crossvote.swstack.models.layouts import WordLineGroup, matrix_bias, matrix_weight, word_line_groups
from crossvote.swstack.models.masks import Masks, MatrixMask


@dataclass(frozen=True, eq=False)
class _Columns:
    """Views of some columns of one matrix: weight K x n, bias (n,), kept bool[n]; writing changes the model."""

    weight: torch.Tensor
    bias: torch.Tensor
    kept: np.ndarray


def fold(model: nn.Module, masks: Mapping[str, MatrixMask]) -> Masks:
    """Fold the constants of pruned columns in place; returns the masks with the rows and columns gained by it.

    The weights must already be zero where `masks` says pruned. Logits in evaluation mode stay the same up to rounding.
    Every attention head keeps at least one query column. A layer without biases has no constants and stays as it is.
    """
    folded = {name: MatrixMask(mask.rows.copy(), mask.columns.copy()) for name, mask in masks.items()}
    groups = word_line_groups(model)
    for qkv, (output,), (first,), (second,) in zip(
        groups[0::4], *([group.matrices for group in groups[i::4]] for i in (1, 2, 3)), strict=True
    ):
        if any(matrix_bias(model, name) is None for name in (*qkv.matrices, output, first, second)):
            continue
        query, key, value = _split(model, qkv, folded)
        if getattr(model.config, "position_embedding_type", "absolute") == "absolute":
            _drop_queries(query, key, heads=sum(qkv.heads) // 3)
        _fold_constants(model, value, value.bias.clone(), output, folded)
        hidden = _columns(model, first, folded)
        _fold_constants(model, hidden, _activation(model)(hidden.bias), second, folded)
    return folded


def _activation(model: nn.Module) -> nn.Module:
    config = model.config
    name = next(
        getattr(config, key) for key in ("hidden_act", "activation", "activation_function") if hasattr(config, key)
    )
    return ACT2FN[name]


def _columns(model: nn.Module, name: str, masks: Masks, part: slice = slice(None)) -> _Columns:
    bias = matrix_bias(model, name)
    assert bias is not None
    return _Columns(matrix_weight(model, name)[:, part], bias[part], masks[name].columns[part])


def _split(model: nn.Module, group: WordLineGroup, masks: Masks) -> tuple[_Columns, _Columns, _Columns]:
    """Query, key and value columns; GPT-2 keeps the three in one matrix."""
    if len(group.matrices) == 3:
        query, key, value = (_columns(model, name, masks) for name in group.matrices)
        return query, key, value
    name = group.matrices[0]
    width = masks[name].columns.size // 3
    query, key, value = (_columns(model, name, masks, slice(i * width, (i + 1) * width)) for i in range(3))
    return query, key, value


def _drop_queries(query: _Columns, key: _Columns, heads: int) -> None:
    """Prune every query column whose key column is pruned, but the last one of a head."""
    key.bias[torch.from_numpy(~key.kept)] = 0.0
    width = query.kept.size // heads
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        useful = query.kept[part] & key.kept[part]
        if useful.any():
            query.kept[part] = useful
    dropped = torch.from_numpy(~query.kept & ~key.kept)
    query.weight[:, dropped] = 0.0
    query.bias[dropped] = 0.0


def _fold_constants(model: nn.Module, source: _Columns, constants: torch.Tensor, name: str, masks: Masks) -> None:
    """Move the `constants` that pruned columns of `source` deliver into the bias of the matrix `name` they drive."""
    pruned = torch.from_numpy(~source.kept)
    weight, bias = matrix_weight(model, name), matrix_bias(model, name)
    assert bias is not None
    bias += (constants[pruned].double() @ weight[pruned, :].double()).to(bias.dtype)
    weight[pruned, :] = 0.0
    source.bias[pruned] = 0.0
    masks[name].rows[~source.kept] = False
