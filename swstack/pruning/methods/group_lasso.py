"""Reweighted group lasso: strength * sum ||w_g|| / (||w_g||_old + eps), with old norms renewed every 25 steps."""

from __future__ import annotations

import torch
from pydantic import Field

from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.pruning.method import Setup, axis_norms
from crossvote.swstack.pruning.methods import METHODS
from crossvote.swstack.pruning.methods._norm_ranked import NormRanked

#: Keeps the reweighted penalty finite, relative to the axis' mean norm.
_EPSILON = 1e-2


@config_dataclass
class LassoSettings:
    """Of the method 'group-lasso'."""

    strength: float = Field(default=1e-3, gt=0, le=1e6, description="Weight of the penalty.")


@METHODS.register("group-lasso")
class GroupLasso(NormRanked):
    """The smaller a row or column already is, the harder it is pulled to zero."""

    Settings = LassoSettings

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._strength = setup.own(LassoSettings).strength
        self._old = self._axis_norms()

    def _axis_norms(self) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            return {axis.name: axis_norms(self._weights[axis.group.name].joined(), axis) for axis in self.axes}

    def penalty(self, ramp: float) -> torch.Tensor:
        """The reweighted norms; renews the weights of the norms first where it is due."""
        if self._due():
            for name, value in self._axis_norms().items():
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
