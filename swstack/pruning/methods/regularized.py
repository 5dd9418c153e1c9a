"""Methods that shrink whole rows and columns by a penalty and cut at the freeze: ADMM and reweighted group lasso."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from crossvote.swstack.pruning.axes import Axis, settle
from crossvote.swstack.pruning.method import GroupWeights, PruningMethod, axis_norms, relative_norms

#: Steps between two updates of the auxiliary variables.
_INTERVAL = 25
#: Keeps the reweighted penalty finite, relative to the axis' mean norm.
_EPSILON = 1e-2


class _NormRanked(PruningMethod):
    """Keeps the largest norms of the trained weights; counts its steps."""

    def __init__(self, axes: Sequence[Axis], weights: Mapping[str, GroupWeights], strength: float) -> None:
        super().__init__(axes)
        self._weights = weights
        self._strength = strength
        device = next(iter(weights.values())).parameters[0].device
        self._step = torch.zeros((), dtype=torch.int64, device=device)

    def scores(self) -> dict[str, torch.Tensor]:
        """Euclidean norms, relative to their matrix."""
        with torch.no_grad():
            return {axis.name: relative_norms(self._weights[axis.group.name].joined(), axis) for axis in self.axes}

    def update(self, ramp: float) -> None:
        """Count the step."""
        self._step += 1

    def _due(self) -> bool:
        return int(self._step) % _INTERVAL == 0


class Admm(_NormRanked):
    """Structured ADMM: rho/2 ||W - Z + U||^2 pulls W to Z = proj(W + U), the nearest matrix of the wanted sparsity.

    Every 25 steps U += W - Z for the old Z, then Z is projected anew. The strength is rho.
    """

    def __init__(self, axes: Sequence[Axis], weights: Mapping[str, GroupWeights], strength: float) -> None:
        super().__init__(axes, weights, strength)
        names = dict.fromkeys(axis.group.name for axis in self.axes)
        self._dual = {name: torch.zeros_like(weights[name].joined().detach()) for name in names}
        self._goal = {name: weights[name].joined().detach().clone() for name in names}

    def penalty(self, ramp: float) -> torch.Tensor:
        """The augmented term; projects first where it is due."""
        if self._due():
            self._project(ramp)
        parts = [
            (self._weights[name].joined() - goal + self._dual[name]).square().sum() for name, goal in self._goal.items()
        ]
        return 0.5 * self._strength * torch.stack(parts).sum()

    @torch.no_grad()
    def _project(self, ramp: float) -> None:
        for name, goal in self._goal.items():
            weight, dual = self._weights[name].joined(), self._dual[name]
            if int(self._step) > 0:
                dual += weight - goal
            goal.copy_(weight + dual)
            for axis in self.axes:
                if axis.group.name == name:
                    keep = settle(relative_norms(weight + dual, axis), axis, ramp).float()
                    goal *= keep[None, :] if axis.kind == "columns" else keep[:, None]

    def tensors(self) -> dict[str, torch.Tensor]:
        """U, Z and the step."""
        return {
            "step": self._step,
            **{f"dual.{name}": value for name, value in self._dual.items()},
            **{f"goal.{name}": value for name, value in self._goal.items()},
        }


class GroupLasso(_NormRanked):
    """Reweighted group lasso: strength * sum ||w_g|| / (||w_g||_old + eps), with old norms renewed every 25 steps.

    The smaller a row or column already is, the harder it is pulled to zero.
    """

    def __init__(self, axes: Sequence[Axis], weights: Mapping[str, GroupWeights], strength: float) -> None:
        super().__init__(axes, weights, strength)
        self._old = self._norms()

    def _norms(self) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            return {axis.name: axis_norms(self._weights[axis.group.name].joined(), axis) for axis in self.axes}

    def penalty(self, ramp: float) -> torch.Tensor:
        """The reweighted norms; renews the weights of the norms first where it is due."""
        if self._due():
            for name, value in self._norms().items():
                self._old[name].copy_(value)
        parts = []
        for axis in self.axes:
            norms = axis_norms(self._weights[axis.group.name].joined(), axis)
            old = self._old[axis.name]
            parts.append((norms / (old + _EPSILON * old.mean())).sum())
        return self._strength * torch.stack(parts).sum()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Old norms and the step."""
        return {"step": self._step, **{f"old.{name}": value for name, value in self._old.items()}}
