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
from crossvote.swstack.pruning.layer_runs import tokens_of, watched
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
    """Axis name -> saliency float[size] of the task's loss over ``batches``, of weights that have no factors.

    A column counts by what it gives besides its mean, which its bias can give without it; all matrices have one. With
    y_t what it gives token t before the bias, m the mean of that and g_t the gradient there, the sum of g_t (y_t - m)
    is the gradient of a factor less m times the gradient of the bias.
    """
    means = _column_means(
        model, [name for axis in axes if axis.kind == "columns" for name in axis.group.matrices], batches
    )
    sums = {axis.name: torch.zeros(axis.size, device=model.device) for axis in axes}
    for number, batch in enumerate(batches):
        progress("prune (saliency)", number, len(batches))
        model.zero_grad()
        task_loss(forward(model, batch), batch).backward()
        for axis in axes:
            of_factors = weights[axis.group.name].gradient_of_factors()
            if axis.kind == "columns":
                of_means = [means[name] * _bias_gradient(model, name) for name in axis.group.matrices]
                sums[axis.name] += (of_factors.sum(dim=0) - torch.cat(of_means)).square()
            else:
                sums[axis.name] += of_factors.sum(dim=1).square()
    model.zero_grad()
    return sums


def _bias_gradient(model: PreTrainedModel, name: str) -> torch.Tensor:
    gradient = model.get_parameter(f"{name}.bias").grad
    assert gradient is not None
    return gradient


@torch.no_grad()
def _column_means(model: PreTrainedModel, names: Sequence[str], batches: Sequence[Batch]) -> dict[str, torch.Tensor]:
    """Matrix name -> what its columns give before the bias, mean over all tokens that are no padding."""
    sums: dict[str, torch.Tensor] = {}
    tokens: dict[str, int] = {}
    for batch in batches:
        with watched(model, outputs=names) as seen:
            forward(model, batch)
        for name in names:
            given = seen[f"{name} out"]
            real = given[tokens_of(batch, given)]
            sums[name] = sums.get(name, 0) + real.sum(dim=0)
            tokens[name] = tokens.get(name, 0) + len(real)
    return {name: total / tokens[name] - model.get_parameter(f"{name}.bias") for name, total in sums.items()}
