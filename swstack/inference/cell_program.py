"""Putting a chip with many faults under a matrix whose copies are summed, on a CPU: cells as bytes, read at once.

The programmed cells of a row block are unpacked, the stuck ones overwritten where they lie on the chip, and the lines
of each output added up with their weights and signs. Nothing is looked up fault by fault, so the time hardly depends
on their number. Equal, integer for integer, to the other paths of ``crossvote.swstack.inference.convert``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.array.faults import FaultMap
from crossvote.swstack.inference.crossbar_linear import PlacedGroup

#: Share of a group's cells that are stuck from which on this is faster than one fault after the other.
CELLS_FROM = 0.01


class CellProgram:
    """The bit lines of a word-line group without votes.

    Args:
        placed: the group; no term of it may have replicas.
    """

    def __init__(self, placed: PlacedGroup) -> None:
        self.placed = placed
        dtype = placed.weight.dtype
        used = np.flatnonzero(placed.output >= 0)
        order = used[np.argsort(placed.output[used], kind="stable")]
        #: Lines output by output, or None where they lie so.
        self._order = None if np.array_equal(order, np.arange(len(placed.output))) else order
        self._outputs, self._starts = np.unique(placed.output[order], return_index=True)
        sign = np.where(placed.flipped, -1, 1)
        factor = np.where(placed.output >= 0, sign * (1 << placed.shift.astype(np.int64)), 0)
        self._factor = factor.astype(dtype).reshape(placed.geometry.column_blocks, 1, placed.geometry.columns)

    def apply(self, faults: FaultMap) -> NDArray[np.signedinteger]:
        """What the chip makes of the group: the integers of all outputs [N, K].

        Raises:
            UserError: the fault map is for another chip.
        """
        p, g = self.placed, self.placed.geometry
        g.check_fits(faults)
        weight = np.zeros_like(p.weight)
        if not len(self._outputs):
            return weight
        kept: slice | NDArray[np.int64] = self._outputs.astype(np.int64)
        if len(self._outputs) == len(weight):
            kept = slice(None)
        for block in range(g.row_blocks):
            span = slice(block * g.rows, min((block + 1) * g.rows, p.inputs))
            part = self._lines(block, faults)
            if self._order is not None:
                part = part[:, self._order]
            sums = np.add.reduceat(part, self._starts, axis=1, dtype=weight.dtype)
            weight[kept, span] = sums[: span.stop - span.start].T
        weight[:, ~p.driven] = 0
        return weight

    def _lines(self, block: int, faults: FaultMap) -> NDArray[np.signedinteger]:
        """Weighted differences of the pairs of a row block, [rows, lines]."""
        p, g = self.placed, self.placed.geometry
        cells = p.block_cells(block).reshape(2, g.rows, g.column_blocks, g.columns)
        read = np.ascontiguousarray(cells.transpose(2, 0, 1, 3))
        first = 2 * (g.first_pair + block * g.column_blocks)
        stuck, value = faults.of_crossbars(first, first + 2 * g.column_blocks)
        read.ravel()[stuck - first * g.rows * g.columns] = value.view(np.uint8) * np.uint8(p.last_level)
        levels = read.view(np.int8)
        weighted = (levels[:, 0] - levels[:, 1]) * self._factor
        lines: NDArray[np.signedinteger] = weighted.transpose(1, 0, 2).reshape(g.rows, -1)
        return lines
