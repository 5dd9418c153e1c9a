"""Structured ADMM: rho/2 ||W - Z + U||^2 pulls W to Z = proj(W + U), the nearest matrix of the wanted sparsity."""

from __future__ import annotations

import torch
from pydantic import Field

from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.pruning.axes import settle
from crossvote.swstack.pruning.method import Setup, relative_norms
from crossvote.swstack.pruning.methods import METHODS
from crossvote.swstack.pruning.methods._norm_ranked import NormRanked


@config_dataclass
class AdmmSettings:
    """Of the method 'admm'."""

    rho: float = Field(default=1e-2, gt=0, le=1e6, description="Strength of the pull to the nearest pruned matrix.")


@METHODS.register("admm")
class Admm(NormRanked):
    """Every 25 steps U += W - Z for the old Z, then Z is projected anew."""

    Settings = AdmmSettings

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._rho = setup.own(AdmmSettings).rho
        names = dict.fromkeys(axis.group.name for axis in self.axes)
        self._dual = {name: torch.zeros_like(self._weights[name].joined().detach()) for name in names}
        self._goal = {name: self._weights[name].joined().detach().clone() for name in names}

    def penalty(self, ramp: float) -> torch.Tensor:
        """The augmented term; projects first where it is due."""
        if self._due():
            self._project(ramp)
        parts = [
            (self._weights[name].joined() - goal + self._dual[name]).square().sum() for name, goal in self._goal.items()
        ]
        return 0.5 * self._rho * torch.stack(parts).sum()

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
