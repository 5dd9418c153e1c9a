"""Symmetric quantization of weights (NumPy) and activations (torch)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from crossvote.sim.common.errors import UserError
from crossvote.swstack.mapping.scheme import Scale


def quantize_weights(
    weights: NDArray[np.floating[Any]], bits: int, scale: Scale
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Symmetric sign-magnitude integers of ``weights`` [K, N]: q = clip(round(w / s)), s = max|w| / (2^(bits-1) - 1).

    Returns:
        q int32[K, N] and s float32[1] (scale "tensor") or float32[N] ("column"); s = 1 where all weights are 0.

    Raises:
        UserError: the weights are not a matrix, or hold NaN or infinity.
    """
    weights = np.asarray(weights, np.float32)
    if weights.ndim != 2 or weights.size == 0:
        raise UserError(f"weights of shape {weights.shape} are no matrix of K inputs x N outputs.")
    magnitude = np.abs(weights).max(axis=0)
    if not np.isfinite(magnitude).all():
        raise UserError(f"the weights hold NaN or infinity in output {int(np.argmin(np.isfinite(magnitude)))}.")
    if scale == "tensor":
        magnitude = magnitude.max(keepdims=True)
    top = (1 << (bits - 1)) - 1
    step = (magnitude / np.float32(top)).astype(np.float32)
    step[step == 0] = 1  # also when a denormal maximum underflows: those weights become 0
    q = np.clip(np.rint(weights / step), -top, top).astype(np.int32)
    return q, step


def activation_scale(x: torch.Tensor, bits: int, activations: Literal["token", "tensor"]) -> torch.Tensor:
    """Step of the inputs ``x`` [V, K]: max|x| / (2^(bits-1) - 1) per token [V, 1] or per tensor [1, 1].

    1 where all inputs are 0, so that they stay 0.
    """
    # amax() and amin() are vectorised in torch; vector_norm(inf) and aminmax along rows are not, and 15 times slower.
    dim = -1 if activations == "token" else (0, 1)
    step = torch.maximum(x.amax(dim, keepdim=True), -x.amin(dim, keepdim=True)) / activation_top(bits)
    return step.masked_fill_(step == 0, 1.0)


def activation_top(bits: int) -> int:
    """Largest integer that an input of ``bits`` bits becomes: the range is symmetric, without the most negative one."""
    return (1 << (bits - 1)) - 1


def round_activations(x: torch.Tensor, step: torch.Tensor, bits: int) -> torch.Tensor:
    """round(x / step) clipped to +-``activation_top``: integers, still as float."""
    top = activation_top(bits)
    return (x / step).round_().clamp_(-top, top)


def integer_type(bits: int) -> torch.dtype:
    """The integer type that holds two's complement inputs of ``bits`` bits: int8 for up to 8, else int32."""
    return torch.int8 if bits <= 8 else torch.int32


def quantize_activations(x: torch.Tensor, step: torch.Tensor, bits: int) -> torch.Tensor:
    """``round_activations`` as integers: int8 for up to 8 bits, else int32."""
    return round_activations(x, step, bits).to(integer_type(bits))
