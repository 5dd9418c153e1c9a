"""A margin against the errors instead of errors: variation-aware training as in Vortex (Liu et al., DAC 2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.pruning.noise import NOISES, Noise

if TYPE_CHECKING:
    import torch

    from crossvote.swstack.pruning.code_law import MatrixLaw


@NOISES.register("margin")
@config_dataclass
class Margin(Noise):
    """Nothing is drawn: the expected error of every output, as a share of the output, is added to the loss.

    Vortex asks a classifier's outputs for a margin of the norm of what variation adds to them. A matrix in the middle
    of a transformer has no margin of its own, so here the share of error in each of its outputs takes the place.
    """

    strength: float = Field(
        default=0.1,
        gt=0,
        le=1e6,
        description="weight of the penalty: of the mean share of error variance in the outputs",
    )

    kind = "margin"

    def perturbed(self, law: MatrixLaw, weight: torch.Tensor, rate: float, generator: torch.Generator) -> torch.Tensor:
        """The weights as they are rounded."""
        return law.quantized(weight)

    def penalty(self, law: MatrixLaw, weight: torch.Tensor, rate: float) -> torch.Tensor:
        """``strength`` times the mean over outputs that are not pruned of K deviation^2 scale^2 / |w|^2."""
        energy = weight.square().sum(dim=1, keepdim=True)
        kept = energy > 0
        error = (law.deviation_at(rate) * law.scale(weight)).square() * weight.shape[1]
        share = (error / energy.clamp(min=1e-30)) * kept
        return self.strength * share.sum() / kept.sum().clamp(min=1)
