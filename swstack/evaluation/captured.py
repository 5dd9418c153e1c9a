"""What every word-line group of a mapped model receives, as the integers that drive its word lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
    layers = {group.name: model.get_submodule(group.matrices[0].name) for group in image.groups}
    caught: dict[str, list[torch.Tensor]] = {name: [] for name in layers}
    modules = [(group.name, group.matrices[0].name) for group in image.groups]
    with watching(model, modules, lambda name, x: caught[name].append(x)), torch.inference_mode():
        for batch in batches:
            model(**batch)
            if all(sum(len(part) for part in parts) >= tokens for parts in caught.values()):
                break
    return {name: _quantized(layers[name], torch.cat(parts)[:tokens]) for name, parts in caught.items()}


def _quantized(layer: torch.nn.Module, x: torch.Tensor) -> NDArray[np.int64]:
    """As ``MappedLinear`` quantizes; float activations, which no crossbar takes, are quantized per token."""
    assert isinstance(layer, MappedLinear)
    x = x.float()
    if layer.undriven is not None:
        x = x.masked_fill(layer.undriven, 0.0)
    if layer.input_step is not None:
        step = torch.tensor(layer.input_step)
    else:
        step = activation_scale(x, layer.input_bits, "tensor" if layer.activations == "tensor" else "token")
    return quantize_activations(x, step, layer.input_bits).numpy().astype(np.int64)
