"""Putting a chip with many faults under a matrix on a CPU: its bit lines as they read, added up all at once.

The bits of the programmed cells and those of the stuck ones lie alike, word line by word line, so that what the cells
read as is a handful of operations on whole words. The lines of each output are then added up with their weights and
signs; lines that vote are kept one by one. Nothing is looked up fault by fault. Equal, integer for integer, to the
other paths of ``crossvote.swstack.inference.convert``.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.stuck_planes import StuckPlanes, bits_of, words_of
from crossvote.sim.common.libraries import optional_library
from crossvote.sim.common.machine import has_avx2
from crossvote.swstack.inference.dense_program import DenseVotes, votes_of
from crossvote.swstack.inference.placed_group import PlacedGroup
from crossvote.swstack.inference.products import integer_matmul_is_exact, votes_are_compiled

#: Which crossbars of its pairs a line is the sum of: both, or where crossbars vote alone, one of them.
_BOTH, _POSITIVE, _NEGATIVE = range(3)


def cells_from(voting: bool) -> float:
    """Share of a group's cells that are stuck from which on this is faster than one fault after the other.

    Where votes are no part of the compiled product, each is computed with a product for every replica but one, which
    costs more than the votes' few errors do at 1 to 5 % (seen with float32 products). Where those two meet was not
    measured: 8 % is an estimate, and so is half of it for integer products.
    """
    if not voting:
        return 0.003  # where both take as long, of a BERT-base under ``code``
    if votes_are_compiled():
        return 0.007  # so that chips of 1 % have it: their groups are at 1 % but for chance
    return 0.04 if integer_matmul_is_exact("cpu") else 0.08


class _Rows(ctypes.Structure):
    """``Rows`` of the C++ source."""

    _fields_ = (
        ("count", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("offsets", "place", "factor", "row")),
        ("side", ctypes.c_int64),
    )


class _Group(ctypes.Structure):
    """``Group`` of the C++ source."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("programmed", "stuck", "sa1", "driven")),
        *(
            (name, ctypes.c_int64)
            for name in ("row_blocks", "cell_bits", "column_blocks", "columns", "words", "rows", "inputs")
        ),
    )


@dataclass(frozen=True, eq=False)
class Sums:
    """Rows that are added up of bit lines: row ``row[i]`` of entries offsets[i] to offsets[i + 1] - 1.

    Attributes:
        offsets: int64[n + 1]. place: int64[m], bit lines as they lie in [column blocks, 2, columns], those of positive
            crossbars. factor: int32[m], what each counts. row: int64[n]. side: which crossbars of the pairs.
    """

    offsets: NDArray[np.int64]
    place: NDArray[np.int64]
    factor: NDArray[np.int32]
    row: NDArray[np.int64]
    side: int = _BOTH

    def arguments(self) -> _Rows:
        arrays = (self.offsets, self.place, self.factor, self.row)
        return _Rows(len(self.row), *(array.ctypes.data for array in arrays), self.side)


class CellProgram:
    """The bit lines of a word-line group, as they are programmed.

    Memory: one bit for every bit of its cells. Args:
        placed: the group.
    """

    def __init__(self, placed: PlacedGroup) -> None:
        self.placed = placed
        g = placed.geometry
        sign = np.where(placed.flipped, -1, 1).astype(np.int32)
        used = np.flatnonzero(placed.output >= 0)
        single = used[placed.replica[used] == 0]  # what votes counts as its first replica does, plus a correction
        single = single[np.argsort(placed.output[single], kind="stable")]
        outputs, offsets = np.unique(placed.output[single], return_index=True)
        factor = sign[single] * (1 << placed.shift[single].astype(np.int32))
        offsets = np.append(offsets, len(single))
        self._weights = Sums(offsets, self._places(single), factor, outputs.astype(np.int64))
        #: Lines that vote, replica by replica, per number of replicas.
        self._votes: list[tuple[int, NDArray[np.int64]]] = []
        #: And what each holds beyond the first replica; twice where crossbars vote alone.
        self._beyond: list[Sums] = []
        for replicas in np.unique(placed.replicas[used]).tolist():
            if replicas > 1:
                lines = used[placed.replicas[used] == replicas]
                lines = lines[np.lexsort((placed.term[lines], placed.replica[lines]))]
                self._votes.append((replicas, lines))
                terms = len(lines) // replicas
                pairs = np.stack([lines[terms:], np.tile(lines[:terms], replicas - 1)], axis=1)
                factors = sign[pairs] * np.array([1, -1], np.int32)
                rows = np.arange(len(pairs))
                for side in (_POSITIVE, _NEGATIVE) if placed.vote == "alone" else (_BOTH,):
                    offsets = np.arange(0, pairs.size + 1, 2)
                    self._beyond.append(Sums(offsets, self._places(pairs.ravel()), factors.ravel(), rows, side))
        #: Bits of the programmed cells, uint64[row blocks, cell bits, column blocks, 2, columns, words].
        self._bits = np.stack([self._programmed(block) for block in range(g.row_blocks)])
        #: Word lines that are driven, uint64[row blocks, words]; None if all are.
        self._driven = None
        if not placed.driven.all():
            lines = np.zeros(g.row_blocks * g.rows, np.uint8)
            lines[: placed.inputs] = placed.driven
            self._driven = words_of(lines.reshape(g.row_blocks, g.rows))

    def _places(self, lines: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where bit lines of the group lie in [column blocks, 2, columns], in the positive crossbars."""
        return lines + lines // self.placed.geometry.columns * self.placed.geometry.columns

    def _programmed(self, block: int) -> NDArray[np.uint64]:
        """Bits of the cells of a row block, uint64[cell bits, column blocks, 2, columns, words]."""
        g = self.placed.geometry
        cells = self.placed.block_cells(block).reshape(2, g.rows, g.column_blocks, g.columns).transpose(2, 0, 3, 1)
        return np.stack([words_of(cells >> np.uint8(bit) & np.uint8(1)) for bit in range(self.placed.cell_bits)])

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
        first = 2 * g.first_pair
        planes = faults.planes(first, first + 2 * g.row_blocks * g.column_blocks)
        weight = np.zeros_like(p.weight)
        votes = [np.empty((len(sums.row), p.inputs), np.int8) for sums in self._beyond]
        for sums, result in zip((self._weights, *self._beyond), (weight, *votes), strict=True):
            self._add_up(planes, sums, result)
        return torch.from_numpy(weight), [torch.from_numpy(values) for values in votes]

    def votes_of(self, values: list[torch.Tensor], first_output: int, outputs: int) -> list[DenseVotes]:
        """The voted terms of ``outputs`` outputs from ``first_output`` on, from what ``apply`` gave."""
        voting = [(count, self.placed.output[lines], self.placed.shift[lines]) for count, lines in self._votes]
        return votes_of(self.placed, voting, values, first_output, outputs)

    def _add_up(self, planes: StuckPlanes, sums: Sums, result: NDArray[np.signedinteger]) -> None:
        """Write the rows of ``result`` [.., K] that ``sums`` names."""
        library = _library()
        if library is None:
            self._add_up_by_numpy(planes, sums, result)
            return
        arrays = (self._bits, planes.stuck, planes.sa1, self._driven)
        row_blocks, cell_bits, column_blocks, _, columns, words = self._bits.shape
        sizes = (row_blocks, cell_bits, column_blocks, columns, words, self.placed.rows, self.placed.inputs)
        group = _Group(*(None if array is None else array.ctypes.data for array in arrays), *sizes)
        add_up = getattr(library, f"add_up_{8 * result.itemsize}")
        add_up(ctypes.byref(group), ctypes.byref(sums.arguments()), result.ctypes.data)

    def _add_up_by_numpy(self, planes: StuckPlanes, sums: Sums, result: NDArray[np.signedinteger]) -> None:
        """What ``add_up`` of the C++ source does."""
        g, inputs = self.placed.geometry, self.placed.inputs
        stuck, sa1 = (plane.reshape(g.row_blocks, *self._bits.shape[2:]) for plane in (planes.stuck, planes.sa1))
        most = int(np.diff(sums.offsets).max(initial=0))
        for block, programmed in enumerate(self._bits):
            read = programmed & ~stuck[block] | sa1[block]
            if self._driven is not None:
                read &= self._driven[block]
            span = slice(block * g.rows, min((block + 1) * g.rows, inputs))
            rows = span.stop - span.start
            levels = np.zeros((*read.shape[1:4], rows), np.int8)
            for bit, words in enumerate(read):
                levels += bits_of(words, rows).astype(np.int8) << bit
            if sums.side == _NEGATIVE:
                levels[:, 0] = 0
            if sums.side != _POSITIVE:
                levels[:, 0] -= levels[:, 1]
            lines = levels.reshape(-1, rows)
            total = np.zeros((len(sums.row), rows), result.dtype)
            for i in range(most):
                some = np.flatnonzero(np.diff(sums.offsets) > i)
                entry = sums.offsets[some] + i
                factor = sums.factor[entry, None].astype(result.dtype)
                total[some] += lines[sums.place[entry]].astype(result.dtype) * factor
            result[sums.row, span] = total


@cache
def _library() -> ctypes.CDLL | None:
    """The compiled sums; None where no compiler makes them."""
    flags = ("-O3", "-std=c++17", *(("-mavx2",) if has_avx2() else ()))
    signatures = {f"add_up_{bits}": (None, (ctypes.c_void_p,) * 3) for bits in (8, 16, 32)}
    otherwise = "Faulty cells are added up without compiled code, which is slower"
    return optional_library(Path(__file__).with_suffix(".cpp"), flags, signatures, otherwise)
