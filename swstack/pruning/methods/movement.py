"""Structured movement pruning (Sanh et al. 2020): keep where training moves weights away from zero."""

from __future__ import annotations

import torch

from crossvote.swstack.pruning.axes import settle
from crossvote.swstack.pruning.method import GradientScale, PruningMethod, Setup
from crossvote.swstack.pruning.methods import METHODS
from crossvote.swstack.pruning.straight_through import StraightThrough

#: The published schedule: scores learn from the first step; nothing is pruned for so large a share of the steps, and
#: the target is reached at the other one (its SQuAD runs: 5,400 and 10,800 of about 55,000 steps at the two ends).
_FIRST, _LAST = 0.1, 0.8


@METHODS.register("movement")
class Movement(PruningMethod):
    """The score of a column accumulates -sum_i dL/dt_ij w_ij; the top scores are open.

    The gradient passes straight through the ranking, so a closed column can come back.
    """

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._scores = {
            stack.name: torch.zeros(len(stack.axes), stack.size, device=setup.device, requires_grad=True)
            for stack in self.stacks
        }
        self._optimizer = torch.optim.SGD(self._scores.values(), lr=setup.config.gate_learning_rate)
        self._scale = GradientScale(setup)

    def ramp(self, progress: float, share: float) -> float:
        """Nothing at first, then cubic; ``share`` is not asked, for the schedule is part of the method."""
        return 1.0 - (1.0 - min(1.0, max(0.0, (progress - _FIRST) / (_LAST - _FIRST)))) ** 3

    def factors(self, ramp: float) -> dict[str, torch.Tensor]:
        """1 for the top scores, 0 for the others."""
        result = {}
        for stack in self.stacks:
            scores = self._scores[stack.name]
            keep = settle(scores.detach(), stack, ramp)
            result[stack.name] = StraightThrough.apply(scores, keep, torch.ones_like(scores))  # type: ignore[no-untyped-call]
        return result

    def update(self, ramp: float) -> None:
        """One SGD step of the scores."""
        for stack in self.stacks:
            scores = self._scores[stack.name]
            assert scores.grad is not None
            scores.grad = self._scale.scale(stack, scores.grad)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def scores(self) -> dict[str, torch.Tensor]:
        """The accumulated movement."""
        return {name: value.detach() for name, value in self._scores.items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Scores and running means."""
        return {**{f"score.{name}": value for name, value in self._scores.items()}, **self._scale.tensors()}
