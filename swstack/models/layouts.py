"""The encoder matrices of a transformer, grouped by the inputs they share, and access to their weights.

A word-line group holds the matrices that are driven by the same word lines (query, key and value of a layer; the
attention output; the first and the second feed-forward matrix). Matrices are named by their module path.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from crossvote.sim.common.errors import UserError


@dataclass(frozen=True)
class WordLineGroup:
    """Matrices that share their inputs.

    name: path of the layer and the role, for example ``bert.encoder.layer.0.qkv``.
    matrices: module paths, in the order in which their outputs are concatenated.
    heads: per matrix, the number of equal column slices (attention heads) of which none may lose its last
        column; 1 for a matrix that is not split into heads.
    """

    name: str
    matrices: tuple[str, ...]
    heads: tuple[int, ...]


# Role -> module paths inside one layer, for the layer layouts of the supported families.
_LAYOUTS: tuple[dict[str, tuple[str, ...]], ...] = (
    {  # BERT, MiniLM, RoBERTa, XLM-RoBERTa, ELECTRA, CamemBERT
        "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
        "o": ("attention.output.dense",),
        "ffn1": ("intermediate.dense",),
        "ffn2": ("output.dense",),
    },
    {  # MPNet; its relative position bias is added to the scores, so it touches none of the matrices
        "qkv": ("attention.attn.q", "attention.attn.k", "attention.attn.v"),
        "o": ("attention.attn.o",),
        "ffn1": ("intermediate.dense",),
        "ffn2": ("output.dense",),
    },
    {  # DistilBERT
        "qkv": ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        "o": ("attention.out_lin",),
        "ffn1": ("ffn.lin1",),
        "ffn2": ("ffn.lin2",),
    },
    {  # GPT-2: one fused matrix holds query, key and value
        "qkv": ("attn.c_attn",),
        "o": ("attn.c_proj",),
        "ffn1": ("mlp.c_fc",),
        "ffn2": ("mlp.c_proj",),
    },
)


def word_line_groups(model: nn.Module) -> tuple[WordLineGroup, ...]:
    """The word-line groups of `model` in execution order.

    Raises UserError if the model has no layer of a known layout.
    """
    modules = dict(model.named_modules())
    groups: list[WordLineGroup] = []
    for path in modules:
        layout = next(
            (
                roles
                for roles in _LAYOUTS
                if all(f"{path}.{name}" in modules for names in roles.values() for name in names)
            ),
            None,
        )
        if layout is None:
            continue
        for role, names in layout.items():
            matrices = tuple(f"{path}.{name}" for name in names)
            heads = _attention_heads(model) * (3 // len(names)) if role == "qkv" else 1
            groups.append(WordLineGroup(f"{path}.{role}", matrices, (heads,) * len(names)))
    if not groups:
        family = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
        raise UserError(
            f"model family {family!r} is not supported: its layers match none of the known layouts "
            "(BERT, RoBERTa, ELECTRA, MPNet, DistilBERT, GPT-2)."
        )
    return tuple(groups)


def _attention_heads(model: nn.Module) -> int:
    return int(model.config.num_attention_heads)  # type: ignore[union-attr,arg-type]


def matrix_names(model: nn.Module) -> tuple[str, ...]:
    """Module paths of all encoder matrices in execution order."""
    return tuple(name for group in word_line_groups(model) for name in group.matrices)


def weight_parameter(model: nn.Module, name: str) -> torch.Tensor:
    """The weight parameter of matrix `name` as torch keeps it: N x K for Linear, K x N for GPT-2's Conv1D."""
    return _matrix_module(model, name).weight


def is_transposed(model: nn.Module, name: str) -> bool:
    """Whether torch keeps matrix `name` as N x K (Linear) instead of the crossbar's K x N (Conv1D)."""
    return isinstance(_matrix_module(model, name), nn.Linear)


def matrix_weight(model: nn.Module, name: str) -> torch.Tensor:
    """Weight of matrix `name` as K inputs x N outputs: a view, so writing in place changes the model.

    Raises UserError if `name` is neither a Linear nor a Conv1D module of the model.
    """
    weight = weight_parameter(model, name).detach()
    return weight.T if is_transposed(model, name) else weight


def matrix_bias(model: nn.Module, name: str) -> torch.Tensor | None:
    """Bias of matrix `name`, shape (N,), as a view; None if the matrix has no bias."""
    bias = _matrix_module(model, name).bias
    return None if bias is None else bias.detach()


def _matrix_module(model: nn.Module, name: str) -> nn.Linear | Conv1D:
    try:
        module = model.get_submodule(name)
    except AttributeError:
        module = None
    if not isinstance(module, nn.Linear | Conv1D):
        raise UserError(f"the model has no matrix named {name!r}: a Linear or Conv1D module path was expected.")
    return module
