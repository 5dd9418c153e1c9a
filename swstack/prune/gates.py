"""Learned gates: a step function on one parameter per row or column, trained by a straight-through estimator.

A gate h(a) = [a > 0] multiplies its row or column. Its gradient is the task's, through the estimator, plus that of
the controller l1 (s - t) + l2 (s - t)^2 of its group, where s is the pruned share and t the share asked for (as in
CoFi, Xia et al. 2022, but for every word-line group by itself); l1 rises by gradient ascent. Gates have their own
optimizer, plain SGD: an adaptive one would cancel the size of the controller's term.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from swstack.prune.axes import Axis, keep_one_per_segment
from swstack.prune.method import PruningMethod
from swstack.prune.straight_through import Estimator, StraightThrough, estimator_slope

#: Share of the old value in the running mean square of a group's gate gradients.
_MEMORY = 0.95


class LearnedGates(PruningMethod):
    """Gates for every axis, the paper's method.

    The task's gate gradients of an axis are divided by their running root mean square over the axis. That is one
    number per axis, so the order of its gates is untouched, and one gate learning rate fits all layers and tasks.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        device: torch.device,
        *,
        start: float,
        learning_rate: float,
        estimator: Estimator,
        multiplier_rate: float,
        quadratic: float,
    ) -> None:
        """start: first value of every gate parameter; multiplier_rate: ascent rate of l1; quadratic: l2."""
        super().__init__(axes)
        self._estimator = estimator
        self._multiplier_rate = multiplier_rate
        self._quadratic = quadratic
        self._gates = {
            axis.name: torch.full((axis.size,), start, device=device, requires_grad=True) for axis in self.axes
        }
        self._optimizer = torch.optim.SGD(self._gates.values(), lr=learning_rate)
        self._mean_square = {axis.name: torch.zeros((), device=device) for axis in self.axes}
        self._multiplier = {axis.name: torch.zeros((), device=device) for axis in self.axes}
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
        """One SGD step of the gates and one ascent step of the multipliers."""
        before = {axis.name: self._open(axis) for axis in self.axes}
        for axis in self.axes:
            gates = self._gates[axis.name]
            assert gates.grad is not None
            mean_square = self._mean_square[axis.name]
            square = gates.grad.square().mean()
            mean_square.copy_(torch.where(mean_square == 0, square, _MEMORY * mean_square + (1 - _MEMORY) * square))
            gates.grad /= mean_square.sqrt() + 1e-12
            # Times the axis' size, so that a gate feels the same pressure in a small and in a large group.
            gap = 1.0 - before[axis.name].float().mean() - ramp * axis.target
            multiplier = self._multiplier[axis.name]
            multiplier += self._multiplier_rate * gap
            slope = estimator_slope(gates.detach(), self._estimator)
            gates.grad -= (multiplier + 2 * self._quadratic * gap) * slope
        self._optimizer.step()
        self._optimizer.zero_grad()
        for axis in self.axes:
            self._reopened += (self._open(axis) & ~before[axis.name]).sum()

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
        """Gates, multipliers and running means."""
        return {
            "reopened": self._reopened,
            **{f"gate.{name}": value for name, value in self._gates.items()},
            **{f"multiplier.{name}": value for name, value in self._multiplier.items()},
            **{f"mean_square.{name}": value for name, value in self._mean_square.items()},
        }

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back gates, multipliers and running means."""
        with torch.no_grad():
            for name, value in self.tensors().items():
                value.copy_(tensors[name])
