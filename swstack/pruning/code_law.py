"""What stuck cells do to the weights of one matrix under its code, as a law to draw from while training.

Outputs add up hundreds of weights, so of the errors of single cells only mean and variance per output are felt: drawn
are normal errors with these two. ``crossvote.swstack.mapping.error_law`` makes the laws of an image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True, eq=False)
class MatrixLaw:
    """The law of one matrix, whose weights are [N, K].

    Attributes:
        planes: B. column_scale: whether each output has a scale of its own.
        step: float32[N, 1], integers of an output are multiples of it. most: float32[N, 1], their largest magnitude.
        rates: float64[r], ascending from 0. deviation: float32[r, N, 1], of the error of a weight in integers.
        gain: by which the scheme makes scales larger.
    """

    planes: int
    column_scale: bool
    step: torch.Tensor
    most: torch.Tensor
    rates: np.ndarray
    deviation: torch.Tensor
    gain: float = 1.0

    def to(self, device: torch.device) -> MatrixLaw:
        return MatrixLaw(
            self.planes,
            self.column_scale,
            self.step.to(device),
            self.most.to(device),
            self.rates,
            self.deviation.to(device),
            self.gain,
        )

    def largest(self, weight: torch.Tensor) -> torch.Tensor:
        """The largest magnitude that shares each output's scale, [N, 1], differentiable."""
        largest = weight.abs().amax(dim=1, keepdim=True)
        return largest if self.column_scale else largest.max().expand_as(largest)

    def scale(self, weight: torch.Tensor) -> torch.Tensor:
        """What an integer of each output counts, [N, 1], differentiable: the largest weight decides it."""
        return (self.largest(weight) / ((1 << self.planes) - 1)).clamp(min=torch.finfo(torch.float32).tiny)

    def quantized(self, weight: torch.Tensor) -> torch.Tensor:
        """The weights as the compiler rounds them; the gradient passes straight through."""
        with torch.no_grad():
            scale = self.scale(weight)
            integers = torch.round(torch.round(weight / scale) / self.step) * self.step
            rounding = torch.minimum(torch.maximum(integers, -self.most), self.most) * scale - weight
        return weight + rounding

    def deviation_at(self, rate: float) -> torch.Tensor:
        """Standard deviation of the error of a weight in integers, [N, 1], linear between the rates of the law."""
        at = float(np.interp(rate, self.rates, np.arange(len(self.rates))))
        low = min(int(at), len(self.rates) - 2)
        return torch.lerp(self.deviation[low], self.deviation[low + 1], at - low)


def normal_like(weight: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Standard normal numbers, one per weight."""
    return torch.randn(weight.shape, generator=generator, device=weight.device, dtype=weight.dtype)
