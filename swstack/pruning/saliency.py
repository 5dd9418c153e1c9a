"""Saliency of rows and columns: the mean square of the gradient of a factor that is one.

At a minimum of the loss that is the diagonal of the empirical Fisher information, and so the second-order estimate of
the loss without the row or column (up to a factor).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from transformers import PreTrainedModel

from crossvote.sim.common.progress import Progress, no_progress
from crossvote.swstack.pruning.axes import Axis, stack_axes
from crossvote.swstack.pruning.method import GroupWeights, Setup
from crossvote.swstack.tasks.encoded import Batch
from crossvote.swstack.training.loop import forward, task_loss


class Saliency:
    """Sums the squared gradients of factors over the first steps."""

    def __init__(self, setup: Setup) -> None:
        self.steps = setup.start_steps
        self._sums = {
            stack.name: torch.zeros(len(stack.axes), stack.size, device=setup.device)
            for stack in stack_axes(setup.axes)
        }
        self._counted = torch.zeros((), dtype=torch.int64)

    @property
    def measuring(self) -> bool:
        """Whether the next gradient still counts."""
        return int(self._counted) < self.steps

    @torch.no_grad()
    def add(self, gradients: dict[str, torch.Tensor]) -> None:
        """Take in one step's gradients, stack name -> float[G, size]."""
        self._counted += 1
        for name, gradient in gradients.items():
            self._sums[name] += gradient.square()

    def sums(self) -> dict[str, torch.Tensor]:
        """Stack name -> float[G, size]."""
        return self._sums

    def tensors(self) -> dict[str, torch.Tensor]:
        """The sums and the count."""
        return {**{f"saliency.{name}": value for name, value in self._sums.items()}, "measured": self._counted}


def gradient_saliency(
    model: PreTrainedModel,
    weights: Mapping[str, GroupWeights],
    axes: Sequence[Axis],
    batches: Sequence[Batch],
    progress: Progress = no_progress,
) -> dict[str, torch.Tensor]:
    """Axis name -> saliency float[size] of the task's loss over ``batches``, of weights that have no factors."""
    sums = {axis.name: torch.zeros(axis.size, device=model.device) for axis in axes}
    for number, batch in enumerate(batches):
        progress("prune (saliency)", number, len(batches))
        model.zero_grad()
        task_loss(forward(model, batch), batch).backward()
        for axis in axes:
            of_factors = weights[axis.group.name].gradient_of_factors()
            sums[axis.name] += of_factors.sum(dim=0 if axis.kind == "columns" else 1).square()
    model.zero_grad()
    return sums
