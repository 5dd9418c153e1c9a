"""What stuck cells do to the weights of a mapped model, as a law to draw from while training.

Given the code of an output, the error of a weight is a sum over cells of both crossbars of the pair; its mean is -p
times the weight, its variance that of ``codes.predicted_variance``.
"""

from __future__ import annotations

import numpy as np
import torch

from crossvote.sim.array.faults import PAPER_SA0_SA1
from crossvote.sim.array.image import GroupImage, Image, MatrixImage
from crossvote.swstack.mapping.codes import FaultLaw, predicted_variance
from crossvote.swstack.pruning.code_law import MatrixLaw

#: Rates at which the variance is computed; between them it is interpolated.
_GRID = 9


def matrix_laws(image: Image, most_rate: float, sa0_sa1: tuple[float, float] = PAPER_SA0_SA1) -> dict[str, MatrixLaw]:
    """The law of every matrix of an image, by name, for fault rates up to ``most_rate``."""
    rates = most_rate * np.linspace(0, 1, _GRID) ** 2  # deviations grow as the root of the rate
    compensated = image.protection.get("compensated_rate")
    gain = 1.0 if compensated is None else 1 / (1 - float(compensated))
    laws = {}
    for group in image.groups:
        driven = group.kept_inputs.astype(float)
        variance = np.stack([predicted_variance(group, driven, FaultLaw.of(rate, sa0_sa1)) for rate in rates])
        deviation = np.sqrt(variance / max(1.0, driven.sum())).astype(np.float32)
        for matrix in group.matrices:
            laws[matrix.name] = _matrix_law(group, matrix, rates, deviation, gain)
    return laws


def _matrix_law(
    group: GroupImage, matrix: MatrixImage, rates: np.ndarray, deviation: np.ndarray, gain: float
) -> MatrixLaw:
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
        gain=gain,
    )
