"""Right-censored Gaussian noise (Yan et al., ICCAD 2023): w + min(g, cut), errors cut off above."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.pruning.noise import NOISES, Noise

if TYPE_CHECKING:
    import torch

    from crossvote.swstack.pruning.code_law import MatrixLaw


@NOISES.register("censored")
@config_dataclass
class Censored(Noise):
    """Gaussian noise whose upper tail is cut off; its law is that of the device, not of a code, unless left open."""

    cut: float = Field(default=1.0, gt=0, le=100, description="largest error, in standard deviations of the noise")
    deviation: float | None = Field(
        default=None,
        gt=0,
        le=10,
        description="standard deviation of the noise as a share of the largest weight of the output, whatever the "
        "fault rate; absent: that of the code's errors at the rate of the step",
    )

    kind = "censored"

    def perturbed(self, law: MatrixLaw, weight: torch.Tensor, rate: float, generator: torch.Generator) -> torch.Tensor:
        """The gradient reaches the weights as if nothing had been added."""
        from crossvote.swstack.pruning.code_law import normal_like

        fixed = self.deviation
        deviation = law.deviation_at(rate) * law.scale(weight) if fixed is None else fixed * law.largest(weight)
        return law.quantized(weight) + normal_like(weight, generator).clamp(max=self.cut) * deviation.detach()
