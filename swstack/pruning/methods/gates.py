"""Learned gates: a step function on one parameter per row or column, trained by a straight-through estimator.

A gate h(a) = [a > 0] multiplies its row or column. Its gradient is the task's, through the estimator, plus the
controller's. Gates have their own optimizer, plain SGD: an adaptive one would cancel the size of the controller's
term. A closed gate still gets a gradient (except with the ReLU estimator), so it can open again.

At a minimum of the loss the gradient of every open gate is zero on average, so gates that all start alike are closed
by chance first and sorted out later, when closed ones that are missed open again. To spend less training on that, a
gate may start at its saliency (see ``pruning.saliency``). The method 'saliency' has the same start and learns nothing.
"""

from __future__ import annotations

import torch
from pydantic import Field

from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.pruning.axes import AxisStack, keep_one_per_segment
from crossvote.swstack.pruning.method import Controller, GradientScale, PruningMethod, Setup
from crossvote.swstack.pruning.methods import METHODS
from crossvote.swstack.pruning.saliency import Saliency
from crossvote.swstack.pruning.straight_through import Estimator, StraightThrough, estimator_slope


@config_dataclass
class GateSettings:
    """Of the method 'gates'."""

    start: float = Field(
        default=0.5, gt=0, le=1000, description="First value of a gate parameter, on average; open above 0."
    )
    estimator: Estimator = Field(default="softplus", description="Straight-through estimator of the gates.")


@METHODS.register("gates")
class LearnedGates(PruningMethod):
    """Gates for every axis, the paper's method.

    With ``saliency_steps`` > 0, that many steps leave everything open and only measure; then gates start spread evenly
    over (0, 2 start) in the order of their saliency. Otherwise all start at ``start``.
    """

    Settings = GateSettings

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        own = setup.own(GateSettings)
        self._start, self._estimator = own.start, own.estimator
        self._saliency = Saliency(setup)
        self._gates = {
            stack.name: torch.full((len(stack.axes), stack.size), self._start, device=setup.device, requires_grad=True)
            for stack in self.stacks
        }
        self._optimizer = torch.optim.SGD(self._gates.values(), lr=setup.config.gate_learning_rate)
        self._scale = GradientScale(setup)
        self._controller = Controller(setup)
        self._reopened = torch.zeros((), dtype=torch.int64, device=setup.device)

    def _open(self, stack: AxisStack) -> torch.Tensor:
        gates = self._gates[stack.name].detach()
        return keep_one_per_segment(gates, gates > 0, stack)

    def factors(self, ramp: float) -> dict[str, torch.Tensor]:
        """The gates as 0 or 1, with the estimator's gradient."""
        result = {}
        for stack in self.stacks:
            gates = self._gates[stack.name]
            slope = estimator_slope(gates.detach(), self._estimator)
            result[stack.name] = StraightThrough.apply(gates, self._open(stack), slope)  # type: ignore[no-untyped-call]
        return result

    def update(self, ramp: float) -> None:
        """One SGD step of the gates and one ascent step of the multipliers, once the saliency is measured."""
        if self._saliency.measuring:
            self._measure()
            return
        before = {stack.name: self._open(stack) for stack in self.stacks}
        for stack in self.stacks:
            gates = self._gates[stack.name]
            assert gates.grad is not None
            slope = estimator_slope(gates.detach(), self._estimator)
            pressure = self._controller.pressure(stack, 1.0 - before[stack.name].float().mean(dim=1), ramp)
            # ds/da is -slope / size; without the size, a gate feels the same pressure in small and large groups.
            gates.grad = self._scale.scale(stack, gates.grad) - pressure[:, None] * slope
        self._optimizer.step()
        self._optimizer.zero_grad()
        for stack in self.stacks:
            self._reopened += (self._open(stack) & ~before[stack.name]).sum()

    @torch.no_grad()
    def _measure(self) -> None:
        gradients = {}
        for name, gates in self._gates.items():
            assert gates.grad is not None
            gradients[name], gates.grad = gates.grad, None
        self._saliency.add(gradients)
        if not self._saliency.measuring:
            for name, sums in self._saliency.sums().items():
                rank = torch.argsort(torch.argsort(sums, dim=1, stable=True), dim=1)
                self._gates[name].copy_(2 * self._start * (rank + 0.5) / rank.shape[1])

    def scores(self) -> dict[str, torch.Tensor]:
        """The gate parameters."""
        return {name: gates.detach() for name, gates in self._gates.items()}

    def closed(self) -> dict[str, torch.Tensor]:
        """Closed gates per axis."""
        return {stack.name: (~self._open(stack)).sum(dim=1) for stack in self.stacks}

    def reopened(self) -> int:
        """How often a closed gate opened again."""
        return int(self._reopened)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Gates, saliencies, multipliers, running means and counts."""
        gates = {f"gate.{name}": value for name, value in self._gates.items()}
        own = {**gates, "reopened": self._reopened}
        return {**own, **self._saliency.tensors(), **self._controller.tensors(), **self._scale.tensors()}
