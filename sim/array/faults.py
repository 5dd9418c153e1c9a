"""Fault maps: which cells of a chip are stuck, by physical coordinate, whatever is mapped there."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from crossvote.sim.array.patterns import Block, FaultPattern, pattern_words
from crossvote.sim.array.patterns.uniform import Uniform
from crossvote.sim.array.stuck_planes import Law, StuckPlanes
from crossvote.sim.common.container import read_container, write_container
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import at_home, reading
from crossvote.sim.common.later import Later

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crossvote.sim.array.patterns import Stuck
else:
    np = Later("numpy")

FORMAT = "crossvote-fault-map"
FORMAT_VERSION = 2

#: Cells that are drawn from one stream: whole crossbars of 128 x 128 cells, 256 of them.
_BLOCK_CELLS = 1 << 22

#: Rate from which on cells that fail independently are drawn as bits, in a time that no longer grows with the rate.
PLANES_FROM = 0.01

UNIFORM = Uniform()

#: SA0 : SA1 of arXiv 2401.11664, section 4.1.
PAPER_SA0_SA1 = (1.75, 9.04)


@dataclass(frozen=True, eq=False)
class FaultMap:
    """Stuck cells of a chip of ``crossbars`` crossbars of ``rows`` word lines x ``columns`` bit lines.

    Attributes:
        cells: int64[n], strictly increasing flat cell index ((crossbar * rows + word_line) * columns + bit_line).
        stuck_at: bool[n], True for SA1 (reads 1), False for SA0 (reads 0). One cell has one fault at most.
        source: how the map came about, in words.
        silicon: seed and number of the chip that was drawn, from which the conductances of its cells follow too; None
            for a map made otherwise. It is no part of the content.
    """

    rows: int
    columns: int
    crossbars: int
    cells: NDArray[np.int64]
    stuck_at: NDArray[np.bool_]
    source: str = ""
    silicon: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.cells.shape != self.stuck_at.shape or self.cells.ndim != 1:
            raise UserError("a fault map needs one stuck value for each faulty cell.")
        if self.cells.size and (
            self.cells[0] < 0 or self.cells[-1] >= self.size or (self.cells[1:] <= self.cells[:-1]).any()
        ):
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
        pattern: FaultPattern = UNIFORM,
        silicon: tuple[int, int] | None = None,
    ) -> FaultMap:
        """Draw a chip whose cells are stuck with probability ``rate`` each, SA0 or SA1 in the ratio ``sa0_sa1``.

        Crossbars are drawn in blocks of a fixed number of cells, each from its own stream below ``seed``: a smaller
        chip is a prefix of a larger one. ``silicon``: see the attribute. Time: see the pattern. Independent cells are
        drawn crossbar by crossbar from a rate of 1 % on, and only when they are asked for.

        Raises:
            UserError: ``rate`` outside 0 to 1, a ratio that is none, or crossbars on which the pattern cannot be.
        """
        if not 0.0 <= rate <= 1.0:
            raise UserError(f"fault rate {rate} is not between 0 and 1.")
        share = sa1_share(sa0_sa1)
        pattern.check(rows, columns)
        size = crossbars * rows * columns
        source = (
            f"{pattern_words(pattern)}, rate {rate!r}, SA0:SA1 {sa0_sa1[0]:g}:{sa0_sa1[1]:g}, "
            f"seed {seed.entropy} {seed.spawn_key}"
        )
        if isinstance(pattern, Uniform) and rate >= PLANES_FROM:
            keys = seed.generate_state(2, np.uint64)
            law = Law((int(keys[0]), int(keys[1])), rate, share)
            return DrawnFaultMap(rows, columns, crossbars, law, source, silicon)
        block = Block(rows, columns, max(1, _BLOCK_CELLS // (rows * columns)))
        room = int(1.01 * rate * size + 6 * (rate * size) ** 0.5) + 64
        cells, stuck_at, count = np.empty(room, np.int64), np.empty(room, np.bool_), 0
        for number in range(-(-crossbars // block.crossbars) if rate else 0):
            # Not seed.spawn, which would give other children the next time.
            stream = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, number))
            own, values = pattern.draw(np.random.Generator(np.random.SFC64(stream)), block, rate, share)
            first = number * block.size
            if first + block.size > size:
                kept = np.searchsorted(own, size - first)
                own, values = own[:kept], values[:kept]
            if count + len(own) > len(cells):
                room = count + 2 * len(own)
                cells, stuck_at = np.resize(cells, room), np.resize(stuck_at, room)
            np.add(own, first, out=cells[count : count + len(own)])
            stuck_at[count : count + len(own)] = values
            count += len(own)
        return cls(rows, columns, crossbars, cells[:count], stuck_at[:count], source, silicon)

    def of_crossbars(self, first: int, stop: int) -> Stuck:
        """Cells (flat indices of the whole chip) and stuck values of crossbars ``first`` to ``stop`` - 1."""
        area = self.rows * self.columns
        low, high = np.searchsorted(self.cells, [first * area, stop * area])
        return self.cells[low:high], self.stuck_at[low:high]

    def planes(self, first: int, stop: int) -> StuckPlanes:
        """The same as bits."""
        area = self.rows * self.columns
        return StuckPlanes.of_cells(self.rows, self.columns, stop - first, self.of_crossbars(first, stop), first * area)

    def count(self, first: int, stop: int) -> int:
        """Stuck cells of crossbars ``first`` to ``stop`` - 1."""
        return len(self.of_crossbars(first, stop)[0])

    def only(self, kept: NDArray[np.bool_] | NDArray[np.int64], source: str) -> FaultMap:
        """The same chip with some of its stuck cells alone: a mask, or ascending indices."""
        cells, stuck_at = self.cells[kept], self.stuck_at[kept]
        return FaultMap(self.rows, self.columns, self.crossbars, cells, stuck_at, source, self.silicon)

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

    @property
    def identity(self) -> str:
        """What tells the chip from others: its content, or where it is drawn later, what that follows from."""
        return self.content_hash

    def save(self, path: str | Path) -> None:
        """Write the map atomically as a safetensors file."""
        header = {
            "rows": self.rows,
            "columns": self.columns,
            "crossbars": self.crossbars,
            "source": self.source,
            "silicon": self.silicon,
            "content_hash": self.content_hash,
        }
        write_container(
            at_home(path),
            FORMAT,
            FORMAT_VERSION,
            header,
            {"cells": self.cells, "stuck_at": self.stuck_at.astype(np.uint8)},
        )

    @classmethod
    def load(cls, path: str | Path) -> FaultMap:
        """Read a map written by ``save``.

        Raises:
            UserError: the file is absent, of another format, or its content does not match its hash.
        """
        path = at_home(path)
        header, arrays = read_container(path, FORMAT, FORMAT_VERSION)
        with reading(path, FORMAT):
            fault_map = cls(
                int(header["rows"]),
                int(header["columns"]),
                int(header["crossbars"]),
                arrays["cells"],
                arrays["stuck_at"].astype(np.bool_),
                str(header["source"]),
                None if header["silicon"] is None else (int(header["silicon"][0]), int(header["silicon"][1])),
            )
            if fault_map.content_hash != header["content_hash"]:
                raise UserError(f"{path}: the content does not match its hash; the file is damaged.")
            return fault_map


@dataclass
class _Drawing:
    """How a chip is drawn, and what is known of it.

    Attributes:
        counts: int64, stuck cells of each crossbar, -1 where it was not drawn yet.
        last: what was drawn last, and of which crossbars; replaced as a whole, since threads may share a chip.
    """

    law: Law
    counts: NDArray[np.int64]
    last: tuple[int, int, StuckPlanes] | None = None


class DrawnFaultMap(FaultMap):
    """A chip whose stuck cells are drawn when they are asked for, crossbar by crossbar: it holds none but those of the
    crossbars asked for last, until a list of all is wanted."""

    _drawing: _Drawing

    def __init__(
        self, rows: int, columns: int, crossbars: int, law: Law, source: str, silicon: tuple[int, int] | None
    ) -> None:
        drawing = _Drawing(law, np.full(crossbars, -1))
        own = {"rows": rows, "columns": columns, "crossbars": crossbars, "source": source, "silicon": silicon}
        self.__dict__.update(own, _drawing=drawing)  # frozen, as its base is

    @cached_property
    def _listed(self) -> Stuck:
        return self.planes(0, self.crossbars).cells(0)

    @property
    def cells(self) -> NDArray[np.int64]:
        return self._listed[0]

    @property
    def stuck_at(self) -> NDArray[np.bool_]:
        return self._listed[1]

    @property
    def identity(self) -> str:
        law = self._drawing.law
        parts = (self.rows, self.columns, self.crossbars, *law.keys, law.rate.hex(), law.sa1.hex())
        return f"drawn {' '.join(map(str, parts))}"

    def of_crossbars(self, first: int, stop: int) -> Stuck:
        if "_listed" in self.__dict__:
            return super().of_crossbars(first, stop)
        return self.planes(first, stop).cells(first * self.rows * self.columns)

    def planes(self, first: int, stop: int) -> StuckPlanes:
        last = self._drawing.last
        if last is None or not last[0] <= first <= stop <= last[1]:
            last = first, stop, self._drawing.law.draw(self.rows, self.columns, first, stop)
            self._drawing.counts[first:stop] = last[2].counts()
            self._drawing.last = last
        return last[2].of_crossbars(first - last[0], stop - last[0])

    def count(self, first: int, stop: int) -> int:
        counts = self._drawing.counts[first:stop]
        unknown = np.flatnonzero(counts < 0)
        if len(unknown):
            self.planes(first + int(unknown[0]), first + int(unknown[-1]) + 1)
        return int(counts.sum())


def sa1_share(sa0_sa1: tuple[float, float]) -> float:
    """Share of SA1 among stuck cells in the ratio SA0 : SA1.

    Raises:
        UserError: a ratio that is negative, 0 : 0 or not finite.
    """
    sa0, sa1 = sa0_sa1
    if not (min(sa0, sa1) >= 0 and 0 < sa0 + sa1 < math.inf):
        raise UserError(
            f"SA0:SA1 = {sa0}:{sa1} is no ratio; both must be at least 0, and their sum finite and above 0."
        )
    return sa1 / (sa0 + sa1)


def _checked(sa0_sa1: tuple[float, float]) -> tuple[float, float]:
    sa1_share(sa0_sa1)
    return sa0_sa1


#: SA0 : SA1 as a field of a configuration class.
Ratio = Annotated[tuple[float, float], AfterValidator(_checked)]
