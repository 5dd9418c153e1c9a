"""Number formats of weights and activations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crossvote.sim.common.schema import config_dataclass

Activations = Literal["token", "tensor", "static", "float"]


@config_dataclass
class QuantizationConfig:
    """Number formats of weights and activations; the bits of inputs and cells are the chip's."""

    weight_bits: int = Field(
        default=8, ge=2, le=16, description="bits of a weight, sign included: weight_bits - 1 planes"
    )
    activations: Activations = Field(
        default="token",
        description="scale of the inputs: per token vector or per tensor (found while running), static (calibrated), "
        "or float (inputs are not quantized; the setting of the paper)",
    )

    @property
    def planes(self) -> int:
        """B, magnitude planes of a weight."""
        return self.weight_bits - 1
