"""What a single stuck pair of cells costs a weight that is programmed around it: the reach of the other lines decides.

A line of weight 2^s whose pair is stuck gives only d from lo to hi; the other lines of the output reach +-R together.
The weight v then misses max(0, lo 2^s - R - v, v - hi 2^s - R). Stuck cells of other lines of the same weight make R
smaller; that is left out, but for ``SHARE``.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from crossvote.swstack.inference.dense_program import DenseProgram

#: What pairs of cells can give where they are not whole: (lo, hi).
CLASSES = ((0, 1), (-1, 0), (0, 0), (1, 1), (-1, -1))
#: Part of the reach of the other lines that is counted on: some of their cells are stuck too.
SHARE = 0.5


def classes_of(stuck: torch.Tensor) -> torch.Tensor:
    """Whether each pair is of each class, bool[classes, lines, word lines], from what is stuck, [2, lines, words]."""
    positive, negative = stuck[0], stuck[1]
    low = positive.clamp(min=0) - negative.masked_fill(negative < 0, 1)
    high = positive.masked_fill(positive < 0, 1) - negative.clamp(min=0)
    return torch.stack([(low == own_low) & (high == own_high) for own_low, own_high in CLASSES])


def losses(weight: torch.Tensor, shift: torch.Tensor, reach: torch.Tensor, share: float = SHARE) -> torch.Tensor:
    """Squared distance missed, float32[classes, lines, K].

    Args:
        weight: [lines, K] integers of each line's output. shift: [lines].
        reach: [lines], of the output's other lines, of which ``share`` counts.
    """
    own = (1 << shift.int())[:, None].float()
    others = share * reach[:, None].float()
    value = weight.float()
    found = torch.empty((len(CLASSES), *value.shape), device=value.device)
    for loss, (low, high) in zip(found, CLASSES, strict=True):
        torch.maximum(low * own - others - value, value - (high * own + others), out=loss)
    return found.clamp_(min=0).square_()


#: Each class with the sides of the pair exchanged.
EXCHANGED = tuple(CLASSES.index((-high, -low)) for low, high in CLASSES)


def line_losses(dense: DenseProgram, lines: NDArray[np.int64], span: slice) -> torch.Tensor:
    """``losses`` of some lines of a group over a span of inputs, weighed by the output's squared scale; undriven: 0."""
    placed = dense.placed
    used = placed.output >= 0
    each = np.where(used, 1 << placed.shift.astype(np.int64), 0)
    whole = np.bincount(placed.output[used], weights=each[used], minlength=1)
    output = torch.from_numpy(placed.output[lines].astype(np.int64)).to(dense.device)
    shift = torch.from_numpy(placed.shift[lines].astype(np.int64)).to(dense.device)
    reach = torch.from_numpy(whole[placed.output[lines]] - each[lines]).to(dense.device)
    scale = torch.from_numpy(placed.scale).to(dense.device)[output]
    driven = torch.from_numpy(placed.driven[span]).to(dense.device)  # what is not driven does no harm
    loss = losses(dense.weight[:, span][output], shift, reach).mul_(scale.square()[:, None] * driven)
    if not placed.flipped[lines].any():
        return loss
    flipped = torch.from_numpy(placed.flipped[lines]).to(dense.device)[None, :, None]
    return torch.where(flipped, loss[list(EXCHANGED)], loss)
