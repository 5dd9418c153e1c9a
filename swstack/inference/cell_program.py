"""Putting a chip with many faults under a matrix on a CPU: cells as bytes, bit line by bit line, read at once.

The programmed cells of a row block are unpacked, the stuck ones overwritten where they lie on the chip, the two sides
of every pair subtracted, and the lines of each output added up with their weights and signs; lines that vote are kept
one by one. Bit lines lie along the word lines here, so that all of it moves whole rows of bytes. Nothing is looked up
fault by fault. Equal, integer for integer, to the other paths of ``crossvote.swstack.inference.convert``.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from crossvote.sim.array.faults import FaultMap
from crossvote.swstack.inference.dense_program import DenseVotes, votes_of
from crossvote.swstack.inference.placed_group import PlacedGroup
from crossvote.swstack.inference.products import integer_matmul_is_exact, votes_are_compiled

#: Faults that are put in place at once, and differences that are added up at once, so that what is made of them stays
#: in the processor's cache.
_FAULTS, _DIFFERENCES = 1 << 14, 1 << 21


def cells_from(voting: bool) -> float:
    """Share of a group's cells that are stuck from which on this is faster than one fault after the other.

    At 1 % it is so by little on a processor with AVX2 (768 x 768, seen), at more by far. Where votes are no part of the
    compiled product, each is computed with a product for every replica but one, which costs more than the votes' few
    errors do at 1 to 5 % (seen with float32 products). Where those two meet was not measured: 8 % is an estimate, and
    so is half of it for integer products.
    """
    if not voting or votes_are_compiled():
        return 0.01
    return 0.04 if integer_matmul_is_exact("cpu") else 0.08


class CellProgram:
    """The bit lines of a word-line group, as they are programmed.

    Memory: one bit for every bit of its cells. Args:
        placed: the group.
    """

    def __init__(self, placed: PlacedGroup) -> None:
        self.placed = placed
        g, dtype = placed.geometry, placed.weight.dtype
        sign = np.where(placed.flipped, -1, 1)
        used = np.flatnonzero(placed.output >= 0)
        single = used[placed.replica[used] == 0]  # what votes counts as its first replica does, plus a correction
        outputs, of = np.unique(placed.output[single], return_inverse=True)
        count = np.bincount(of, minlength=len(outputs))
        longest = np.argsort(-count, kind="stable")
        #: Outputs, those with most terms first.
        self._outputs = outputs[longest].astype(np.int64)
        place = np.empty(len(outputs), np.int64)
        place[longest] = np.arange(len(outputs))
        single = single[np.argsort(place[of], kind="stable")]
        first = np.cumsum(count[longest]) - count[longest]
        #: The i-th term's first line of the first outputs, for every i, and what its difference counts.
        self._rounds: list[tuple[NDArray[np.int64], NDArray[np.signedinteger]]] = []
        for i in range(int(count.max(initial=0))):
            lines = single[first[count[longest] > i] + i]
            factor = (sign[lines] * (1 << placed.shift[lines].astype(np.int64))).astype(dtype)
            self._rounds.append((lines, factor[:, None]))
        #: Lines that vote, replica by replica, per number of replicas, and the signs of their differences.
        self._votes: list[tuple[int, NDArray[np.int64], NDArray[np.int8]]] = []
        for replicas in np.unique(placed.replicas[used]).tolist():
            if replicas > 1:
                lines = used[placed.replicas[used] == replicas]
                lines = lines[np.lexsort((placed.term[lines], placed.replica[lines]))]
                self._votes.append((replicas, lines, sign[lines].astype(np.int8)[:, None]))
        #: Bits of the programmed cells of each row block: uint8[cell bits, column blocks, 2, columns, rows / 8].
        self._bits = []
        for block in range(g.row_blocks):
            cells = placed.block_cells(block).reshape(2, g.rows, g.column_blocks, g.columns).transpose(2, 0, 3, 1)
            planes = [np.packbits(cells >> bit & 1, axis=-1) for bit in range(placed.cell_bits)]
            self._bits.append(np.stack(planes))

    def apply(self, faults: FaultMap) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """What the chip makes of the group, as ``DenseProgram.apply`` has it.

        Returns:
            The integers of all outputs [N, K] with the first replica of the terms that vote, and for each replica
            count what its other lines hold beyond the first replica's, int8[lines, K], replica by replica.

        Raises:
            UserError: the fault map is for another chip.
        """
        p, g = self.placed, self.placed.geometry
        g.check_fits(faults)
        weight = np.zeros_like(p.weight)
        each = 2 if p.vote == "alone" else 1
        votes = [
            np.empty((len(lines) - len(lines) // count, p.inputs), np.int8)
            for count, lines, _ in self._votes
            for _ in range(each)
        ]
        blocks = max(1, _DIFFERENCES // (len(p.output) * g.rows))
        for first in range(0, g.row_blocks, blocks):
            stop = min(first + blocks, g.row_blocks)
            span = slice(first * g.rows, min(stop * g.rows, p.inputs))
            sides = [side[:, : span.stop - span.start] for side in self._read(first, stop, faults)]
            difference = sides[-1]
            total = np.zeros((len(self._outputs), difference.shape[1]), weight.dtype)
            for lines, factor in self._rounds:
                own = np.take(difference, lines, axis=0).astype(weight.dtype, copy=False)
                own *= factor
                total[: len(lines)] += own
            weight[self._outputs, span] = total
            for at, (count, lines, sign) in enumerate(self._votes):
                for values, side in zip(votes[each * at :], sides[:each], strict=False):
                    own = (np.take(side, lines, axis=0) * sign).reshape(count, len(lines) // count, -1)
                    values[:, span] = (own[1:] - own[:1]).reshape(len(values), -1)
        if not p.driven.all():
            for array in (weight, *votes):
                array[:, ~p.driven] = 0
        return torch.from_numpy(weight), [torch.from_numpy(values) for values in votes]

    def votes_of(self, values: list[torch.Tensor], first_output: int, outputs: int) -> list[DenseVotes]:
        """The voted terms of ``outputs`` outputs from ``first_output`` on, from what ``apply`` gave."""
        voting = [(count, self.placed.output[lines], self.placed.shift[lines]) for count, lines, _ in self._votes]
        return votes_of(self.placed, voting, values, first_output, outputs)

    def _read(self, first: int, stop: int, faults: FaultMap) -> list[NDArray[np.int8]]:
        """What the pairs of some row blocks read as, int8[lines, word lines]: positive minus negative; before it,
        where crossbars vote alone, what the positive ones add, and what the negative ones."""
        g = self.placed.geometry
        shape = (g.column_blocks, g.columns, (stop - first) * g.rows)
        read = [np.empty(shape, np.int8) for _ in range(3 if self.placed.vote == "alone" else 1)]
        for block in range(first, stop):
            levels = self._levels(block, faults).view(np.int8)
            at = slice((block - first) * g.rows, (block - first + 1) * g.rows)
            np.subtract(levels[:, 0], levels[:, 1], out=read[-1][:, :, at])
            if len(read) > 1:
                read[0][:, :, at] = levels[:, 0]
                np.negative(levels[:, 1], out=read[1][:, :, at])
        return [side.reshape(-1, shape[2]) for side in read]

    def _levels(self, block: int, faults: FaultMap) -> NDArray[np.uint8]:
        """What the cells of a row block read as, uint8[column blocks, 2, columns, rows]."""
        p, g = self.placed, self.placed.geometry
        read = self._unpacked(block, 0)
        for bit in range(1, p.cell_bits):
            read |= self._unpacked(block, bit) << np.uint8(bit)
        first = 2 * (g.first_pair + block * g.column_blocks)
        cells, stuck_at = faults.of_crossbars(first, first + 2 * g.column_blocks)
        flat, start = read.reshape(-1), first * g.rows * g.columns
        for at in range(0, len(cells), _FAULTS):
            level = stuck_at[at : at + _FAULTS].view(np.uint8)
            if p.last_level > 1:
                level = level * np.uint8(p.last_level)
            flat[self._places(cells[at : at + _FAULTS] - start)] = level
        return read

    def _unpacked(self, block: int, bit: int) -> NDArray[np.uint8]:
        """A bit of the programmed cells of a row block, uint8[column blocks, 2, columns, rows]."""
        bits, rows = self._bits[block][bit], self.placed.geometry.rows
        if rows % 8:
            return np.unpackbits(bits, axis=-1, count=rows)
        return np.unpackbits(bits.reshape(-1)).reshape(*bits.shape[:-1], rows)  # nearly twice as fast

    def _places(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """Cells counted from a row block's first one, in the order of crossbar, bit line and word line."""
        rows, columns = self.placed.geometry.rows, self.placed.geometry.columns
        if rows & (rows - 1) or columns & (columns - 1):
            line, bit_line = np.divmod(cells, columns)
            crossbar, word_line = np.divmod(line, rows)
            return (crossbar * columns + bit_line) * rows + word_line
        row_bits, column_bits = rows.bit_length() - 1, columns.bit_length() - 1
        word_line = cells >> column_bits
        word_line &= rows - 1
        bit_line = cells & (columns - 1)
        bit_line <<= row_bits
        cells &= -rows * columns
        cells |= bit_line
        cells |= word_line
        return cells
