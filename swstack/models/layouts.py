"""The encoder matrices of a transformer, grouped by the inputs they share, and access to their weights.

A word-line group holds the matrices that are driven by the same word lines (query, key and value of a layer; the
attention output; the first and the second feed-forward matrix). Matrices are named by their module path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from crossvote.sim.common.errors import UserError
from crossvote.swstack.models.families import LAYOUTS, Folding, LayerLayout

#: Attribute of a model whose groups were traced; they cannot be told from module names.
TRACED = "crossvote_traced_groups"
#: Attribute of a model whose head is on crossbars as well: the groups of its matrices.
HEAD = "crossvote_head_groups"
#: Key of its configuration that says what drives them: "token" for every token, "sequence" for one vector of each.
HEAD_KEY = "crossvote_head"
#: Key of the configuration of a traced model that says whether it reads text from left to right.
CAUSAL_KEY = "crossvote_causal"
#: Role of these groups.
HEAD_ROLE = "head"


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

    @property
    def role(self) -> str:
        """Last part of the name: qkv, o, ffn1, ffn2, head, or what tracing called it."""
        return self.name.rsplit(".", 1)[-1]


@dataclass(frozen=True)
class Layer:
    """One layer of a known layout: its module path, its layout, and its groups by role in execution order.

    family: what the model calls itself, which may be a family that merely has the same modules.
    """

    path: str
    layout: LayerLayout
    groups: Mapping[str, WordLineGroup]
    family: str

    @property
    def folding(self) -> tuple[Folding, ...]:
        """Which constants of pruned columns may be folded; none for a family for which nobody has proven it."""
        return self.layout.folding if self.family in self.layout.families else ()

    @property
    def no_folding(self) -> str:
        """Why not all three kinds of constants are folded; empty if they are."""
        if self.family not in self.layout.families:
            return f"nobody has proven that constants fold in {self.family!r}, which has the modules of another family"
        return self.layout.reason


def is_matrix(module: nn.Module | None) -> bool:
    """Whether a module is a matrix product that a crossbar can take over."""
    return isinstance(module, nn.Linear | Conv1D)


def layers(model: nn.Module) -> tuple[Layer, ...]:
    """The layers of known layouts in execution order; empty if there is none, or if the model was traced.

    Where heads differ from stage to stage, as in a pyramid of pictures, no layout is known.
    """
    if traced_groups(model) or isinstance(head_count(model), list | tuple):
        return ()
    modules = dict(model.named_modules())
    family = family_name(model)
    # A family's own layout before another's with modules of the same names, which says nothing about this one.
    found, known = [], sorted(LAYOUTS.values(), key=lambda layout: family not in layout.families)
    for path, module in modules.items():
        layout = _layout_of(path, modules, known)
        if layout is None:
            continue
        groups = {}
        for role, names in layout.roles.items():
            matrices = tuple(_join(path, name) for name in names)
            heads = _heads(model, module, layout, len(names)) if role == "qkv" else (1,) * len(names)
            groups[role] = WordLineGroup(_join(path, role), matrices, heads)
        found.append(Layer(path, layout, groups, family))
    return tuple(found)


def word_line_groups(model: nn.Module) -> tuple[WordLineGroup, ...]:
    """The word-line groups of ``model`` in execution order, those of its head last if that is on crossbars.

    Raises:
        UserError: the model has no layer of a known layout and was not traced.
    """
    return (*encoder_groups(model), *head_groups(model))


def head_groups(model: nn.Module) -> tuple[WordLineGroup, ...]:
    """The groups of a head that is on crossbars (see ``crossvote.swstack.models.tracing.map_head``); never pruned."""
    found: tuple[WordLineGroup, ...] = getattr(model, HEAD, ())
    return found


def encoder_groups(model: nn.Module) -> tuple[WordLineGroup, ...]:
    """The word-line groups of the layers, in execution order.

    Raises:
        UserError: the model has no layer of a known layout and was not traced.
    """
    groups = traced_groups(model) or tuple(group for layer in layers(model) for group in layer.groups.values())
    if not groups:
        known = ", ".join(family for layout in LAYOUTS.values() for family in layout.families)
        raise UserError(
            f"model family {family_name(model)!r} is not supported: its layers match none of the known layouts "
            f"({known}); trace it (model.layout = 'traced')."
        )
    return groups


def traced_groups(model: nn.Module) -> tuple[WordLineGroup, ...]:
    """The groups that tracing found (``crossvote.swstack.models.tracing``), empty for a model that was not traced."""
    found: tuple[WordLineGroup, ...] = getattr(model, TRACED, ())
    return found


def attention_heads(model: nn.Module) -> int:
    """How many heads attend in each layer.

    Raises:
        UserError: a model that does not say.
    """
    found = getattr(getattr(model, "config", None), "num_attention_heads", None)
    if found is None:
        own = (layer.self_attn for layer in model.modules() if isinstance(layer, nn.TransformerEncoderLayer))
        found = next((getattr(attention, "num_heads", None) for attention in own), None)
    if found is None:
        raise UserError(f"{family_name(model)}: its configuration does not say how many attention heads there are.")
    if not isinstance(found, int):
        raise UserError(f"{family_name(model)}: the number of attention heads differs from stage to stage ({found}).")
    return int(found)


def family_name(model: nn.Module) -> str:
    """The model type as its configuration gives it, or the name of the class."""
    config = getattr(model, "config", None)
    if config is None and any(isinstance(module, nn.TransformerEncoderLayer) for module in model.modules()):
        return "torch.nn.TransformerEncoder"
    return str(getattr(config, "model_type", None) or type(model).__name__)


def _layout_of(path: str, modules: Mapping[str, nn.Module], known: Sequence[LayerLayout]) -> LayerLayout | None:
    for layout in known:
        if all(is_matrix(modules.get(_join(path, name))) for names in layout.roles.values() for name in names) and all(
            _join(path, name) in modules for name in layout.digital
        ):
            return layout
    return None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def head_count(model: nn.Module) -> Any:
    """What the configuration says of attention heads: a number, a list over stages, or None."""
    return getattr(getattr(model, "config", None), "num_attention_heads", None)


def _heads(model: nn.Module, layer: nn.Module, layout: LayerLayout, matrices: int) -> tuple[int, ...]:
    """Attention heads in each matrix of query, key and value."""
    config: Any = getattr(model, "config", None)
    if config is None:  # a plain torch model
        queries = int(getattr(getattr(layer, "self_attn", None), "num_heads", 1))
    else:
        queries = int(head_count(model))
    keys = int(getattr(config, "num_key_value_heads", None) or queries)
    if layout.attention == "separate":
        return (queries, *(keys,) * (matrices - 1))
    return (queries + 2 * keys,)


def matrix_names(model: nn.Module) -> tuple[str, ...]:
    """Module paths of all encoder matrices in execution order."""
    return tuple(name for group in word_line_groups(model) for name in group.matrices)


def weight_parameter(model: nn.Module, name: str) -> torch.Tensor:
    """The weight parameter of matrix ``name`` as torch keeps it: N x K for Linear, K x N for GPT-2's Conv1D."""
    return _matrix_module(model, name).weight


def is_transposed(model: nn.Module, name: str) -> bool:
    """Whether torch keeps matrix ``name`` as N x K (Linear) instead of the crossbar's K x N (Conv1D)."""
    return isinstance(_matrix_module(model, name), nn.Linear)


def matrix_weight(model: nn.Module, name: str) -> torch.Tensor:
    """Weight of matrix ``name`` as K inputs x N outputs: a view, so writing in place changes the model.

    Raises:
        UserError: ``name`` is neither a Linear nor a Conv1D module of the model.
    """
    weight = weight_parameter(model, name).detach()
    return weight.T if is_transposed(model, name) else weight


def matrix_bias(model: nn.Module, name: str) -> torch.Tensor | None:
    """Bias of matrix ``name``, shape (N,), as a view; None if the matrix has no bias."""
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
