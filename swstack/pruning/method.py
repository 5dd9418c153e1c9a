"""The interface of a pruning method; the schedule around it is the same for all (see `pruning.pruning`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from crossvote.swstack.models.layouts import is_transposed, weight_parameter, word_line_groups
from crossvote.swstack.pruning.axes import Axis

#: Share of the old value in the running mean square of an axis' gradients.
_MEMORY = 0.95


@dataclass(frozen=True, eq=False)
class GroupWeights:
    """The trained weights of one word-line group, before any factor of a pruning method."""

    parameters: tuple[torch.Tensor, ...]
    transposed: bool

    def joined(self) -> torch.Tensor:
        """The group's matrices side by side, K x N of all outputs; gradients reach the parameters."""
        return torch.cat([weight.T if self.transposed else weight for weight in self.parameters], dim=1)


def group_weights(model: nn.Module) -> dict[str, GroupWeights]:
    """Group name -> weights; to be called before a pruner is attached to the model."""
    return {
        group.name: GroupWeights(
            tuple(weight_parameter(model, name) for name in group.matrices),
            is_transposed(model, group.matrices[0]),
        )
        for group in word_line_groups(model)
    }


def axis_norms(weight: torch.Tensor, axis: Axis) -> torch.Tensor:
    """Euclidean norm float[size] of every column, or row, of a group's joined weight K x N."""
    return weight.norm(dim=0 if axis.kind == "columns" else 1)


def relative_norms(weight: torch.Tensor, axis: Axis) -> torch.Tensor:
    """`axis_norms`, columns in units of the mean norm of their own matrix.

    Query, key and value share a group but not a scale; ranked by plain norms, one of them would be pruned bare.
    """
    norms = axis_norms(weight, axis)
    if axis.kind == "rows":
        return norms
    # Matrices of a group have equal widths; a fused query-key-value matrix counts as the three it holds.
    matrices = 3 if len(axis.segments) > 1 else 1
    by_matrix = norms.reshape(matrices, -1)
    return (by_matrix / (by_matrix.mean(dim=1, keepdim=True) + 1e-12)).reshape(-1)


class PruningMethod(ABC):
    """Decides, during training, which rows and columns matter.

    While the method is active, every step calls `factors` before the forward pass and `update` after the weights
    were updated. When it is frozen, `scores` decides what is kept.
    """

    def __init__(self, axes: Sequence[Axis]) -> None:
        self.axes = tuple(axes)

    def factors(self, ramp: float) -> dict[str, torch.Tensor]:
        """Axis name -> factor float[size] of each row or column in this step; absent: ones.

        ramp: share of each axis' target that is asked for in this step, from 0 to 1.
        """
        return {}

    def penalty(self, ramp: float) -> torch.Tensor | None:
        """A term to add to the loss of this step."""
        return None

    def update(self, ramp: float) -> None:
        """Learn from the gradients of this step."""
        return None

    @abstractmethod
    def scores(self) -> dict[str, torch.Tensor]:
        """Axis name -> float[size]: the higher, the sooner it is kept."""

    def closed(self) -> dict[str, int]:
        """Axis name -> how many rows or columns the method itself holds closed now; absent: it closes none."""
        return {}

    def reopened(self) -> int:
        """How often a row or column came back so far."""
        return 0

    def tensors(self) -> dict[str, torch.Tensor]:
        """State for checkpoints; `restore` writes into these very tensors."""
        return {}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what `tensors` gave."""
        with torch.no_grad():
            for name, value in self.tensors().items():
                value.copy_(tensors[name])


class Controller:
    """l1 (s - t) + l2 (s - t)^2 for every axis by itself, s being the pruned share and t the share asked for.

    The Lagrangian of CoFi (Xia et al. 2022) with one multiplier per word-line group; l1 rises by gradient ascent.
    """

    def __init__(self, axes: Sequence[Axis], device: torch.device, rate: float, quadratic: float) -> None:
        """rate: ascent rate of l1; quadratic: l2."""
        self._rate = rate
        self._quadratic = quadratic
        self._multiplier = {axis.name: torch.zeros((), device=device) for axis in axes}

    def pressure(self, axis: Axis, share: torch.Tensor, ramp: float) -> torch.Tensor:
        """d/ds of the term at s = `share` after one ascent step: negative where more has to be pruned."""
        gap = share - ramp * axis.target
        multiplier = self._multiplier[axis.name]
        multiplier += self._rate * gap
        return multiplier + 2 * self._quadratic * gap

    def tensors(self) -> dict[str, torch.Tensor]:
        """The multipliers."""
        return {f"multiplier.{name}": value for name, value in self._multiplier.items()}


class GradientScale:
    """Divides the gradients of an axis by their running root mean square over the axis.

    That is one number per axis, so the order of its entries is untouched, and one learning rate fits all layers and
    tasks. (An adaptive optimizer would divide every entry by its own, which cancels the controller's pressure.)
    """

    def __init__(self, axes: Sequence[Axis], device: torch.device) -> None:
        self._mean_square = {axis.name: torch.zeros((), device=device) for axis in axes}

    def scale(self, axis: Axis, gradient: torch.Tensor) -> torch.Tensor:
        """The scaled gradient float[size]; takes it into the running mean."""
        mean_square, square = self._mean_square[axis.name], gradient.square().mean()
        blend = _MEMORY * mean_square + (1 - _MEMORY) * square
        mean_square.copy_(torch.where(mean_square == 0, square, blend))
        return gradient / (mean_square.sqrt() + 1e-12)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The running mean squares."""
        return {f"mean_square.{name}": value for name, value in self._mean_square.items()}
