"""What every word-line group of a mapped model receives, as the integers that drive its word lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from crossvote.sim.array.image import Image
from crossvote.swstack.inference.calibration import watching
from crossvote.swstack.inference.mapped_linear import MappedLinear
from crossvote.swstack.mapping.quantization import activation_scale, quantize_activations


def captured_inputs(
    model: PreTrainedModel, image: Image, batches: Iterable[Mapping[str, torch.Tensor]], tokens: int
) -> dict[str, NDArray[np.int64]]:
    """Quantized inputs of every word-line group for the first ``tokens`` token vectors (no padding), int64[V, K].

    Args:
        model: runs on the chip (``crossvote.swstack.inference.convert``).
        batches: its inputs; an attention mask says what is padding.
    """
    layers = {group.name: _mapped(model, group.matrices[0].name) for group in image.groups}
    caught: dict[str, list[torch.Tensor]] = {name: [] for name in layers}
    modules = [(group.name, group.matrices[0].name) for group in image.groups]
    shared: dict[str, torch.Tensor | None] = {}

    def share(name: str, layer: MappedLinear, whole: torch.Tensor) -> None:
        shared[name] = layer.tensor_step(_driven(layer, whole.reshape(-1, layer.in_features)))

    def see(name: str, x: torch.Tensor) -> None:
        caught[name].append(_quantized(layers[name], x, shared[name]))

    with ExitStack() as hooks, torch.inference_mode():
        for name, layer in layers.items():
            before = partial(share, name, layer)
            hook = layer.register_forward_pre_hook(lambda _, inputs, before=before: before(inputs[0]))
            hooks.callback(hook.remove)
        hooks.enter_context(watching(model, modules, see))
        for batch in batches:
            model(**batch)
            if all(sum(len(part) for part in parts) >= tokens for parts in caught.values()):
                break
    return {name: torch.cat(parts)[:tokens].numpy().astype(np.int64) for name, parts in caught.items()}


def _mapped(model: PreTrainedModel, name: str) -> MappedLinear:
    layer = model.get_submodule(name)
    assert isinstance(layer, MappedLinear)
    return layer


def _driven(layer: MappedLinear, x: torch.Tensor) -> torch.Tensor:
    """The inputs as the word lines get them: nothing on those that are not driven."""
    return x.float() if layer.undriven is None else x.float().masked_fill(layer.undriven, 0.0)


def _quantized(layer: MappedLinear, x: torch.Tensor, shared: torch.Tensor | None) -> torch.Tensor:
    """As ``MappedLinear`` quantizes; float activations, which no crossbar takes, are quantized per token.

    shared: the step of the whole batch, padding and all, where it has one.
    """
    x = _driven(layer, x)
    step = activation_scale(x, layer.input_bits, "token") if shared is None else shared
    return quantize_activations(x, step, layer.input_bits)
