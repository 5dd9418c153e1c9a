"""Steps of static activations: the largest input that every word-line group meets on some data, padding left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from crossvote.sim.array.image import GroupImage
from crossvote.sim.common.errors import UserError
from crossvote.swstack.mapping.quantization import activation_top
from crossvote.swstack.models.layouts import WordLineGroup

#: Called with a name and the token vectors [V, K] that just went into the module of that name.
Watcher = Callable[[str, torch.Tensor], None]


@contextmanager
def watching(model: nn.Module, modules: Iterable[tuple[str, str]], see: Watcher) -> Iterator[None]:
    """Call ``see`` with every input of some modules of ``model`` while the context lasts, without the padding.

    Args:
        modules: pairs of the name to report and the module's path. Padding is what the ``attention_mask`` that the
            model is called with hides; inputs that are not one vector per token are reported whole.
    """
    mask: list[torch.Tensor | None] = [None]

    def begin(_: nn.Module, __: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        mask[0] = keywords.get("attention_mask")

    def watch(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            x = inputs[0].detach()
            known = mask[0]
            if known is not None and x.shape[:-1] == known.shape:
                see(name, x[known.bool()])
            else:
                see(name, x.reshape(-1, x.shape[-1]))

        return hook

    hooks = [model.register_forward_pre_hook(begin, with_kwargs=True)]
    hooks += [model.get_submodule(path).register_forward_pre_hook(watch(name)) for name, path in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def calibrate(
    model: nn.Module, groups: Iterable[WordLineGroup | GroupImage], input_bits: int, run: Callable[[], object]
) -> dict[str, float]:
    """Steps of ``static`` activations: per group, the largest input magnitude seen while ``run`` uses ``model``.

    Raises:
        UserError: ``run`` did not use a group.
    """
    largest: dict[str, float] = {}

    def see(name: str, x: torch.Tensor) -> None:
        if x.numel():
            largest[name] = max(largest.get(name, 0.0), float(x.abs().max()))

    first = [(group.name, group.matrices[0]) for group in groups]
    modules = [(name, matrix if isinstance(matrix, str) else matrix.name) for name, matrix in first]
    with watching(model, modules, see):
        run()
    unseen = [name for name, _ in modules if name not in largest]
    if unseen:
        raise UserError(f"calibration never used group {unseen[0]}.")
    return {name: value / activation_top(input_bits) or 1.0 for name, value in largest.items()}
