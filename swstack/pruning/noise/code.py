"""The errors that the protection scheme's own code lets through, as a law."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.pruning.noise import NOISES, Noise

if TYPE_CHECKING:
    import torch

    from crossvote.swstack.pruning.code_law import MatrixLaw


@NOISES.register("code")
@config_dataclass
class CodeErrors(Noise):
    """Normal errors with the mean and the variance that stuck cells at this rate have under the code."""

    kind = "code"

    def perturbed(self, law: MatrixLaw, weight: torch.Tensor, rate: float, generator: torch.Generator) -> torch.Tensor:
        """Weights shrink by 1 - rate and get errors that grow with the scale, through which a large weight feels what
        it costs its output."""
        from crossvote.swstack.pruning.code_law import normal_like

        deviation = law.deviation_at(rate) * law.scale(weight)
        return (law.quantized(weight) * (1 - rate) + normal_like(weight, generator) * deviation) * law.gain
