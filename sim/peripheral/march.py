"""The self-test of crossbars in NumPy, the reference for ``crossvote.rtl.march``, and what a host makes of verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.march import verdict_layout
from crossvote.rtl.march_elements import TESTS, Order, SelfTest, top_level
from crossvote.rtl.tile_parameters import TileParameters
from crossvote.rtl.tile_registers import verdict_address_word
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Bundle, GroupImage


@dataclass(eq=False)
class CellBank:
    """Cells that can be written and read, some of them faulty; arrays [crossbars, rows, columns].

    Attributes:
        levels: uint8, what the cells hold. stuck: int8, 0 or 1 where a cell is stuck there, else -1.
        no_set, no_reset: bool, a write of 1 over 0, or of 0 over 1, fails. disturbed: bool, a read of 1 leaves 0.
    """

    levels: NDArray[np.uint8]
    stuck: NDArray[np.int8]
    no_set: NDArray[np.bool_] = None  # type: ignore[assignment]
    no_reset: NDArray[np.bool_] = None  # type: ignore[assignment]
    disturbed: NDArray[np.bool_] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        for name in ("no_set", "no_reset", "disturbed"):
            if getattr(self, name) is None:
                setattr(self, name, np.zeros(self.levels.shape, np.bool_))

    @classmethod
    def with_faults(cls, levels: NDArray[np.uint8], faults: FaultMap, first: int = 0) -> CellBank:
        """Cells of which the fault map holds some; crossbar 0 is the map's crossbar ``first``."""
        stuck = np.full(levels.shape, -1, np.int8)
        cells, value = faults.of_crossbars(first, first + len(levels))
        crossbar, word_line, bit_line = faults.coordinates(cells)
        stuck[crossbar - first, word_line, bit_line] = value
        return cls(levels.copy(), stuck)

    def write(self, lines: NDArray[np.bool_] | slice | int, level: int) -> None:
        """Write ``level`` into all cells of word lines."""
        blocked = self.no_set if level else self.no_reset
        old = self.levels[:, lines]
        self.levels[:, lines] = np.where(blocked[:, lines] & (old != level), old, level)

    def read(self, lines: NDArray[np.bool_] | slice | int) -> NDArray[np.uint8]:
        """What the cells of word lines read as; reading may disturb them."""
        stuck = self.stuck[:, lines]
        seen = np.where(stuck < 0, self.levels[:, lines], stuck).astype(np.uint8)
        self.levels[:, lines] = np.where(self.disturbed[:, lines], 0, self.levels[:, lines])
        return seen


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What a self-test found: bool[crossbars, rows, columns], and what it took.

    Attributes:
        read_one: a cell read 1 where 0 had been written. read_zero: the other way round.
        reads, writes: of word lines, or of segments of them that are read at once.
    """

    read_one: NDArray[np.bool_]
    read_zero: NDArray[np.bool_]
    reads: int
    writes: int

    @property
    def unstable(self) -> NDArray[np.bool_]:
        """Cells that were wrong both ways, so they are not stuck."""
        return self.read_one & self.read_zero


def self_test(test: SelfTest, bank: CellBank, adc_bits: int) -> Verdicts:
    """Run a self-test on crossbars that are tested at the same time; their cells hold its last pattern then."""
    rows = bank.levels.shape[1]
    wrong = {level: np.zeros(bank.levels.shape, np.bool_) for level in (0, 1)}
    counts = {True: 0, False: 0}
    for own in TESTS[test]:
        if own.order == Order.SEARCH:
            (operation,) = own.operations
            counts[False] += _search(bank, operation.level, top_level(rows, adc_bits), wrong[operation.level])
            continue
        for line in range(rows) if own.order == Order.UP else reversed(range(rows)):
            for operation in own.operations:
                counts[operation.write] += 1
                if operation.write:
                    bank.write(line, operation.level)
                else:
                    wrong[operation.level][:, line] |= bank.read(line) != operation.level
    return Verdicts(wrong[0], wrong[1], counts[False], counts[True])


def _search(bank: CellBank, level: int, top: int, wrong: NDArray[np.bool_]) -> int:
    """Read segments of word lines whose sums shall be ``level`` times their number; returns the number of reads."""
    rows = bank.levels.shape[1]
    line, size, reads = 0, 1 << top, 0
    while line < rows:
        reads += 1
        sums = bank.read(slice(line, line + size)).sum(axis=1, dtype=np.int64)
        differs = sums != level * size
        if size == 1:
            wrong[:, line] |= differs
        elif differs.any():
            size //= 2
            continue
        line += size
        size = min(line & -line, 1 << top)
    return reads


def tile_bank(parameters: TileParameters, group: GroupImage, bundle: Bundle, faults: FaultMap) -> CellBank:
    """The cells behind the tile of a bundle, programmed as the image says, of which the chip's fault map holds some.

    Crossbars are [OPC, row block, sign] in turn.

    Raises:
        UserError: the fault map is for another chip.
    """
    p, used = parameters, len(bundle.lines)
    levels = np.zeros((group.row_blocks, 2, p.rows, p.opc.columns), np.uint8)
    stuck = np.full(levels.shape, -1, np.int8)
    faults.check_fits(group.rows, group.columns, 2 * (group.first_pair + group.pairs))
    for block in range(group.row_blocks):
        levels[block, ..., :used] = group.block_cells(block)[..., bundle.lines]
        first = group.pair(block, 0)
        cells, value = faults.of_crossbars(2 * first, 2 * (first + group.column_blocks))
        crossbar, word_line, bit_line = faults.coordinates(cells)
        of_group = np.full((2, p.rows, len(group.column_map)), -1, np.int8)
        of_group[crossbar % 2, word_line, (crossbar // 2 - first) * group.columns + bit_line] = value
        stuck[block, ..., :used] = of_group[..., bundle.lines]
    shape = (-1, p.rows, p.opc.columns)
    return CellBank(levels.reshape(shape), stuck.reshape(shape))


def bus_verdicts(
    parameters: TileParameters,
    word: Callable[[int, int, int, int], int],
    reads: int,
    writes: int,
) -> Verdicts:
    """Verdicts on the crossbars of one row block, from the words of the VERDICT register.

    Args:
        word: gives the register's content for (opc, word line, group, word), the fields of VERDICT_ADDRESS.
    """
    p = parameters
    shape = (p.opcs, p.rows, p.opc.groups, p.opc.lanes, 2, 2)
    bits = np.zeros((*shape[:3], 32 * p.verdict_words), np.bool_)
    for opc in range(p.opcs):
        for line in range(p.rows):
            for group in range(p.opc.groups):
                for part in range(p.verdict_words):
                    own = word(opc, line, group, part) >> np.arange(32) & 1
                    bits[opc, line, group, 32 * part : 32 * (part + 1)] = own
    size = verdict_layout(p).size
    verdicts = bits[..., :size].reshape(shape).transpose(0, 4, 1, 2, 3, 5)
    found = verdicts.reshape(2 * p.opcs, p.rows, p.opc.columns, 2)
    return Verdicts(found[..., 0], found[..., 1], reads, writes)


def verdict_words(parameters: TileParameters, verdicts: Verdicts) -> list[tuple[int, int]]:
    """(word of VERDICT_ADDRESS, word of VERDICT) of all verdicts on the crossbars of a row block: ``bus_verdicts``
    makes the same of them.
    """
    p = parameters
    found = np.stack([verdicts.read_one, verdicts.read_zero], axis=-1)
    bits = found.reshape(p.opcs, 2, p.rows, p.opc.groups, p.opc.lanes, 2).transpose(0, 2, 3, 4, 1, 5)
    padded = np.zeros((*bits.shape[:3], 32 * p.verdict_words), np.bool_)
    padded[..., : 4 * p.opc.lanes] = bits.reshape(*bits.shape[:3], -1)
    words = np.packbits(padded, axis=-1, bitorder="little").view("<u4")
    return [
        (verdict_address_word(p, opc, line, group, part), int(words[opc, line, group, part]))
        for opc, line, group, part in np.ndindex(words.shape)
    ]


def tile_fault_map(group: GroupImage, bundle: Bundle, verdicts: Sequence[Verdicts], crossbars: int) -> FaultMap:
    """The stuck cells that self-tests of a tile found, as a fault map of the chip.

    Args:
        bundle: the bit lines behind the tile. verdicts: of each row block of its OPCs, crossbars [OPC, sign] in turn;
            the row blocks of the group are OPC after OPC. crossbars: of the chip.
    """
    blocks = len(verdicts)
    flat, stuck = [], []
    for block, found in enumerate(verdicts):
        for number in range(len(found.read_one)):
            opc, sign = divmod(number, 2)
            only = found.read_one[number] != found.read_zero[number]
            line, at = np.nonzero(only[:, : len(bundle.lines)])
            of_group = bundle.lines[at]
            crossbar = 2 * group.pair(opc * blocks + block, 0) + 2 * (of_group // group.columns) + sign
            flat.append((crossbar * group.rows + line) * group.columns + of_group % group.columns)
            stuck.append(found.read_one[number][line, at])
    cells, values = np.concatenate(flat).astype(np.int64), np.concatenate(stuck)
    order = np.argsort(cells)
    return FaultMap(group.rows, group.columns, crossbars, cells[order], values[order], "self-test")


def behind_tile(group: GroupImage, bundle: Bundle, faults: FaultMap) -> FaultMap:
    """The part of a chip's fault map that lies behind the tile of a bundle."""
    crossbar, _, bit_line = faults.coordinates(faults.cells)
    column_block = (crossbar // 2 - group.first_pair) % group.column_blocks
    mine = (crossbar // 2 >= group.first_pair) & (crossbar // 2 < group.first_pair + group.pairs)
    mine &= np.isin(column_block * group.columns + bit_line, bundle.lines)
    return FaultMap(
        faults.rows, faults.columns, faults.crossbars, faults.cells[mine], faults.stuck_at[mine], faults.source
    )
