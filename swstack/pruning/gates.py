"""Learned gates: a step function on one parameter per row or column, trained by a straight-through estimator.

A gate h(a) = [a > 0] multiplies its row or column. Its gradient is the task's, through the estimator, plus the
controller's. Gates have their own optimizer, plain SGD: an adaptive one would cancel the size of the controller's
term. A closed gate still gets a gradient (except with the ReLU estimator), so it can open again.

At a minimum of the loss the gradient of every open gate is zero on average, so gates that all start alike are closed
by chance first and sorted out later, when closed ones that are missed open again. To spend less training on that, a
gate may start at its saliency: the mean square of its gradient with everything open, which is the diagonal of the
empirical Fisher information and so the second-order estimate of the loss without it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from crossvote.swstack.pruning.axes import Axis, keep_one_per_segment
from crossvote.swstack.pruning.config import Estimator
from crossvote.swstack.pruning.method import Controller, GradientScale, PruningMethod
from crossvote.swstack.pruning.methods.straight_through import StraightThrough, estimator_slope


class LearnedGates(PruningMethod):
    """Gates for every axis, the paper's method.

    With `saliency_steps` > 0, that many steps leave everything open and only measure; then gates start spread evenly
    over (0, 2 start) in the order of their saliency. Otherwise all start at `start`.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        device: torch.device,
        controller: Controller,
        *,
        start: float,
        saliency_steps: int,
        learning_rate: float,
        estimator: Estimator,
    ) -> None:
        """start: mean first value of the gate parameters."""
        super().__init__(axes)
        self._start = start
        self._saliency_steps = saliency_steps
        self._saliency = {axis.name: torch.zeros(axis.size, device=device) for axis in self.axes}
        self._step = torch.zeros((), dtype=torch.int64, device=device)
        self._estimator = estimator
        self._gates = {
            axis.name: torch.full((axis.size,), start, device=device, requires_grad=True) for axis in self.axes
        }
        self._optimizer = torch.optim.SGD(self._gates.values(), lr=learning_rate)
        self._scale = GradientScale(axes, device)
        self._controller = controller
        self._reopened = torch.zeros((), dtype=torch.int64, device=device)

    def _open(self, axis: Axis) -> torch.Tensor:
        gates = self._gates[axis.name].detach()
        return keep_one_per_segment(gates, gates > 0, axis)

    def factors(self, ramp: float) -> dict[str, torch.Tensor]:
        """The gates as 0 or 1, with the estimator's gradient."""
        result = {}
        for axis in self.axes:
            gates = self._gates[axis.name]
            slope = estimator_slope(gates.detach(), self._estimator)
            result[axis.name] = StraightThrough.apply(gates, self._open(axis), slope)
        return result

    def update(self, ramp: float) -> None:
        """One SGD step of the gates and one ascent step of the multipliers, once the saliency is measured."""
        self._step += 1
        if self._step <= self._saliency_steps:
            self._measure()
            return
        before = {axis.name: self._open(axis) for axis in self.axes}
        for axis in self.axes:
            gates = self._gates[axis.name]
            assert gates.grad is not None
            slope = estimator_slope(gates.detach(), self._estimator)
            pressure = self._controller.pressure(axis, 1.0 - before[axis.name].float().mean(), ramp)
            # ds/da is -slope / size; without the size, a gate feels the same pressure in small and large groups.
            gates.grad = self._scale.scale(axis, gates.grad) - pressure * slope
        self._optimizer.step()
        self._optimizer.zero_grad()
        for axis in self.axes:
            self._reopened += (self._open(axis) & ~before[axis.name]).sum()

    @torch.no_grad()
    def _measure(self) -> None:
        for name, gates in self._gates.items():
            assert gates.grad is not None
            self._saliency[name] += gates.grad.square()
            gates.grad = None
            if self._step == self._saliency_steps:
                rank = torch.argsort(torch.argsort(self._saliency[name], stable=True))
                gates.copy_(2 * self._start * (rank + 0.5) / len(rank))

    def scores(self) -> dict[str, torch.Tensor]:
        """The gate parameters."""
        return {name: gates.detach() for name, gates in self._gates.items()}

    def closed(self) -> dict[str, int]:
        """Closed gates per axis."""
        return {axis.name: int((~self._open(axis)).sum()) for axis in self.axes}

    def reopened(self) -> int:
        """How often a closed gate opened again."""
        return int(self._reopened)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Gates, saliencies, multipliers, running means and counts."""
        gates = {f"gate.{name}": value for name, value in self._gates.items()}
        saliency = {f"saliency.{name}": value for name, value in self._saliency.items()}
        counts = {"step": self._step, "reopened": self._reopened}
        return {**gates, **saliency, **self._controller.tensors(), **self._scale.tensors(), **counts}
