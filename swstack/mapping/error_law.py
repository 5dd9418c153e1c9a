"""What stuck cells do to the weights of a mapped model, as a law to draw from while training.

Given the code of an output, the error of a weight is a sum over cells of both crossbars of the pair; its mean is -p
times the weight, its variance that of ``codes.predicted_variance``. Outputs add up hundreds of weights, so of the law
only mean and variance per output are felt: drawn are normal errors with these two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from crossvote.sim.array.faults import PAPER_SA0_SA1
from crossvote.sim.array.image import GroupImage, Image, MatrixImage
from crossvote.swstack.mapping.codes import FaultLaw, predicted_variance

#: Rates at which the variance is computed; between them it is interpolated.
_GRID = 9


@dataclass(frozen=True, eq=False)
class MatrixLaw:
    """The law of one matrix.

    Attributes:
        planes: B. column_scale: whether each output has a scale of its own.
        step: float32[N, 1], integers of an output are multiples of it. most: float32[N, 1], their largest magnitude.
        rates: float64[r], ascending from 0. deviation: float32[r, N, 1], of the error of a weight in integers.
    """

    planes: int
    column_scale: bool
    step: torch.Tensor
    most: torch.Tensor
    rates: np.ndarray
    deviation: torch.Tensor

    def to(self, device: torch.device) -> MatrixLaw:
        return MatrixLaw(
            self.planes,
            self.column_scale,
            self.step.to(device),
            self.most.to(device),
            self.rates,
            self.deviation.to(device),
        )

    def perturbed(self, weight: torch.Tensor, rate: float, generator: torch.Generator) -> torch.Tensor:
        """The weights [N, K] as a chip with a share ``rate`` of stuck cells holds them, differentiable.

        Weights are quantized as the compiler does it (the gradient passes straight through), shrink by 1 - rate and get
        errors that grow with the scale, through which a large weight feels what it costs its output.
        """
        largest = weight.abs().amax(dim=1, keepdim=True)
        if not self.column_scale:
            largest = largest.max().expand_as(largest)
        scale = (largest / ((1 << self.planes) - 1)).clamp(min=torch.finfo(torch.float32).tiny)
        with torch.no_grad():
            integers = torch.round(torch.round(weight / scale) / self.step) * self.step
            rounding = torch.minimum(torch.maximum(integers, -self.most), self.most) * scale - weight
        at = float(np.interp(rate, self.rates, np.arange(len(self.rates))))
        low = min(int(at), len(self.rates) - 2)
        deviation = torch.lerp(self.deviation[low], self.deviation[low + 1], at - low)
        noise = torch.randn(weight.shape, generator=generator, device=weight.device, dtype=weight.dtype)
        return (weight + rounding) * (1 - rate) + noise * (deviation * scale)


def matrix_laws(image: Image, most_rate: float, sa0_sa1: tuple[float, float] = PAPER_SA0_SA1) -> dict[str, MatrixLaw]:
    """The law of every matrix of an image, by name, for fault rates up to ``most_rate``."""
    rates = most_rate * np.linspace(0, 1, _GRID) ** 2  # deviations grow as the root of the rate
    laws = {}
    for group in image.groups:
        driven = group.kept_inputs.astype(float)
        variance = np.stack([predicted_variance(group, driven, FaultLaw.of(rate, sa0_sa1)) for rate in rates])
        deviation = np.sqrt(variance / max(1.0, driven.sum())).astype(np.float32)
        for matrix in group.matrices:
            laws[matrix.name] = _matrix_law(group, matrix, rates, deviation)
    return laws


def _matrix_law(group: GroupImage, matrix: MatrixImage, rates: np.ndarray, deviation: np.ndarray) -> MatrixLaw:
    span = slice(matrix.first_output, matrix.first_output + matrix.outputs)
    lowest = np.full(group.outputs, group.planes, np.int64)
    used = group.column_map.used
    np.minimum.at(lowest, group.column_map.output[used], group.column_map.plane[used])
    lowest[lowest == group.planes] = 0  # pruned
    step = np.left_shift(1, lowest[span]).astype(np.float32)[:, None]
    return MatrixLaw(
        planes=group.planes,
        column_scale=len(matrix.scale) > 1,
        step=torch.from_numpy(step),
        most=torch.from_numpy((1 << group.planes) - step),
        rates=rates,
        deviation=torch.from_numpy(deviation[:, span, None].copy()),
    )
