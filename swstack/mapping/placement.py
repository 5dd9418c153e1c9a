"""Bit lines for the codes of a word-line group.

* ``in_place``: the dense layout. Output j of a group occupies B adjacent bit lines of column block j // (C // B); the
  bit lines of pruned outputs and of planes that are left out are holes, and copies go there (arXiv 2401.11664,
  Algorithm 2).
* ``packed``: only kept outputs, each with all its lines in one crossbar, next-fit in output order.
* ``free``: only kept outputs, side by side in output order; an output may reach into the next crossbar.
* ``apart``: only kept outputs, as many crossbars as ``free`` takes, and line after line dealt to the next column block:
  the lines of an output, its copies among them, lie in different crossbars as long as there are enough, else far apart.
* ``beside``: every output, pruned ones too, has room for its copies; whole outputs in a crossbar.

Checksums (``crossvote.sim.array.checksum``) come last, one for what each output peripheral serves, on bit lines that
are left: in the column block where it begins first, then in the nearest, then in appended ones.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.array.column_map import ColumnMap
from crossvote.sim.array.image import next_fit
from crossvote.sim.common.errors import UserError
from crossvote.swstack.mapping.scheme import Allocation, Placement, code_lines


def dense_lines(outputs: int, slices: int, columns: int) -> int:
    """Bit lines of the crossbars that hold ``outputs`` unprotected outputs of ``slices`` lines, whole ones in each."""
    return math.ceil(outputs / (columns // slices)) * columns


def place_outputs(
    allocation: Allocation,
    slices: int,
    columns: int,
    placement: Placement,
    name: str = "",
    cell_bits: int = 1,
    spare: int = 0,
) -> ColumnMap:
    """Give every line of every kept output's code a bit line.

    Args:
        slices: bit lines of an unprotected output. columns: bit lines of a crossbar. name: of the group, for messages.
        cell_bits: planes per bit line. spare: bit lines of each crossbar that ``packed`` leaves free, where it can.

    In place, a plane's first line stays at home; the others go to holes of their own column block first, then to those
    of the nearest block (the lower one of two), and to appended blocks when no hole is left. At least one column block
    is taken.

    Raises:
        UserError: one output does not fit into a crossbar.
    """
    widths = allocation.widths
    widest = slices if placement == "in_place" else int(widths.max(initial=0))
    if widest > columns and placement not in ("free", "apart"):
        raise UserError(
            f"group {name}: an output takes {widest} bit lines, more than the {columns} of a crossbar; "
            "use wider crossbars, fewer weight bits or fewer replicas."
        )
    kept = allocation.code_of >= 0
    outputs = np.repeat(np.flatnonzero(kept), widths[kept])
    parts = [code_lines(code) for code in allocation.codes]
    content = np.concatenate([parts[code] for code in allocation.code_of[kept]] or [np.zeros((0, 5), np.int8)])
    if placement == "in_place":
        per_block = columns // slices
        home = _first_lines(len(kept), per_block, slices, columns)
        lines = home[outputs] + content[:, 0] // cell_bits
        moved = np.zeros(len(outputs), np.bool_)
        moved[1:] = (np.diff(outputs) == 0) & (np.diff(content[:, 0]) == 0)
        free = np.zeros(math.ceil(len(kept) / per_block) * columns, np.bool_)
        free[(home[:, None] + np.arange(slices)).ravel()] = True
        free[lines[~moved]] = False
        blocks = len(free) // columns
        lines[moved], blocks = _hosts(outputs[moved] // per_block, np.flatnonzero(free), columns, blocks)
    else:
        if placement == "packed":
            first, used = _next_fit(widths[kept], columns, columns - spare if widest + spare <= columns else columns)
        elif placement in ("free", "apart"):
            first, used = np.cumsum(widths[kept]) - widths[kept], int(widths.sum())
        else:
            grid = _first_lines(len(kept), columns // max(1, widest), widest, columns)
            first, used = grid[kept], int(grid[-1]) + widest
        within = np.arange(len(outputs)) - np.repeat(np.cumsum(widths[kept]) - widths[kept], widths[kept])
        lines = np.repeat(first, widths[kept]) + within
        blocks = max(1, math.ceil(used / columns))
        if placement == "apart":
            lines = _dealt(len(lines), blocks, columns)
    fields = np.zeros((5, blocks * columns), np.int8)
    fields[:, lines] = content.T
    output = np.full(blocks * columns, -1, np.int32)
    output[lines] = outputs
    plane, shift, copy, replica, flipped = fields
    return ColumnMap(output, plane, replica, flipped.astype(np.bool_), shift, copy)


def place_checksums(
    column_map: ColumnMap, bits: int, columns: int, opc_columns: int, opc_outputs: int, name: str = ""
) -> ColumnMap:
    """The map with a checksum of ``bits`` bit lines for each output peripheral of ``opc_columns`` and ``opc_outputs``.

    Raises:
        UserError: one output and its checksum do not fit into an output peripheral.
    """
    widest = int(np.bincount(column_map.output[column_map.used], minlength=1).max())
    if widest + bits > opc_columns:
        raise UserError(
            f"group {name}: an output and its checksum take {widest + bits} bit lines, more than the {opc_columns} of "
            "an output peripheral; use fewer checksum bits, or one that serves more."
        )
    bundles = next_fit(column_map, opc_columns - bits, opc_outputs, name)
    home = np.repeat([bundle.lines[0] // columns for bundle in bundles], bits).astype(np.int64)
    free = np.flatnonzero(~column_map.used)
    hosts, blocks = _hosts(home, free, columns, len(column_map) // columns)
    check, checksum = np.full(blocks * columns, -1, np.int32), np.full(blocks * columns, -1, np.int8)
    for number, bundle in enumerate(bundles):
        check[bundle.lines] = number
    check[hosts] = np.repeat(np.arange(len(bundles)), bits)
    checksum[hosts] = np.tile(np.arange(bits), len(bundles))
    return replace(column_map.widened(blocks * columns), check=check, checksum=checksum)


def _dealt(lines: int, blocks: int, columns: int) -> NDArray[np.int64]:
    """Bit lines for ``lines`` lines in their order, dealt to the column blocks in turn.

    Lines that meet in a crossbar again lie about 0.38 of its width apart: the golden ratio keeps those after them away
    from each other, too.
    """
    step = next(s for s in range(max(1, round(0.382 * columns)), columns + 1) if math.gcd(s, columns) == 1)
    place, block = np.divmod(np.arange(lines, dtype=np.int64), blocks)
    dealt: NDArray[np.int64] = block * columns + place * step % columns
    return dealt


def _first_lines(outputs: int, per_block: int, width: int, columns: int) -> NDArray[np.int64]:
    """First bit line of each output when every crossbar holds ``per_block`` whole outputs."""
    block, place = np.divmod(np.arange(outputs, dtype=np.int64), per_block)
    home: NDArray[np.int64] = block * columns + place * width
    return home


def home_lines(outputs: int, slices: int, columns: int) -> NDArray[np.int64]:
    """Bit lines of the dense layout, int64[outputs, slices]."""
    return _first_lines(outputs, columns // slices, slices, columns)[:, None] + np.arange(slices)


def _next_fit(widths: NDArray[np.int64], columns: int, room: int) -> tuple[NDArray[np.int64], int]:
    """First line of each output when none is split over two crossbars, and the lines used up to the last one.

    room: lines of each crossbar that are taken.
    """
    first = np.zeros(len(widths), np.int64)
    at = 0
    for i, width in enumerate(widths.tolist()):
        if at % columns + width > room:
            at = (at // columns + 1) * columns
        first[i] = at
        at += width
    return first, at


def _hosts(
    home: NDArray[np.int64], holes: NDArray[np.int64], columns: int, blocks: int
) -> tuple[NDArray[np.int64], int]:
    """A hole for each copy whose output lives in column block ``home``, and the number of column blocks then.

    Linear in the number of copies plus those left without a hole in their own block times column blocks.
    """
    free: list[list[int]] = [[] for _ in range(blocks)]
    for line in holes[::-1].tolist():
        free[line // columns].append(line)
    hosts = np.array([free[block].pop() if free[block] else -1 for block in home.tolist()], np.int64)
    left = np.flatnonzero(hosts < 0)
    for at, i in enumerate(left.tolist()):
        block = int(home[i])
        nearest = min((b for b in range(blocks) if free[b]), key=lambda b: (abs(b - block), b), default=None)
        if nearest is None:
            appended = left[at:]
            hosts[appended] = blocks * columns + np.arange(len(appended))
            return hosts, blocks + math.ceil(len(appended) / columns)
        hosts[i] = free[nearest].pop()
    return hosts, blocks
