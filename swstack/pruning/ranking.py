"""Methods that rank rows and columns and hold the worst ones closed: magnitude and movement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from crossvote.swstack.pruning.axes import Axis, settle
from crossvote.swstack.pruning.method import GradientScale, GroupWeights, PruningMethod, relative_norms
from crossvote.swstack.pruning.methods.straight_through import StraightThrough


class Magnitude(PruningMethod):
    """Gradual structured magnitude pruning (Zhu and Gupta 2017): the smallest norms are closed."""

    def __init__(self, axes: Sequence[Axis], weights: Mapping[str, GroupWeights]) -> None:
        super().__init__(axes)
        self._weights = weights

    def scores(self) -> dict[str, torch.Tensor]:
        """Euclidean norms of the trained weights, relative to their matrix."""
        with torch.no_grad():
            return {axis.name: relative_norms(self._weights[axis.group.name].joined(), axis) for axis in self.axes}

    def factors(self, ramp: float) -> dict[str, torch.Tensor]:
        """0 for the smallest norms, 1 for the others."""
        scores = self.scores()
        return {axis.name: settle(scores[axis.name], axis, ramp).float() for axis in self.axes}


class Movement(PruningMethod):
    """Structured movement pruning (Sanh et al. 2020): keep where training moves weights away from zero.

    The score of a column accumulates -sum_i dL/dt_ij w_ij; the top scores are open, the gradient passes straight
    through the ranking, so a closed column can come back.
    """

    def __init__(self, axes: Sequence[Axis], device: torch.device, learning_rate: float) -> None:
        super().__init__(axes)
        self._scores = {axis.name: torch.zeros(axis.size, device=device, requires_grad=True) for axis in self.axes}
        self._optimizer = torch.optim.SGD(self._scores.values(), lr=learning_rate)
        self._scale = GradientScale(axes, device)

    def factors(self, ramp: float) -> dict[str, torch.Tensor]:
        """1 for the top scores, 0 for the others."""
        result = {}
        for axis in self.axes:
            scores = self._scores[axis.name]
            keep = settle(scores.detach(), axis, ramp)
            result[axis.name] = StraightThrough.apply(scores, keep, torch.ones_like(scores))
        return result

    def update(self, ramp: float) -> None:
        """One SGD step of the scores."""
        for axis in self.axes:
            scores = self._scores[axis.name]
            assert scores.grad is not None
            scores.grad = self._scale.scale(axis, scores.grad)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def scores(self) -> dict[str, torch.Tensor]:
        """The accumulated movement."""
        return {name: value.detach() for name, value in self._scores.items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Scores and running means."""
        return {**{f"score.{name}": value for name, value in self._scores.items()}, **self._scale.tensors()}
