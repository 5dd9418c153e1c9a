"""What outvoted places add to the product of a matrix, as a sparse product."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from crossvote.swstack.inference.int8_product import VotedTerms


class Correction(nn.Module):
    """Median of the replicas' errors at the places where it can differ from 0; all have the same r replicas.

    Args:
        inputs: K. replicas: r. k, value: int64[n], input and size of each error. offsets: int64[places * r + 1]:
            entries offsets[i * r + j] to offsets[i * r + j + 1] - 1 are the error vector of replica j at place i.
        output: int64[places], ascending, within the matrix. weight: int64[places], 2^shift.
    """

    k: torch.Tensor
    value: torch.Tensor
    offsets: torch.Tensor
    weight: torch.Tensor
    outputs: torch.Tensor
    output_offsets: torch.Tensor
    columns: torch.Tensor | None

    def __init__(
        self,
        inputs: int,
        replicas: int,
        k: NDArray[np.int64],
        value: NDArray[np.int64],
        offsets: NDArray[np.int64],
        output: NDArray[np.int64],
        weight: NDArray[np.int64],
    ) -> None:
        super().__init__()
        self.replicas = replicas
        self.places = len(output)
        columns, place_in_columns = np.unique(k, return_inverse=True)
        # Picking few columns is cheaper than transposing all of them; the two meet at about a third.
        few = 3 * len(columns) < inputs
        outputs, first_place = np.unique(output, return_index=True)
        # Largest sum an output can get from 8-bit inputs: float32 adds it up exactly below 2^24.
        reach = np.add.reduceat(np.append(np.abs(value), 0), offsets[:-1]) * (np.diff(offsets) > 0)
        bound = np.add.reduceat(reach.reshape(-1, replicas).max(axis=1) * weight * 128, first_place).max()
        self.exact = torch.float32 if bound < 1 << 24 else torch.float64
        for name, array in {
            "k": place_in_columns if few else k,
            "value": value.astype(np.float32),
            "offsets": offsets,
            "weight": weight.astype(np.float32),
            "outputs": outputs,
            "output_offsets": np.append(first_place, len(output)),
        }.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)
        self.register_buffer("columns", torch.from_numpy(columns) if few else None, persistent=False)

    def voted_terms(self) -> VotedTerms:
        """The same for the compiled product."""
        outputs = self.outputs.repeat_interleave(self.output_offsets.diff())
        return VotedTerms(self.replicas, outputs, self.weight, named=(self.value, self.k, self.offsets, self.columns))

    def add_to(self, y: torch.Tensor, x: torch.Tensor, transposed: torch.Tensor | None) -> None:
        """y [V, N] += 2^shift * median over replicas.

        The inputs come as x float [V, K] that can hold the sums exactly and, if ``columns`` is None, also transposed.
        """
        if self.columns is not None:
            transposed = x.index_select(1, self.columns).T.contiguous()
        assert transposed is not None
        errors = _weighted_sums(self.k, transposed, self.offsets, self.value)
        total = median(errors.view(self.places, self.replicas, -1).unbind(1))
        total = total.to(torch.promote_types(total.dtype, self.exact))
        if len(self.outputs) < self.places:
            every = torch.arange(self.places, device=y.device)
            total = _weighted_sums(every, total, self.output_offsets, self.weight)
        else:
            total = total * self.weight[:, None]
        y.index_add_(1, self.outputs, total.T.to(y.dtype))


def _weighted_sums(
    index: torch.Tensor, rows: torch.Tensor, offsets: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Sparse times dense: row i is the sum of weights[j] * rows[index[j]] over offsets[i] <= j < offsets[i + 1]."""
    return functional.embedding_bag(
        index, rows, offsets, mode="sum", per_sample_weights=weights.to(rows.dtype), include_last_offset=True
    )


def median(replicas: Sequence[torch.Tensor]) -> torch.Tensor:
    """Elementwise median of an odd number of arrays: bubble passes of minima and maxima.

    O(r^2) operations on whole arrays, which for the few replicas in use is many times faster than ``torch.median``.
    """
    values = list(replicas)
    if len(values) == 3:  # one operation in three less
        low, high = torch.minimum(values[0], values[1]), torch.maximum(values[0], values[1])
        return torch.maximum(low, torch.minimum(high, values[2]))
    for last in range(len(values) - 1, len(values) // 2 - 1, -1):
        for i in range(last):
            low, high = torch.minimum(values[i], values[i + 1]), torch.maximum(values[i], values[i + 1])
            values[i], values[i + 1] = low, high
    return values[len(values) // 2]
