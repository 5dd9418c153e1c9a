"""Which rows of a matrix least squares can best do without: the Optimal Brain Surgeon for whole rows."""

from __future__ import annotations

import torch

#: Share of the mean square of an input that is added to every input's, so that the inverse exists.
_DAMPING = 1e-3


def keep_rows(moment: torch.Tensor, weight: torch.Tensor, prune: int) -> torch.Tensor:
    """The rows to keep, bool[K], so that y = x W + b stays as near as the others and b can make it.

    Rows go in the order of what their removal adds to the squared error when all that are left are solved again,
    |w_j|^2 / [H^-1]_jj, H^-1 and W being those of the rows left (Hassibi and Stork 1993, equation 5; for rows of
    transformers: ZipLM, Kurtic et al. 2023). O(K^2 prune) for K rows.

    Args:
        moment: float64[K + 1, K + 1], sum of x^T x with a last input that is always one, for b.
        weight: float[K, N].
        prune: how many rows go.
    """
    rows = len(weight)
    damped = moment.double().clone()
    damped.diagonal()[:rows] += _DAMPING * damped.diagonal()[:rows].mean()
    # In single precision from here on, twice as fast: what is removed is solved exactly afterwards.
    inverse = torch.linalg.inv(damped)[:rows, :rows].float()
    left, keep = weight.float().clone(), torch.ones(rows, dtype=torch.bool, device=weight.device)
    at_once = max(1, rows // 256)  # few: of two rows that can stand in for each other only one may go
    while prune:
        count = min(at_once, prune)
        error = left.square().sum(dim=1) / inverse.diagonal().clamp_min(torch.finfo(torch.float32).tiny)
        gone = error.masked_fill(~keep, torch.inf).topk(count, largest=False).indices
        across = inverse[:, gone]
        step = torch.linalg.solve(inverse[gone][:, gone], torch.cat([left[gone], across.T], dim=1))
        left -= across @ step[:, : left.shape[1]]
        inverse -= across @ step[:, left.shape[1] :]
        keep[gone] = False
        prune -= count
    return keep
