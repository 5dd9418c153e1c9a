"""The interface of a pruning method; the schedule around it is the same for all (see ``pruning.pruning``)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel

from crossvote.sim.common.progress import Progress
from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.models.layouts import encoder_groups, is_transposed, weight_parameter
from crossvote.swstack.pruning.axes import Axis, AxisStack, stack_axes
from crossvote.swstack.pruning.config import PruneConfig
from crossvote.swstack.pruning.methods import METHODS
from crossvote.swstack.tasks.encoded import Encoded

S = TypeVar("S")

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

    def gradient_of_factors(self) -> torch.Tensor:
        """dL/df at f = 1, float[K, N], if every weight had a factor f of its own; gradients must be there."""
        parts = [weight.grad * weight.detach() for weight in self.parameters if weight.grad is not None]
        return torch.cat([part.T if self.transposed else part for part in parts], dim=1)


def group_weights(model: nn.Module) -> dict[str, GroupWeights]:
    """Group name -> weights; to be called before a pruner is attached to the model."""
    return {
        group.name: GroupWeights(
            tuple(weight_parameter(model, name) for name in group.matrices),
            is_transposed(model, group.matrices[0]),
        )
        for group in encoder_groups(model)
    }


def axis_norms(weight: torch.Tensor, axis: Axis) -> torch.Tensor:
    """Euclidean norm float[size] of every column, or row, of a group's joined weight K x N."""
    norms: torch.Tensor = weight.norm(dim=0 if axis.kind == "columns" else 1)
    return norms


def relative_norms(weight: torch.Tensor, axis: Axis) -> torch.Tensor:
    """``axis_norms``, columns in units of the mean norm of their own matrix.

    Query, key and value share a group but not a scale; ranked by plain norms, one of them would be pruned bare.
    """
    norms = axis_norms(weight, axis)
    parts = norms.split(list(axis.widths))
    return torch.cat([part / (part.mean() + 1e-12) for part in parts])


@dataclass(frozen=True, eq=False)
class Setup:
    """What a method is made from.

    axes: what is to be pruned. weights: per group, as trained. device: where the model is trained. steps: for which
    the method is active. config: the settings of all methods. name: of the method.
    """

    axes: tuple[Axis, ...]
    weights: Mapping[str, GroupWeights]
    device: torch.device
    steps: int
    config: PruneConfig
    name: str

    def own(self, settings: type[S]) -> S:
        """The settings that this method alone has, by its configuration class."""
        return self.config.own(settings, self.name)

    @property
    def start_steps(self) -> int:
        """Steps in which everything is open and only measured: what decides at the start is a mean over these."""
        return min(self.config.saliency_steps, max(1, self.steps // 4))


@config_dataclass
class NoSettings:
    """Of a method that has none of its own."""


class PruningMethod(ABC):
    """Decides, during training, which rows and columns matter.

    While the method is active, every step calls ``factors`` before the forward pass and ``update`` after the weights
    were updated. When it is frozen, ``scores`` decides what is kept. Axes of equal shape are handled as one stack of G
    axes: all tensors are [G, size], by the stack's name.
    """

    #: Configuration class of the settings that this method alone has: the table ``prune.methods.NAME``.
    Settings: ClassVar[type[Any]] = NoSettings

    def __init__(self, setup: Setup) -> None:
        self.axes = setup.axes
        self.stacks = stack_axes(setup.axes)

    @classmethod
    def check(cls, model: nn.Module) -> None:
        """Refuse a model that the method cannot prune, before anything is trained; most prune any.

        Raises:
            UserError: the message says what the model lacks.
        """
        return None

    def prepare(self, model: PreTrainedModel, encoded: Encoded, seed: int, progress: Progress) -> None:
        """What the method that decides before training (``config.DECIDED_FIRST``) does then.

        model: dense, on its device; changed in place. encoded: the train examples. What was decided is in ``model`` and
        ``tensors``, and nowhere else.
        """
        return None

    def ramp(self, progress: float, share: float) -> float:
        """Share of the target asked for when ``progress`` (above 0, at most 1) of the method's steps have begun.

        Cubic over the first ``share`` of the steps, as in Zhu and Gupta (2017), equation 1.
        """
        return 1.0 if share == 0 else 1.0 - max(0.0, 1.0 - progress / share) ** 3

    def factors(self, ramp: float) -> dict[str, torch.Tensor]:
        """Stack name -> factor float[G, size] of each row or column in this step; absent: ones.

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
        """Stack name -> float[G, size]: the higher, the sooner it is kept."""

    def closed(self) -> dict[str, torch.Tensor]:
        """Stack name -> int64[G], how many rows or columns the method itself holds closed now; absent: none."""
        return {}

    def reopened(self) -> int:
        """How often a row or column came back so far."""
        return 0

    def tensors(self) -> dict[str, torch.Tensor]:
        """State for checkpoints; ``restore`` writes into these very tensors."""
        return {}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what ``tensors`` gave."""
        with torch.no_grad():
            for name, value in self.tensors().items():
                value.copy_(tensors[name])


def make_method(model: nn.Module, axes: Sequence[Axis], cfg: PruneConfig, steps: int) -> PruningMethod:
    """The pruning method that ``cfg`` names, for ``model`` on the device where it is trained, active for ``steps``.

    Without axes there is nothing to decide, and so nothing to learn: any method is then the one without parameters.

    Raises:
        UserError: there is no such method.
    """
    name = cfg.method if axes else "magnitude"
    device = next(model.parameters()).device
    method: PruningMethod = METHODS[name](Setup(tuple(axes), group_weights(model), device, steps, cfg, name))
    return method


class StackedNorms:
    """Relative norms of the trained weights, stack by stack."""

    def __init__(self, stacks: Sequence[AxisStack], weights: Mapping[str, GroupWeights]) -> None:
        self._stacks = stacks
        self._weights = weights

    @torch.no_grad()
    def __call__(self) -> dict[str, torch.Tensor]:
        """Stack name -> float[G, size]."""
        return {
            stack.name: torch.stack([relative_norms(self._weights[a.group.name].joined(), a) for a in stack.axes])
            for stack in self._stacks
        }


class Controller:
    """l1 (s - t) + l2 (s - t)^2 for every axis by itself, s being the pruned share and t the share asked for.

    The Lagrangian of CoFi (Xia et al. 2022) with one multiplier per word-line group; l1 rises by gradient ascent.
    """

    def __init__(self, setup: Setup) -> None:
        self._rate = setup.config.multiplier_rate
        self._quadratic = setup.config.quadratic
        self._multiplier = {
            stack.name: torch.zeros(len(stack.axes), device=setup.device) for stack in stack_axes(setup.axes)
        }

    def pressure(self, stack: AxisStack, share: torch.Tensor, ramp: float) -> torch.Tensor:
        """d/ds float[G] of the term at s = share [G] after one ascent step: negative where more has to be pruned."""
        gap = share - ramp * stack.target
        multiplier = self._multiplier[stack.name]
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

    def __init__(self, setup: Setup) -> None:
        self._mean_square = {
            stack.name: torch.zeros(len(stack.axes), device=setup.device) for stack in stack_axes(setup.axes)
        }

    def scale(self, stack: AxisStack, gradient: torch.Tensor) -> torch.Tensor:
        """The scaled gradient float[G, size]; takes it into the running mean."""
        mean_square, square = self._mean_square[stack.name], gradient.square().mean(dim=1)
        blend = _MEMORY * mean_square + (1 - _MEMORY) * square
        mean_square.copy_(torch.where(mean_square == 0, square, blend))
        return gradient / (mean_square.sqrt() + 1e-12)[:, None]

    def tensors(self) -> dict[str, torch.Tensor]:
        """The running mean squares."""
        return {f"mean_square.{name}": value for name, value in self._mean_square.items()}
