"""What the layers of a traced model are, found by changing what a group delivers and looking where it arrives.

A layer that the whole-chip model knows is a chain: query, key and value share their inputs; attention, which mixes
tokens, leads to the output matrix; then come the two feed-forward matrices. Nothing is taken from names: the outputs of
a group are changed for one token, and the next group that notices says what lies between them. If it notices for that
token alone, each token goes its own way; if for others too, tokens are mixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import torch
from torch import nn

from crossvote.swstack.models.layouts import WordLineGroup, matrix_weight

ROLES = ("qkv", "o", "ffn1", "ffn2")
#: Share of the largest input below which a difference is one of rounding.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class _Arrival:
    """The next group that noticed a change, by its number, and whether tokens other than the changed one did."""

    group: int
    mixed: bool


def named_layers(
    model: nn.Module, groups: Sequence[WordLineGroup], run: Callable[[], object]
) -> tuple[WordLineGroup, ...] | None:
    """The groups as LAYER.qkv, .o, .ffn1 and .ffn2, where the model is a chain of such layers; None if it is not.

    groups: in the order in which ``run``, a forward pass in which a token is a row, drives them.
    """
    if not groups or len(groups) % len(ROLES) or not _sizes_fit(model, groups):
        return None
    usual = _inputs(model, groups, run)
    for number in range(len(groups) - 1):
        # The last of a layer reaches the first of the next.
        found = _arrival(model, groups, run, number, usual)
        if found != _Arrival(number + 1, mixed=number % len(ROLES) == 0):
            return None
    named: list[WordLineGroup] = []
    for first in range(0, len(groups), len(ROLES)):
        layer = groups[first : first + len(ROLES)]
        path = _stem([name for group in layer for name in group.matrices])
        if not path or any(group.name.startswith(f"{path}.") for group in named):
            path = ".".join(filter(None, (path, f"layer{first // len(ROLES)}")))
        named += [replace(group, name=f"{path}.{role}") for group, role in zip(layer, ROLES, strict=True)]
    return tuple(named)


def reads_from_left_to_right(model: nn.Module, groups: Sequence[WordLineGroup], run: Callable[[], object]) -> bool:
    """Whether what the last token delivers reaches no earlier one: of a model with ``named_layers``."""
    found = _arrival(model, groups, run, 0, _inputs(model, groups, run), token=-1)
    return found is not None and not found.mixed


def _sizes_fit(model: nn.Module, groups: Sequence[WordLineGroup]) -> bool:
    sizes = []
    for group in groups:
        shapes = [tuple(matrix_weight(model, name).shape) for name in group.matrices]
        sizes.append((shapes[0][0], sum(outputs for _, outputs in shapes)))
    for first in range(0, len(groups), len(ROLES)):
        qkv, o, ffn1, ffn2 = sizes[first : first + len(ROLES)]
        keys, odd = divmod(qkv[1] - o[0], 2)
        if odd or not 0 < keys <= o[0] or not qkv[0] == o[1] == ffn1[0] == ffn2[1]:
            return False
        if ffn1[1] not in (ffn2[0], 2 * ffn2[0]):
            return False
    return True


def _rows(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().reshape(-1, tensor.shape[-1])


def _inputs(
    model: nn.Module,
    groups: Sequence[WordLineGroup],
    run: Callable[[], object],
    change: Callable[..., Any] | None = None,
    changed: Sequence[str] = (),
) -> list[torch.Tensor | None]:
    """What first drives each group: tokens x inputs. ``change`` is a forward hook of the modules ``changed``."""
    found: list[torch.Tensor | None] = [None] * len(groups)

    def watch(number: int) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
            if found[number] is None:
                found[number] = _rows(args[0]).clone()

        return hook

    hooks = [
        model.get_submodule(group.matrices[0]).register_forward_pre_hook(watch(number))
        for number, group in enumerate(groups)
    ]
    if change is not None:
        hooks += [model.get_submodule(name).register_forward_hook(change) for name in changed]
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            run()
    finally:
        model.train(training)
        for handle in hooks:
            handle.remove()
    return found


def _arrival(
    model: nn.Module,
    groups: Sequence[WordLineGroup],
    run: Callable[[], object],
    number: int,
    usual: Sequence[torch.Tensor | None],
    token: int = 0,
) -> _Arrival | None:
    """Where a change of what group ``number`` delivers for one token arrives first; None: nowhere."""

    def change(_: nn.Module, args: tuple[Any, ...], out: torch.Tensor) -> torch.Tensor:
        other = out.clone()
        row = other.reshape(-1, out.shape[-1])[token]
        row += torch.linspace(-1.0, 1.5, len(row)) * (out.abs().max() + 1.0)
        return other

    found = _inputs(model, groups, run, change, groups[number].matrices)
    for later in range(number + 1, len(groups)):
        before, after = usual[later], found[later]
        if before is None or after is None or before.shape != after.shape:
            return None
        different = ((after - before).abs() > _ROUNDING * before.abs().max()).any(dim=1)
        if different.any():
            different[token] = False
            return _Arrival(later, bool(different.any()))
    return None


def _stem(paths: Sequence[str]) -> str:
    parts = zip(*(path.split(".") for path in paths), strict=False)
    return ".".join(names[0] for names in takewhile(lambda names: len(set(names)) == 1, parts))
