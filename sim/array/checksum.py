"""Checksum bit lines: every crossbar pair checks its own sums while it computes (ABFT).

Huang and Abraham (IEEE Transactions on Computers, 1984) append to a matrix the sum of its columns, so that every
product carries its own check. Here a crossbar pair whose bit lines l read as d[k, l] = a+ - a- on word line k has m
more bit lines: line b holds, in the positive crossbar, bit b of

    r[k] = sum over l of d[k, l]  mod 2^m.

For any inputs x then sum over l of D_l - sum over b of 2^b C_b = x @ (sum_l d_l - sum_b 2^b c_b) is a multiple of 2^m,
where D and C are column sums after the input shift-add. A cell that reads wrong by one at word line k moves the
difference by x[k] (by 2^b x[k] on checksum line b) and is seen where that is no multiple of 2^m. The check needs no
knowledge of the inputs; it costs m bit lines of each crossbar, an adder for each output peripheral, and no time.

An image has a checksum for every OPC: over the bit lines that it serves, wherever they are, and over the row blocks
that it adds. The scheme's key ``checksum_bits`` places them; ``mismatches`` is what must then be counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.array.column_map import ColumnMap
from crossvote.sim.array.crossbar import read_cells
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import GroupImage
from crossvote.sim.common.errors import UserError


def checksum_cells(cells: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """What the checksum lines of a crossbar pair hold, uint8[2, rows, bits].

    Args:
        cells: uint8[2, rows, lines], programmed bits of the positive and the negative crossbar.

    Raises:
        UserError: not 1 to 16 bits.
    """
    if not 1 <= bits <= 16:
        raise UserError(f"a checksum of {bits} bits; it has 1 to 16 of them.")
    total = cells[0].sum(axis=1, dtype=np.int64) - cells[1].sum(axis=1, dtype=np.int64)
    held = np.zeros((2, cells.shape[1], bits), np.uint8)
    held[0] = (total[:, None] >> np.arange(bits)) & 1  # two's complement: the remainder of negative sums, too
    return held


def residues(cells: NDArray[np.uint8], checksum: NDArray[np.uint8], x: NDArray[np.integer]) -> NDArray[np.int64]:
    """What a crossbar pair finds for each input vector, int64[V]: 0 where nothing is wrong, else up to 2^bits - 1.

    Args:
        cells, checksum: uint8[2, rows, lines] and [2, rows, bits], as they read. x: [V, rows], integers that drive it.
    """
    difference = cells[0].sum(axis=1, dtype=np.int64) - cells[1].sum(axis=1, dtype=np.int64)
    bits = checksum.shape[2]
    weight = np.left_shift(np.int64(1), np.arange(bits))
    held = (checksum[0].astype(np.int64) - checksum[1]) @ weight
    found: NDArray[np.int64] = (x.astype(np.int64) @ (difference - held)) & ((1 << bits) - 1)
    return found


def with_checksums(packed: NDArray[np.uint8], column_map: ColumnMap, rows: int) -> NDArray[np.uint8]:
    """The one-bit cells of a group (``GroupImage.cells``) with what its checksum lines hold. ``rows``: done at once."""
    held = packed.copy()
    for start in range(0, packed.shape[1], rows):
        span = slice(start, start + rows)
        cells = np.unpackbits(packed[:, span], axis=-1, count=len(column_map))
        for number in range(column_map.checksums):
            covered, lines = column_map.checked_lines(number)
            cells[:, :, lines] = checksum_cells(cells[:, :, covered], len(lines))
        held[:, span] = np.packbits(cells, axis=-1)
    return held


def mismatches(
    group: GroupImage,
    x: NDArray[np.integer],
    faults: FaultMap | None,
    spans: Sequence[range],
    checksums: Iterable[int],
) -> NDArray[np.int64]:
    """In how many OPCs the checksum does not hold for each of the inputs x [V, K], int64[V], from cells alone.

    Args:
        spans: row blocks that each OPC adds. checksums: those of the map that are counted.

    Raises:
        UserError: the fault map is for another chip.
    """
    driven = np.zeros((len(x), group.row_blocks * group.rows), np.int64)
    driven[:, : group.inputs] = np.where(group.kept_inputs, x, 0)
    places = [group.column_map.checked_lines(number) for number in checksums]
    count = np.zeros(len(x), np.int64)
    for span in spans if places else ():
        found = np.zeros((len(places), len(x)), np.int64)
        for block in span:
            cells = read_cells(group, block, faults)
            own = driven[:, block * group.rows : (block + 1) * group.rows]
            for at, (covered, held) in enumerate(places):
                found[at] += residues(cells[:, :, covered], cells[:, :, held], own)
        count += np.count_nonzero(found & ((1 << group.column_map.checksum_bits) - 1), axis=0)
    return count
