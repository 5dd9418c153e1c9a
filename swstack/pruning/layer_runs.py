"""Running the layers of a model one by one, on the hidden states of whole batches, and watching what modules get.

The first layer's call is captured from the model's own forward pass; every other layer is called the same way, but for
the hidden states. That holds for models whose layers get the same masks and position biases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from crossvote.swstack.models.layouts import Layer, layers
from crossvote.swstack.tasks.encoded import Batch


class _Reached(Exception):
    """Raised by a hook: the rest of the layer is not needed."""


@dataclass(frozen=True, eq=False)
class LayerModule:
    """One layer of one model: the module, and what follows the two residual sums (nothing: the layer ends there)."""

    model: nn.Module
    layer: Layer
    norms: Mapping[str, nn.Module | None]

    @property
    def module(self) -> nn.Module:
        """The layer itself."""
        return self.model.get_submodule(self.layer.path)

    def matrix(self, role: str) -> str:
        """Name of the only matrix of a group."""
        return self.layer.groups[role].matrices[0]


@dataclass(frozen=True, eq=False)
class LayerCalls:
    """How the first layer is called, batch by batch, and which tokens of it are no padding."""

    arguments: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]
    tokens: Sequence[torch.Tensor]

    def inputs(self) -> list[torch.Tensor]:
        """The hidden states that the first layer gets."""
        return [_hidden(args, kwargs) for args, kwargs in self.arguments]

    def run(self, block: LayerModule, at: int, hidden: torch.Tensor) -> torch.Tensor:
        """The hidden states that a layer makes of ``hidden`` in batch ``at``."""
        args, kwargs = self.arguments[at]
        output = (
            block.module(hidden, *args[1:], **kwargs) if args else block.module(**{**kwargs, "hidden_states": hidden})
        )
        result: torch.Tensor = output[0] if isinstance(output, tuple) else output
        return result


def _hidden(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    """The hidden states among the arguments of a layer."""
    found: torch.Tensor = args[0] if args else kwargs["hidden_states"]
    return found


def tokens_of(batch: Batch, hidden: torch.Tensor) -> torch.Tensor:
    """Which of the tokens of ``hidden`` [batch, length, ...] are no padding, bool[batch, length]."""
    mask = batch.inputs.get("attention_mask")
    return torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device) if mask is None else mask.bool()


def capture(model: PreTrainedModel, batches: Sequence[Batch]) -> LayerCalls:
    """How the first layer is called for each batch."""
    arguments: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        arguments.append((args, kwargs))
        raise _Reached

    tokens = []
    handle = model.get_submodule(layers(model)[0].path).register_forward_pre_hook(keep, with_kwargs=True)
    try:
        for batch in batches:
            with suppress(_Reached):
                model(**batch.inputs)
            tokens.append(tokens_of(batch, _hidden(*arguments[-1])))
    finally:
        handle.remove()
    return LayerCalls(arguments, tokens)


def block_of(model: nn.Module, layer: Layer, calls: LayerCalls, hidden: torch.Tensor) -> LayerModule:
    """The layer with its norms, found by the order in which modules are called."""
    order: list[nn.Module] = []
    block = LayerModule(model, layer, {})
    handles = [m.register_forward_pre_hook(lambda module, args: order.append(module)) for m in block.module.modules()]
    try:
        calls.run(block, 0, hidden)
    finally:
        for handle in handles:
            handle.remove()
    norms: dict[str, nn.Module | None] = {}
    for role in ("o", "ffn2"):
        after = order[order.index(model.get_submodule(block.matrix(role))) + 1 :]
        norms[role] = next((module for module in after if isinstance(module, nn.LayerNorm)), None)
    return LayerModule(model, layer, norms)


@contextmanager
def watched(
    model: nn.Module,
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    before: Sequence[tuple[str, nn.Module | None]] = (),
    stop: str | None = None,
) -> Iterator[dict[str, torch.Tensor]]:
    """What modules get (``inputs``, and under a name of their own ``before``) and give (``outputs``, as 'NAME out').

    stop: name at which the forward pass ends.
    """
    seen: dict[str, torch.Tensor] = {}

    def entering(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            seen[name] = args[0]
            if name == stop:
                raise _Reached

        return hook

    def leaving(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...], torch.Tensor], None]:
        def hook(module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            seen[f"{name} out"] = output

        return hook

    handles = [model.get_submodule(name).register_forward_pre_hook(entering(name)) for name in inputs]
    handles += [model.get_submodule(name).register_forward_hook(leaving(name)) for name in outputs]
    handles += [module.register_forward_pre_hook(entering(name)) for name, module in before if module is not None]
    try:
        yield seen
    except _Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()
