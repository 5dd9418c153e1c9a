"""Stuck cells as bits, for chips of which percents are stuck: what is drawn, and how it is told cell by cell.

The law: a cell is stuck where a uniform number U is below the rate, and then SA1 where another one, V, is below the
share of SA1. Bit by bit, from the first one on, 64 cells at a time, U is compared with the rate until every cell is
settled, so that rates are what they say to their last bit. The bits of the first 12 (V: 10) places come from four SFC64
generators for each crossbar, which lie side by side; those of the few cells that are still open then, from SplitMix64
by place. Crossbars are drawn each for itself, in a time that does not depend on the rate.

Compiled on first use; without a compiler NumPy gives the same bits, some forty times slower.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from crossvote.sim.common.later import Later
from crossvote.sim.common.libraries import optional_library
from crossvote.sim.common.machine import has_avx2

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crossvote.sim.array.patterns import Stuck
else:
    np = Later("numpy")

#: Word lines of a word.
WORD = 64

#: As in the C++ source.
_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_RATE_LEVELS, _SHARE_LEVELS, _SKIPPED = 12, 10, 12

_SIZE, _DATA = ctypes.c_int64, ctypes.c_void_p
_DRAW = (None, (_DATA, _SIZE, _SIZE, _SIZE, _DATA, _DATA))
_SIGNATURES = {
    "draw_plain": _DRAW,
    "list": (None, (_DATA, _DATA, _SIZE, _SIZE, _SIZE, _SIZE, _DATA, _DATA)),
    "set": (None, (_DATA, _DATA, _SIZE, _SIZE, _SIZE, _SIZE, _DATA, _DATA)),
}


@dataclass(frozen=True, eq=False)
class StuckPlanes:
    """Stuck cells of some crossbars of ``rows`` word lines.

    Attributes:
        stuck, sa1: uint64[crossbars, bit lines, ceil(rows / 64)], bit i of word w for word line 64 w + i: which cells
            are stuck, and which of these are SA1. The others are SA0.
    """

    rows: int
    stuck: NDArray[np.uint64]
    sa1: NDArray[np.uint64]

    def counts(self) -> NDArray[np.int64]:
        """Stuck cells of each crossbar, int64[crossbars]."""
        counts: NDArray[np.int64] = np.bitwise_count(self.stuck).sum(axis=(1, 2), dtype=np.int64)
        return counts

    def of_crossbars(self, first: int, stop: int) -> StuckPlanes:
        """Those of crossbars ``first`` to ``stop`` - 1, counted from the first one here; no copy."""
        return StuckPlanes(self.rows, self.stuck[first:stop], self.sa1[first:stop])

    def cells(self, first: int) -> Stuck:
        """Ascending flat indices of the stuck cells of a chip, and where they are SA1; ``first``: of the first cell
        here."""
        crossbars, columns, _ = self.stuck.shape
        library = _library()
        if library is None:
            kinds = (bits_of(plane, self.rows).transpose(0, 2, 1).reshape(-1) for plane in (self.stuck, self.sa1))
            cells, ones = np.flatnonzero(next(kinds)), next(kinds)
            return cells + first, ones[cells].astype(np.bool_)
        count = int(self.counts().sum())
        found, values = np.empty(count, np.int64), np.empty(count, np.bool_)
        planes = [np.ascontiguousarray(plane) for plane in (self.stuck, self.sa1)]  # held while they are read
        library.list(*map(_address, planes), crossbars, self.rows, columns, first, _address(found), _address(values))
        return found, values

    @classmethod
    def of_cells(cls, rows: int, columns: int, crossbars: int, cells: Stuck, first: int) -> StuckPlanes:
        """From flat indices in any order; ``first``: of the first cell of the first crossbar."""
        planes = np.zeros((2, crossbars, columns, -(-rows // WORD)), np.uint64)
        places, values = cells
        library = _library()
        if library is None:
            states = np.zeros((2, crossbars * rows * columns), np.uint8)
            states[0, places - first] = 1
            states[1, places[values] - first] = 1
            lines = states.reshape(2, crossbars, rows, columns).transpose(0, 1, 3, 2)
            return cls(rows, *words_of(lines))
        places, values = np.ascontiguousarray(places), np.ascontiguousarray(values)
        library.set(
            _address(places), _address(values), len(places), first, rows, columns, *(_address(own) for own in planes)
        )
        return cls(rows, *planes)


@dataclass(frozen=True)
class Law:
    """By what cells are drawn: two keys of 64 bits each, the rate (above 0), and the share of SA1 among stuck cells."""

    keys: tuple[int, int]
    rate: float
    sa1: float

    def draw(self, rows: int, columns: int, first: int, stop: int) -> StuckPlanes:
        """The stuck cells of crossbars ``first`` to ``stop`` - 1 of a chip; O(cells)."""
        words = -(-rows // WORD)
        library = _library()
        stuck, sa1 = (np.empty((stop - first, columns * words), np.uint64) for _ in range(2))
        if library is None:
            for at in range(0, stop - first, _AT_ONCE):
                part = slice(at, min(at + _AT_ONCE, stop - first))
                crossbars = np.arange(first + part.start, first + part.stop)
                stuck[part], sa1[part] = self._by_numpy(crossbars, columns * words)
        else:
            law = np.array([*self.keys, _threshold(self.rate), _threshold(self.sa1)], np.uint64)
            draw = library.draw_avx2 if has_avx2() else library.draw_plain
            draw(_address(law), first, stop - first, columns * words, _address(stuck), _address(sa1))
        shape = (stop - first, columns, words)
        stuck, sa1 = stuck.reshape(shape), sa1.reshape(shape)
        if rows % WORD:
            last = np.uint64((1 << rows % WORD) - 1)
            stuck[..., -1] &= last
            sa1[..., -1] &= last
        return StuckPlanes(rows, stuck, sa1)

    def _by_numpy(self, crossbars: NDArray[np.int64], words: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """What ``draw`` of the C++ source gives, uint64[crossbars, words] twice."""
        thresholds = _threshold(self.rate), _threshold(self.sa1)
        seeds = (crossbars[:, None] * 12 + np.arange(1, 13)).astype(np.uint64)
        a, b, c = np.split(_mixed(seeds * np.uint64(_STEP) + np.uint64(self.keys[0])), 3, axis=1)
        count = 1

        def random() -> NDArray[np.uint64]:
            nonlocal a, b, c, count
            drawn = a + b + np.uint64(count)
            a, b = b ^ (b >> np.uint64(11)), c + (c << np.uint64(3))
            c = ((c << np.uint64(24)) | (c >> np.uint64(40))) + drawn
            count += 1
            return drawn

        for _ in range(_SKIPPED):
            random()
        drawn = np.empty((2, len(crossbars), -(-words // 4) * 4), np.uint64)
        for word in range(0, words, 4):
            place = crossbars[:, None] * words + np.arange(word, word + 4)
            candidates = np.full((len(crossbars), 4), ~np.uint64(0))
            for kind, levels in enumerate((_RATE_LEVELS, _SHARE_LEVELS)):
                below = np.zeros_like(candidates)
                for level in range(levels):
                    below, candidates = _narrowed(below, candidates, random(), thresholds[kind] >> (63 - level) & 1)
                below |= self._settled(candidates, thresholds[kind], levels, place, kind)
                drawn[kind, :, word : word + 4] = candidates = below
        return drawn[0, :, :words], drawn[1, :, :words]

    def _settled(
        self, still_open: NDArray[np.uint64], threshold: int, levels: int, place: NDArray[np.int64], kind: int
    ) -> NDArray[np.uint64]:
        """Where numbers that are the threshold's in their first bits are below it, by all the others."""
        settled = np.zeros_like(still_open)
        at = np.nonzero(still_open)
        below, candidates = np.zeros(len(at[0]), np.uint64), still_open[at]
        start = (place[at].astype(np.uint64) * np.uint64(2) + np.uint64(kind)) * np.uint64(64)
        for level in range(levels, 64):
            if not candidates.any() or not threshold & ((1 << (64 - level)) - 1):
                break
            state = (start + np.uint64(level - levels + 1)) * np.uint64(_STEP) + np.uint64(self.keys[1])
            below, candidates = _narrowed(below, candidates, _mixed(state), threshold >> (63 - level) & 1)
        settled[at] = below
        return settled


#: Crossbars that NumPy draws at once, so that what is made of them stays in the processor's cache.
_AT_ONCE = 512


def bits_of(words: NDArray[np.uint64], rows: int) -> NDArray[np.uint8]:
    """Words [..., n] as single bits, uint8[..., rows]."""
    packed = words.astype("<u8", copy=False).view(np.uint8)
    bits = np.unpackbits(packed.reshape(-1), bitorder="little")  # nearly twice as fast as along an axis
    return bits.reshape(*words.shape[:-1], words.shape[-1] * WORD)[..., :rows]


def words_of(bits: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Bits uint8[..., rows] as words, uint64[..., ceil(rows / 64)]."""
    rows = bits.shape[-1]
    padded = np.zeros((*bits.shape[:-1], -(-rows // WORD) * WORD), np.uint8)
    padded[..., :rows] = bits
    return np.packbits(padded, axis=-1, bitorder="little").view("<u8").astype(np.uint64, copy=False)


def _threshold(share: float) -> int:
    """A share as a number of 64 bits; 1 is short of itself by 2^-64."""
    return min(int(share * 2.0**64), 2**64 - 1)


def _mixed(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output for a state."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_FIRST)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_SECOND)
    return z ^ (z >> np.uint64(31))


def _narrowed(
    below: NDArray[np.uint64], candidates: NDArray[np.uint64], random: NDArray[np.uint64], bit: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """One more bit of all numbers against the threshold's: where they are below it, and where still equal."""
    if bit:
        return below | (candidates & ~random), candidates & random
    return below, candidates & ~random


def _address(array: NDArray[np.generic]) -> int:
    return array.ctypes.data


@cache
def _library() -> ctypes.CDLL | None:
    """The compiled functions; None where no compiler makes them."""
    flags = ("-O3", "-std=c++17", "-Wno-psabi")
    signatures = _SIGNATURES | ({"draw_avx2": _DRAW} if has_avx2() else {})
    otherwise = "Stuck cells are drawn without compiled code, which is slower"
    return optional_library(Path(__file__).with_suffix(".cpp"), flags, signatures, otherwise)
