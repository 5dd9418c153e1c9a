"""Put a model on a chip: every mapped matrix becomes a crossbar layer, and chips can be swapped underneath."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image
from crossvote.sim.array.imperfect_reads import loss
from crossvote.sim.array.read_model import ReadModel
from crossvote.sim.array.self_test import RepeatedReads
from crossvote.sim.common.errors import UserError
from crossvote.swstack.inference.around import PROGRAMS, Program
from crossvote.swstack.inference.cell_program import CellProgram, cells_from
from crossvote.swstack.inference.crossbar_linear import CrossbarLinear
from crossvote.swstack.inference.dense_program import DENSE_FROM, DenseProgram
from crossvote.swstack.inference.explicit_linear import ExplicitLinear
from crossvote.swstack.inference.mapped_linear import MappedLinear
from crossvote.swstack.inference.placed_group import Geometry, PlacedGroup
from crossvote.swstack.mapping.config import Activations

ModelT = TypeVar("ModelT", bound=nn.Module)

_ATTRIBUTE = "crossvote_placement"
#: A self-test whose reads are all right.
_RIGHT = RepeatedReads()
_log = logging.getLogger(__name__)


class _Programmable(Protocol):
    """A word-line group under a model, ready for another chip."""

    @property
    def geometry(self) -> Geometry: ...

    def program(self, faults: FaultMap | None) -> None: ...


@dataclass(eq=False)
class ProgrammedGroup:
    """A word-line group under a model on the exact path, with what the present chip changed in its integers.

    Chips with few faults are programmed fault by fault, the others all cells at once, where the layers are; both give
    the same integers. ``dense_from``: share of stuck cells from which on it is all at once; by default ``cells_from``
    on a CPU and ``DENSE_FROM`` elsewhere.
    ``around``: where the faults are known, the way to program around them (``inference.around``), by a ``self_test``.
    """

    placed: PlacedGroup
    layers: tuple[CrossbarLinear, ...]
    dense_from: float | None = None
    changed: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    change: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    dense: DenseProgram | CellProgram | None = None
    around: str | None = None
    self_test: RepeatedReads = _RIGHT
    closest: Program | None = None
    all_at_once: bool = False

    @property
    def geometry(self) -> Geometry:
        return self.placed.geometry

    def program(self, faults: FaultMap | None) -> None:
        """Restore the programmed integers, then apply a chip's faults.

        O(f) for f faults of the group if they are few (plus sorting what is outvoted), else linear in its cells.
        """
        for layer in self.layers:
            layer.packed = None
        if len(self.changed):
            self._add(self.changed, -self.change)
        self.changed, self.change = self.changed[:0], self.change[:0]
        if faults is not None and self.around is not None:
            self._program_around(faults)
            return
        if faults is not None and self._all_at_once and self.geometry.share(faults) >= self._threshold:
            self._program_all(faults)
            return
        if self.all_at_once:
            self.all_at_once = False
            for layer in self.layers:
                span = slice(layer.first_output, layer.first_output + layer.out_features)
                layer.weight = torch.from_numpy(self.placed.weight[span]).to(layer.weight.device)
                layer.votes = nn.ModuleList()
        errors = self.placed.errors(faults)
        self.changed, self.change = self.placed.weight_changes(errors)
        self._add(self.changed, self.change)
        for layer in self.layers:
            made = self.placed.corrections(errors, layer.first_output, layer.out_features)
            layer.corrections = nn.ModuleList(made).to(layer.weight.device)

    @property
    def _on_cpu(self) -> bool:
        return self.layers[0].weight.device.type == "cpu"

    @property
    def _all_at_once(self) -> bool:
        """Whether there is a way to program all cells at once."""
        return self._on_cpu or self.placed.plain

    @property
    def _threshold(self) -> float:
        if self.dense_from is not None:
            return self.dense_from
        return cells_from(self.placed.voting) if self._on_cpu else DENSE_FROM

    def _program_all(self, faults: FaultMap) -> None:
        device = self.layers[0].weight.device
        if self._on_cpu:
            if not isinstance(self.dense, CellProgram):
                self.dense = CellProgram(self.placed)
        elif not isinstance(self.dense, DenseProgram) or self.dense.device != device:
            self.dense = DenseProgram(self.placed, device)
        weight, values = self.dense.apply(faults)
        self.all_at_once = True
        for layer in self.layers:
            layer.weight = weight[layer.first_output : layer.first_output + layer.out_features]
            layer.corrections = nn.ModuleList()
            layer.votes = nn.ModuleList(self.dense.votes_of(values, layer.first_output, layer.out_features))

    def _program_around(self, faults: FaultMap) -> None:
        device = self.layers[0].weight.device
        assert self.around is not None
        if self.closest is None or self.closest.device != device:
            self.closest = PROGRAMS[self.around](self.placed, device, self.self_test)
        weight = self.closest.apply(faults)
        self.all_at_once = True
        for layer in self.layers:
            layer.weight = weight[layer.first_output : layer.first_output + layer.out_features]
            layer.corrections = nn.ModuleList()

    def _add(self, index: NDArray[np.int64], change: NDArray[np.int64]) -> None:
        """Add to the integers, also where an index occurs several times; sums may wrap around on the way."""
        values = change.astype(self.placed.weight.dtype)
        np.add.at(self.placed.weight.ravel(), index, values)
        for layer in self.layers:
            first = layer.first_output * layer.in_features
            if layer.weight.data_ptr() == self.placed.weight.ctypes.data + first * self.placed.weight.itemsize:
                continue  # still a view of placed.weight: neither moved to another device nor copied
            own = np.flatnonzero((index >= first) & (index < first + layer.weight.numel()))
            at, added = (torch.from_numpy(a).to(layer.weight.device) for a in (index[own] - first, values[own]))
            layer.weight.view(-1).index_put_((at,), added, accumulate=True)


def convert(
    model: ModelT,
    image: Image,
    activations: Activations = "token",
    input_steps: Mapping[str, float] | None = None,
    read_model: ReadModel | None = None,
    path: Literal["auto", "explicit"] = "auto",
) -> ModelT:
    """A copy of ``model`` whose matrices run on the (fault-free) crossbars of ``image``.

    All parameters that are not mapped (embeddings, LayerNorm, head) are shared with ``model``, not copied. The copy is
    in evaluation mode and on the device of ``model``.

    Args:
        activations: how inputs are quantized. input_steps: per group name, the step of ``static`` activations.
        read_model: ADCs and cells; ideal by default. path: "auto" takes the exact path where codes provably lose
            nothing and logs why it does not; "explicit" computes every ADC code.

    Raises:
        UserError: the image is not of this model, or float activations on the explicit path.
    """
    read_model = read_model or ReadModel()
    reason = "asked for" if path == "explicit" else loss(image, read_model)
    if reason is not None:
        _log.info("every ADC code is computed: %s", reason)
    around = str(image.protection["kind"]) if image.protection.get("knows_faults") else None
    self_test = RepeatedReads(misread=float(image.protection.get("misread", 0.0)))
    if around and reason is not None:
        raise UserError(
            f"scheme '{image.protection.get('name')}' programs around known faults; {reason}, which it cannot."
        )
    modules = dict(model.named_modules())
    memo: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    programmable: list[_Programmable] = []
    for group in image.groups:
        step = None if input_steps is None else input_steps.get(group.name)
        replaced = [_mapped_module(modules, matrix.name, (group.inputs, matrix.outputs)) for matrix in group.matrices]
        layers: list[MappedLinear] = []
        if reason is None:
            placed = PlacedGroup(group)
            exact = tuple(CrossbarLinear(placed, m, image.input_bits, activations, step) for m in group.matrices)
            programmable.append(ProgrammedGroup(placed, exact, around=around, self_test=self_test))
            layers.extend(exact)
        else:
            for matrix in group.matrices:
                layer = ExplicitLinear(group, matrix, image.input_bits, image.adc_bits, read_model, activations, step)
                layer.program(None)
                programmable.append(layer)
                layers.append(layer)
        for module, layer_ in zip(replaced, layers, strict=True):
            memo[id(module)] = layer_.to(module.weight.device)  # type: ignore[arg-type]
    converted = copy.deepcopy(model, memo).eval()
    setattr(converted, _ATTRIBUTE, tuple(programmable))
    for module in converted.modules():  # the encoder inside a classifier can be saved on its own, too
        if hasattr(module, "save_pretrained"):
            module.save_pretrained = _refuse_to_save  # type: ignore[assignment]
    return converted


def _refuse_to_save(*_: object, **__: object) -> None:
    """Stands in for ``save_pretrained``, which would write integers where a loader then makes up weights."""
    raise UserError("this model is on crossbars; save the model it was made from, and its image (Image.save).")


def _mapped_module(modules: Mapping[str, nn.Module], name: str, shape: tuple[int, int]) -> nn.Module:
    module = modules.get(name)
    if module is None or not isinstance(getattr(module, "weight", None), torch.Tensor):
        raise UserError(f"the image holds matrix {name}, which the model does not have.")
    found = cast(torch.Tensor, module.weight).shape
    if sorted(found) != sorted(shape):
        raise UserError(f"matrix {name} is {shape[0]} x {shape[1]} in the image, {tuple(found)} in the model.")
    return module


def swap_faults(model: nn.Module, faults: FaultMap | None) -> None:
    """Put another chip under a converted model, in place; None is a perfect chip. O(number of faults).

    Raises:
        UserError: the model was not converted, or the fault map is for another chip (the model then keeps its old one).
    """
    groups = cast("tuple[_Programmable, ...] | None", getattr(model, _ATTRIBUTE, None))
    if groups is None:
        raise UserError("the model is not on crossbars yet; convert it first.")
    if faults is not None:
        for group in groups:
            group.geometry.check_fits(faults)
    for group in groups:
        group.program(faults)
