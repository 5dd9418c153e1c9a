"""Put a model on a chip: every mapped matrix becomes a ``CrossbarLinear``, and chips can be swapped underneath."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sim.errors import UserError
from sim.faults import FaultMap
from sim.image import Image
from swstack.crossbar_linear import CrossbarLinear, PlacedGroup
from swstack.quantization import Activations

ModelT = TypeVar("ModelT", bound=nn.Module)

_ATTRIBUTE = "crossvote_placement"


@dataclass(eq=False)
class ProgrammedGroup:
    """A word-line group under a model, with what the present chip changed in its integers."""

    placed: PlacedGroup
    layers: tuple[CrossbarLinear, ...]
    changed: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    original: NDArray[Any] = field(default_factory=lambda: np.zeros(0, np.int8))

    def program(self, faults: FaultMap | None) -> None:
        """Restore the programmed integers, then apply a chip's faults; O(faults)."""
        self._write(self.changed, self.original)
        self.changed = self.changed[:0]
        errors = self.placed.errors(faults)
        changed, change = self.placed.weight_changes(errors)
        original = self.placed.weight.ravel()[changed]
        self._write(changed, (original + change).astype(original.dtype))
        self.changed, self.original = changed, original
        for layer in self.layers:
            made = self.placed.corrections(errors, layer.first_output, layer.out_features)
            layer.corrections = nn.ModuleList(made).to(layer.weight.device)

    def _write(self, index: NDArray[np.int64], values: NDArray[Any]) -> None:
        self.placed.weight.ravel()[index] = values
        for layer in self.layers:
            if layer.weight.device.type == "cpu":
                continue  # a view of placed.weight
            first = layer.first_output * layer.in_features
            low, high = np.searchsorted(index, [first, first + layer.weight.numel()])
            at = torch.from_numpy(index[low:high] - first).to(layer.weight.device)
            layer.weight.view(-1)[at] = torch.from_numpy(values[low:high]).to(layer.weight.device)


def convert(
    model: ModelT,
    image: Image,
    activations: Activations = "token",
    input_steps: Mapping[str, float] | None = None,
) -> ModelT:
    """A copy of ``model`` whose matrices run on the (fault-free) crossbars of ``image``.

    All parameters that are not mapped (embeddings, LayerNorm, head) are shared with ``model``, not copied. The copy is
    in evaluation mode and on the CPU or device of ``model``.

    Args:
        activations: how inputs are quantized. input_steps: per group name, the step of ``static`` activations.

    Raises:
        UserError: the image is not of this model, or its ADCs can clip.
    """
    _check_lossless(image)
    modules = dict(model.named_modules())
    memo: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    groups = []
    for group in image.groups:
        placed = PlacedGroup(group)
        layers = []
        for matrix in group.matrices:
            module = modules.get(matrix.name)
            weight = getattr(module, "weight", None)
            if module is None or weight is None:
                raise UserError(f"the image holds matrix {matrix.name}, which the model does not have.")
            if sorted(weight.shape) != sorted((group.inputs, matrix.outputs)):
                raise UserError(
                    f"matrix {matrix.name} is {group.inputs} x {matrix.outputs} in the image, "
                    f"{tuple(weight.shape)} in the model."
                )
            step = None if input_steps is None else input_steps.get(group.name)
            layer = CrossbarLinear(placed, matrix, image.input_bits, activations, step).to(weight.device)
            memo[id(module)] = layer
            layers.append(layer)
        groups.append(ProgrammedGroup(placed, tuple(layers)))
    converted = copy.deepcopy(model, memo).eval()
    setattr(converted, _ATTRIBUTE, tuple(groups))
    return converted


def swap_faults(model: nn.Module, faults: FaultMap | None) -> None:
    """Put another chip under a converted model, in place; None is a perfect chip. O(number of faults).

    Raises:
        UserError: the model was not converted, or the fault map is for another chip (the model then keeps its old one).
    """
    groups = cast(tuple[ProgrammedGroup, ...] | None, getattr(model, _ATTRIBUTE, None))
    if groups is None:
        raise UserError("the model is not on crossbars yet; convert it first.")
    if faults is not None:
        for group in groups:
            placed = group.placed
            faults.check_fits(placed.rows, placed.columns, 2 * (placed.first_pair + placed.pairs))
    for group in groups:
        group.program(faults)


def _check_lossless(image: Image) -> None:
    """Refuse an image whose bit-line sums can exceed the ADC's codes.

    Raises:
        UserError: they can.
    """
    for group in image.groups:
        driven = min(group.rows, int(group.kept_inputs.sum()))
        if driven > (1 << image.adc_bits) - 1:
            raise UserError(f"group {group.name}: {driven} driven word lines can clip an ADC of {image.adc_bits} bits.")
