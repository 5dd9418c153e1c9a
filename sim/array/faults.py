"""Fault maps: which cells of a chip are stuck, by physical coordinate, whatever is mapped there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.common.container import read_container, write_container
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import reading

FORMAT = "crossvote-fault-map"
FORMAT_VERSION = 1

#: SA0 : SA1 of arXiv 2401.11664, section 4.1.
PAPER_SA0_SA1 = (1.75, 9.04)


@dataclass(frozen=True, eq=False)
class FaultMap:
    """Stuck cells of a chip of ``crossbars`` crossbars of ``rows`` word lines x ``columns`` bit lines.

    Attributes:
        cells: int64[n], strictly increasing flat cell index ((crossbar * rows + word_line) * columns + bit_line).
        stuck_at: bool[n], True for SA1 (reads 1), False for SA0 (reads 0). One cell has one fault at most.
        source: how the map came about, in words.
    """

    rows: int
    columns: int
    crossbars: int
    cells: NDArray[np.int64]
    stuck_at: NDArray[np.bool_]
    source: str = ""

    def __post_init__(self) -> None:
        if self.cells.shape != self.stuck_at.shape or self.cells.ndim != 1:
            raise UserError("a fault map needs one stuck value for each faulty cell.")
        if self.cells.size and (self.cells[0] < 0 or self.cells[-1] >= self.size or (np.diff(self.cells) <= 0).any()):
            raise UserError(
                f"a fault map's cells must be increasing indices below {self.size} "
                f"({self.crossbars} crossbars of {self.rows} x {self.columns})."
            )

    @property
    def size(self) -> int:
        """Number of cells of the chip."""
        return self.crossbars * self.rows * self.columns

    @classmethod
    def empty(cls, rows: int, columns: int, crossbars: int) -> FaultMap:
        """The map of a perfect chip."""
        return cls(rows, columns, crossbars, np.zeros(0, np.int64), np.zeros(0, np.bool_), "no faults")

    @classmethod
    def sample(
        cls,
        rows: int,
        columns: int,
        crossbars: int,
        rate: float,
        seed: np.random.SeedSequence,
        sa0_sa1: tuple[float, float] = PAPER_SA0_SA1,
    ) -> FaultMap:
        """Draw a chip whose cells fail independently with probability ``rate``.

        The number of faults is drawn from the binomial distribution, then that many distinct cells, each SA0 or
        SA1 in the ratio ``sa0_sa1``: the same law as a draw per cell, in O(f log f) for f faults.

        Raises:
            UserError: ``rate`` outside 0 to 1, or a ratio that is negative or 0 : 0.
        """
        if not 0.0 <= rate <= 1.0:
            raise UserError(f"fault rate {rate} is not between 0 and 1.")
        sa0, sa1 = sa0_sa1
        if min(sa0, sa1) < 0 or sa0 + sa1 <= 0:
            raise UserError(f"SA0:SA1 = {sa0}:{sa1} is no ratio; both must be at least 0 and one above 0.")
        rng = np.random.Generator(np.random.Philox(seed))
        size = crossbars * rows * columns
        count = int(rng.binomial(size, rate))
        cells = _distinct(rng, size, count)
        stuck_at = rng.random(count) < sa1 / (sa0 + sa1)
        source = f"uniform, rate {rate:g}, SA0:SA1 {sa0:g}:{sa1:g}, seed {seed.entropy} {seed.spawn_key}"
        return cls(rows, columns, crossbars, cells, stuck_at, source)

    def of_crossbars(self, first: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Cells (flat indices of the whole chip) and stuck values of crossbars ``first`` to ``stop`` - 1."""
        area = self.rows * self.columns
        low, high = np.searchsorted(self.cells, [first * area, stop * area])
        return self.cells[low:high], self.stuck_at[low:high]

    def coordinates(self, cells: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Crossbar, word line and bit line of flat cell indices."""
        line, bit_line = np.divmod(cells, self.columns)
        crossbar, word_line = np.divmod(line, self.rows)
        return crossbar, word_line, bit_line

    def check_fits(self, rows: int, columns: int, crossbars: int) -> None:
        """Refuse to put this map under something that needs another chip.

        Raises:
            UserError: another crossbar size, or fewer crossbars than needed.
        """
        if (self.rows, self.columns) != (rows, columns):
            raise UserError(
                f"the fault map is for crossbars of {self.rows} x {self.columns} cells, "
                f"the image for {rows} x {columns}."
            )
        if self.crossbars < crossbars:
            raise UserError(
                f"the fault map covers {self.crossbars} crossbars, the image needs {crossbars}; sample a larger chip."
            )

    @property
    def content_hash(self) -> str:
        """BLAKE2b of geometry and faults, hexadecimal; equal maps have equal hashes, whatever their source."""
        digest = hashlib.blake2b(f"{self.rows} {self.columns} {self.crossbars}".encode(), digest_size=16)
        digest.update(self.cells.tobytes())
        digest.update(self.stuck_at.tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write the map atomically as a safetensors file."""
        header = {
            "rows": self.rows,
            "columns": self.columns,
            "crossbars": self.crossbars,
            "source": self.source,
            "content_hash": self.content_hash,
        }
        write_container(
            path,
            FORMAT,
            FORMAT_VERSION,
            header,
            {"cells": self.cells, "stuck_at": self.stuck_at.astype(np.uint8)},
        )

    @classmethod
    def load(cls, path: Path) -> FaultMap:
        """Read a map written by ``save``.

        Raises:
            UserError: the file is absent, of another format, or its content does not match its hash.
        """
        header, arrays = read_container(path, FORMAT, FORMAT_VERSION)
        with reading(path, FORMAT):
            fault_map = cls(
                int(header["rows"]),
                int(header["columns"]),
                int(header["crossbars"]),
                arrays["cells"],
                arrays["stuck_at"].astype(np.bool_),
                str(header["source"]),
            )
            if fault_map.content_hash != header["content_hash"]:
                raise UserError(f"{path}: the content does not match its hash; the file is damaged.")
            return fault_map


def _distinct(rng: np.random.Generator, size: int, count: int) -> NDArray[np.int64]:
    """``count`` distinct integers below ``size``, sorted, every subset equally likely."""
    if count > size // 2:
        keep = np.ones(size, np.bool_)
        keep[_distinct(rng, size, size - count)] = False
        return np.flatnonzero(keep).astype(np.int64)
    drawn = np.zeros(0, np.int64)
    while drawn.size < count:
        # Drawing just what is missing can never overshoot, so no drawn value has to be thrown away.
        more = rng.integers(0, size, count - drawn.size, dtype=np.int64)
        # Sorting and dropping neighbours is many times faster here than numpy's hashing unique.
        drawn = np.sort(np.concatenate([drawn, more]))
        drawn = drawn[np.flatnonzero(np.diff(drawn, prepend=-1))]
    return drawn
