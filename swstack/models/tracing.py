"""Word-line groups of a model whose layers are not known: matrices that are driven by the same tensor share word lines.

Nothing is taken from the names of modules. What is lost against a known layout: constants of pruned columns are not
folded. Where the groups form layers of attention and feed-forward (``crossvote.swstack.models.dataflow``), they are
named as those of a known layout are, and the whole-chip model can simulate them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import takewhile

import torch
from torch import nn

from crossvote.sim.common.errors import UserError
from crossvote.swstack.models.accounting import digital_reason, encoder_of, first_inputs, tiny_inputs, words_beside
from crossvote.swstack.models.dataflow import named_layers, reads_from_left_to_right
from crossvote.swstack.models.layouts import (
    CAUSAL_KEY,
    HEAD,
    HEAD_KEY,
    HEAD_ROLE,
    TRACED,
    WordLineGroup,
    encoder_groups,
    family_name,
    head_count,
    is_matrix,
    matrix_weight,
)

#: What makes one vector of a sequence, for the head.
_POOLER = re.compile(r"(^|\.)pooler(\.|$)")


def trace(model: nn.Module, run: Callable[[], object] | None = None) -> tuple[WordLineGroup, ...]:
    """Find the groups of model in a forward pass and keep them with it, in the order in which they are first driven.

    run: the forward pass; by default one on a few random tokens. Where a model does not say what it takes, every
        matrix becomes a group of its own: nothing is shared, and nothing is wrong.

    Raises:
        UserError: the forward pass fails or the encoder has no matrix.
    """
    prefix, encoder = encoder_of(model)
    head = words_beside(model)
    modules = {
        path: module
        for path, module in encoder.named_modules(prefix=prefix)
        if is_matrix(module) and path != head and digital_reason(path, module) is None
    }
    if not modules:
        first = next(
            (path for path, module in encoder.named_modules(prefix=prefix) if _multiplies(path, module)), prefix
        )
        raise UserError(
            f"model family {family_name(model)!r} cannot be mapped: its encoder has no Linear or Conv1D; the first "
            f"module in the way is {first or type(encoder).__name__}."
        )
    if run is None:
        inputs = tiny_inputs(model)
        if inputs is not None:
            run = _forward(model, inputs)
    shared = [[path] for path in modules] if run is None else _driven(model, modules, run)
    groups = tuple(_group(model, paths) for paths in shared)
    layered = None if run is None else named_layers(model, groups, run)
    config = getattr(model, "config", None)
    if layered is not None and run is not None and config is not None:
        setattr(config, CAUSAL_KEY, reads_from_left_to_right(model, layered, run))
    groups = layered or groups
    setattr(model, TRACED, groups)
    return groups


def map_head(model: nn.Module) -> tuple[WordLineGroup, ...]:
    """Put the head of ``model`` on crossbars, in place: matrices behind the layers that a forward pass drives.

    Those that the same tensor drives share word lines. The model's configuration says whether every token drives them.

    Raises:
        UserError: there is none, or the model does not say what it takes.
    """
    mapped = {name for group in encoder_groups(model) for name in group.matrices}
    prefix, _ = encoder_of(model)
    modules = {
        path: module
        for path, module in model.named_modules()
        if is_matrix(module)
        and path not in mapped
        and (not prefix or not path.startswith(f"{prefix}.") or _POOLER.search(path))
        and (digital_reason(path, module) is None or _POOLER.search(path))
    }
    inputs = tiny_inputs(model)
    first = {} if inputs is None or not modules else _first_calls(model, modules, _forward(model, inputs))
    found = _by_tensor(model, first)
    if not found:
        raise UserError(f"model.head: {family_name(model)!r} has no head whose matrices could be mapped.")
    groups = tuple(WordLineGroup(f"{paths[0]}.{HEAD_ROLE}", tuple(paths), (1,) * len(paths)) for paths in found)
    setattr(model, HEAD, groups)
    config = getattr(model, "config", None)
    if config is not None:
        setattr(config, HEAD_KEY, "token" if any(tensor.dim() > 2 for tensor in first.values()) else "sequence")
    return groups


def _multiplies(path: str, module: nn.Module) -> bool:
    heavy = any(parameter.dim() > 1 for parameter in module.parameters(recurse=False))
    return heavy and digital_reason(path, module) is None


def _forward(model: nn.Module, inputs: dict[str, torch.Tensor]) -> Callable[[], object]:
    return lambda: model(**inputs)


def _driven(model: nn.Module, modules: dict[str, nn.Module], run: Callable[[], object]) -> list[list[str]]:
    """Paths of the modules by the tensor of their first call."""
    return _by_tensor(model, _first_calls(model, modules, run))


def _first_calls(model: nn.Module, modules: dict[str, nn.Module], run: Callable[[], object]) -> dict[str, torch.Tensor]:
    return first_inputs(model, modules, run, "a forward pass to trace it")


def _by_tensor(model: nn.Module, first: dict[str, torch.Tensor]) -> list[list[str]]:
    shared: dict[tuple[object, ...], list[str]] = {}
    for path, tensor in first.items():
        # A view of the same memory in the same shape is the same inputs.
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), matrix_weight(model, path).shape[0])
        shared.setdefault(key, []).append(path)
    return list(shared.values())


def _group(model: nn.Module, paths: list[str]) -> WordLineGroup:
    if len(paths) == 1:
        return WordLineGroup(paths[0], (paths[0],), (1,))
    parts = [path.split(".") for path in paths]
    stem = list(takewhile(lambda names: len(set(names)) == 1, zip(*parts, strict=False)))
    ends = "+".join(".".join(path.split(".")[len(stem) :]).replace(".", "_") for path in paths)
    found = head_count(model)
    heads = found if isinstance(found, int) and found else 1  # a list where they differ from stage to stage
    # Query, key and value come in threes; matrices that share inputs in pairs are gates, which have no heads.
    own = [heads if len(paths) == 3 and matrix_weight(model, path).shape[1] % heads == 0 else 1 for path in paths]
    return WordLineGroup(".".join([*(names[0] for names in stem), ends]), tuple(paths), tuple(own))
