"""Gradients through the chip: what comes out is exact and faulty, what goes back is straight through.

Rounding and medians have no useful derivative. The backward pass takes each matrix for the linear map that its cells
make of single inputs, faults and votes included, and rounding for the identity (Bengio et al. 2013, arXiv 1308.3432).
What is programmed does not learn; everything around it does: embeddings, LayerNorm, head.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch


class ChipLayer(Protocol):
    """A matrix on crossbars, as the backward pass sees it."""

    def chip_outputs(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs [..., N] for inputs [..., K], without a graph."""
        ...

    def effective_weight(self) -> torch.Tensor:
        """What the chip multiplies inputs by, float32 [N, K]."""
        ...


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: ChipLayer) -> torch.Tensor:
        ctx.layer = layer
        return layer.chip_outputs(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        weight = ctx.layer.effective_weight()
        return (gradient.to(weight.dtype) @ weight).to(gradient.dtype), None


def through_the_chip(layer: ChipLayer, x: torch.Tensor) -> torch.Tensor:
    """Outputs of ``layer``; with a graph if gradients are wanted, and the same integers either way.

    A compiled model leaves its graph here and comes back to it.
    """
    # Where nothing is compiled the decorator would take as long as two labels do.
    y: torch.Tensor = _outside(layer, x) if torch.compiler.is_compiling() else _outputs(layer, x)
    return y


def _outputs(layer: ChipLayer, x: torch.Tensor) -> torch.Tensor:
    if torch.is_grad_enabled() and x.requires_grad:
        y: torch.Tensor = _StraightThrough.apply(x, layer)  # type: ignore[no-untyped-call]
        return y
    with torch.no_grad():
        return layer.chip_outputs(x)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _outside(layer: ChipLayer, x: torch.Tensor) -> torch.Tensor:
    return _outputs(layer, x)
