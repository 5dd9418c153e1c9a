"""Exact folding: what a pruned column still adds is a constant, and constants can move to where they cost nothing.

A pruned output column delivers its bias. In evaluation mode, with b the biases and W the K x N weights:

* value: attention weights sum to one, so a pruned value column d always delivers b_V[d]; b_O += b_V[d] W_O[d, :].
* feed-forward: a pruned column j of the first matrix is the constant act(b_1[j]); b_2 += act(b_1[j]) W_2[j, :].
* query: a pruned key column d adds q_d b_K[d] to all scores of a query alike, which softmax ignores; b_K[d] = 0, and
  the query column d meets only zeros and can be pruned as well.

A pruned query column must keep its bias (b_Q[d] k_d differs from key to key), and so must those of the attention
output and of the second feed-forward matrix. Word lines that carry a folded constant are driven with zero afterwards:
the row is pruned for nothing.

Which of the three holds depends on the family: its layout says so (``crossvote.swstack.models.families``), and a test
proves it for each by comparing logits in double precision. A family that is not named there folds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import nn
from transformers.activations import ACT2FN

from crossvote.swstack.models.families import Attention
from crossvote.swstack.models.layouts import Layer, WordLineGroup, layers, matrix_bias, matrix_weight
from crossvote.swstack.models.masks import Masks, MatrixMask

Activation = Callable[[torch.Tensor], torch.Tensor]
#: What families call the activation of their feed-forward part.
_ACTIVATIONS = ("hidden_act", "activation", "activation_function", "ff_activation")


@dataclass(frozen=True, eq=False)
class _Columns:
    """Some columns of one matrix, in the order of attention heads.

    weight: K x N and bias (N,), views of the whole matrix; kept: bool[N], its mask. at: int64[n], which columns.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    kept: np.ndarray
    at: np.ndarray

    @property
    def pruned(self) -> np.ndarray:
        """bool[n]: which of the columns are pruned."""
        pruned: np.ndarray = ~self.kept[self.at]
        return pruned


def fold(model: nn.Module, masks: Mapping[str, MatrixMask]) -> Masks:
    """Fold the constants of pruned columns in place; returns the masks with the rows and columns gained by it.

    The weights must already be zero where ``masks`` says pruned. Logits in evaluation mode stay the same up to
    rounding. Every attention head keeps at least one query column. A layer without biases has no constants and stays as
    it is, and so does one whose layout was not proven to fold.
    """
    folded = {name: MatrixMask(mask.rows.copy(), mask.columns.copy()) for name, mask in masks.items()}
    for layer in layers(model):
        _fold_layer(model, layer, folded)
    return folded


def _fold_layer(model: nn.Module, layer: Layer, masks: Masks) -> None:
    folding, groups = layer.folding, layer.groups
    biased = {
        role: all(matrix_bias(model, name) is not None for name in group.matrices) for role, group in groups.items()
    }
    if {"query", "value"} & set(folding) and biased["qkv"]:
        query, key, value = _split(model, groups["qkv"], layer.layout.attention, masks)
        if "query" in folding and plain_scores(model):
            _drop_queries(query, key, _query_heads(groups["qkv"]))
        if "value" in folding and biased["o"]:
            _fold_constants(model, value, value.bias.clone(), groups["o"].matrices[0], masks)
    if "feed-forward" in folding and biased["ffn1"] and biased["ffn2"]:
        hidden = _whole(model, groups["ffn1"].matrices[0], masks)
        constants = _activation(model, layer)(hidden.bias)
        _fold_constants(model, hidden, constants, groups["ffn2"].matrices[0], masks)


def plain_scores(model: nn.Module) -> bool:
    """Whether scores have no part in which queries or keys meet embeddings of positions."""
    return str(getattr(getattr(model, "config", None), "position_embedding_type", "absolute")) == "absolute"


def _query_heads(group: WordLineGroup) -> int:
    return group.heads[0] if len(group.matrices) == 3 else group.heads[0] // 3


def _activation(model: nn.Module, layer: Layer) -> Activation:
    own = getattr(model.get_submodule(layer.path) if layer.path else model, "activation", None)
    config = getattr(model, "config", None)
    if config is None:
        return cast(Activation, own)
    name = next(getattr(config, key) for key in _ACTIVATIONS if hasattr(config, key))
    return cast(Activation, ACT2FN[name])


def _whole(model: nn.Module, name: str, masks: Masks) -> _Columns:
    bias, kept = matrix_bias(model, name), masks[name].columns
    assert bias is not None
    return _Columns(matrix_weight(model, name), bias, kept, np.arange(kept.size))


def _split(
    model: nn.Module, group: WordLineGroup, attention: Attention, masks: Masks
) -> tuple[_Columns, _Columns, _Columns]:
    """Query, key and value columns, head after head; some families keep the three in one matrix."""
    if attention == "separate":
        query, key, value = (_whole(model, name, masks) for name in group.matrices)
        return query, key, value
    whole = _whole(model, group.matrices[0], masks)
    third = whole.at.size // 3
    if attention == "fused":
        query, key, value = (
            _Columns(whole.weight, whole.bias, whole.kept, part) for part in whole.at.reshape(3, third)
        )
    else:
        by_head = whole.at.reshape(_query_heads(group), 3, -1)
        query, key, value = (_Columns(whole.weight, whole.bias, whole.kept, by_head[:, i].ravel()) for i in range(3))
    return query, key, value


def _drop_queries(query: _Columns, key: _Columns, heads: int) -> None:
    """Prune every query column whose key column is pruned, but the last one of a head."""
    key.bias[torch.from_numpy(key.at[key.pruned])] = 0.0
    for own, other in zip(query.at.reshape(heads, -1), key.at.reshape(heads, -1), strict=True):
        useful = query.kept[own] & key.kept[other]
        if useful.any():
            query.kept[own] = useful
    dropped = torch.from_numpy(query.at[query.pruned & key.pruned])
    query.weight[:, dropped] = 0.0
    query.bias[dropped] = 0.0


def _fold_constants(model: nn.Module, source: _Columns, constants: torch.Tensor, name: str, masks: Masks) -> None:
    """Move the ``constants`` (of all N columns) that pruned ones of ``source`` deliver into the bias of ``name``."""
    rows, columns = torch.from_numpy(np.flatnonzero(source.pruned)), torch.from_numpy(source.at[source.pruned])
    weight, bias = matrix_weight(model, name), matrix_bias(model, name)
    assert bias is not None
    bias += (constants[columns].double() @ weight[rows, :].double()).to(bias.dtype)
    weight[rows, :] = 0.0
    source.bias[columns] = 0.0
    masks[name].rows[rows.numpy()] = False
