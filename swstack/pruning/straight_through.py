"""The step function of the gates, its straight-through estimators, and the gated weight."""

from __future__ import annotations

from typing import Any, Literal

import torch

from crossvote.swstack.pruning.config import GateGradient

#: dh/da by which the gradient passes the step function h; softplus is the paper's (its derivative is the sigmoid).
Estimator = Literal["softplus", "linear", "relu", "leaky"]

_LEAK = 0.1


def estimator_slope(values: torch.Tensor, estimator: Estimator) -> torch.Tensor:
    """The estimator's dh/da at ``values``, same shape."""
    if estimator == "softplus":
        return torch.sigmoid(values)
    if estimator == "linear":
        return torch.ones_like(values)
    return torch.where(values > 0, 1.0, 0.0 if estimator == "relu" else _LEAK)


class StraightThrough(torch.autograd.Function):
    """Forward: the 0/1 mask; backward: the gradient times a given slope."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, mask: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        """The mask as floats; ``values`` only receives the gradient."""
        ctx.save_for_backward(slope)
        return mask.to(values.dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Gradient with respect to ``values``."""
        (slope,) = ctx.saved_tensors
        return grad * slope, None, None


class SignGatedWeight(torch.autograd.Function):
    """t = w r c with AutoPrune's gradient: dL/dc_j = sum_i dL/dt_ij sgn(w_ij) r_i, and the same for rows."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """weight K x N, rows (K, 1), columns (1, N)."""
        ctx.save_for_backward(weight, rows, columns)
        return weight * rows * columns

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Gradients with respect to weight, rows and columns."""
        weight, rows, columns = ctx.saved_tensors
        signed = grad * weight.sign()
        by_rows = (signed * columns).sum(dim=1, keepdim=True)
        by_columns = (signed * rows).sum(dim=0, keepdim=True)
        return grad * rows * columns, by_rows, by_columns


def gated_weight(
    weight: torch.Tensor, rows: torch.Tensor | None, columns: torch.Tensor | None, gradient: GateGradient
) -> torch.Tensor:
    """weight K x N times row factors float[K] and column factors float[N]; None stands for all ones."""
    if gradient == "sign":
        by_row = weight.new_ones(weight.shape[0]) if rows is None else rows
        by_column = weight.new_ones(weight.shape[1]) if columns is None else columns
        gated: torch.Tensor = SignGatedWeight.apply(weight, by_row[:, None], by_column[None, :])  # type: ignore[no-untyped-call]
        return gated
    if rows is not None:
        weight = weight * rows[:, None]
    return weight if columns is None else weight * columns[None, :]
