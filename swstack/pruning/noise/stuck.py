"""Fault-tolerant training (Wang et al., DATE 2022): masks of stuck devices, drawn anew in every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from crossvote.sim.array.faults import PAPER_SA0_SA1, Ratio, sa1_share
from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.pruning.noise import NOISES, Noise

if TYPE_CHECKING:
    import torch

    from crossvote.swstack.pruning.code_law import MatrixLaw


@NOISES.register("stuck")
@config_dataclass
class StuckDevices(Noise):
    """A weight is the difference of two devices that hold it whole; one that is stuck reads 0 or the largest weight.

    Devices are those of the publication, one per sign of a weight, not the one-bit cells of a crossbar here: at equal
    rates the errors are far larger than those of any code.
    """

    sa0_sa1: Ratio = Field(
        default=PAPER_SA0_SA1, description="ratio of devices stuck at high (read 0) to stuck at low resistance"
    )

    kind = "stuck"

    def perturbed(self, law: MatrixLaw, weight: torch.Tensor, rate: float, generator: torch.Generator) -> torch.Tensor:
        """Faulty forward, straight-through backward."""
        import torch

        seen = law.quantized(weight)
        with torch.no_grad():
            sa1 = rate * sa1_share(self.sa0_sa1)
            largest = law.largest(weight)
            faulty = torch.zeros_like(weight)
            for sign in (1, -1):
                device = (sign * seen).clamp(min=0)
                drawn = torch.rand(weight.shape, generator=generator, device=weight.device)
                device = torch.where(drawn < rate, torch.where(drawn < sa1, largest, 0.0), device)
                faulty += sign * device
            error = faulty - seen
        return seen + error
