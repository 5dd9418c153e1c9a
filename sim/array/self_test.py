"""The test of a chip's cells, and the map it finds: with misreads it misses stuck cells and accuses good ones.

The test is the hardware's own, ``crossvote.rtl.march_elements.MARCH_C_STAR``, all cells of a word line at once. It
reads every cell three times where it should be 0 and three times where it should be 1. A cell counts as stuck if enough
of the three reads of a level were wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from crossvote.rtl.march_elements import MARCH_C_STAR
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.patterns import independent
from crossvote.sim.array.silicon import conductance_stream
from crossvote.sim.common.schema import config_dataclass

_OPERATIONS = [operation for element in MARCH_C_STAR for operation in element.operations]
#: Reads of level 1, of level 0 as many, and writes, of every cell.
READS_OF_LEVEL = sum(not operation.write and operation.level == 1 for operation in _OPERATIONS)
WRITES = sum(operation.write for operation in _OPERATIONS)


@config_dataclass
class RepeatedReads:
    """How cells are read in the test."""

    misread: float = Field(
        default=0.0, ge=0, lt=0.5, description="chance that a read of the self-test gives the other value"
    )
    needed: int = Field(
        default=2,
        ge=1,
        le=READS_OF_LEVEL,
        description="how many of the three reads of a level must be wrong for a cell to count as stuck",
    )

    def chance(self, wrong: float) -> float:
        """That enough of the reads are wrong when each is with probability ``wrong``."""
        return sum(
            comb(READS_OF_LEVEL, n) * wrong**n * (1 - wrong) ** (READS_OF_LEVEL - n)
            for n in range(self.needed, READS_OF_LEVEL + 1)
        )

    @property
    def coverage(self) -> float:
        """Expected share of the stuck cells that are found."""
        return self.chance(1 - self.misread)

    @property
    def false_alarms(self) -> float:
        """Expected share of the good cells that count as stuck, at either level."""
        one = self.chance(self.misread)
        return 1 - (1 - one) ** 2


@dataclass(frozen=True, eq=False)
class FoundMap:
    """What a test gives.

    Attributes:
        faults: the cells that count as stuck. missed: stuck cells that do not. false_alarms: good cells that do.
        reads, writes: of word lines.
    """

    faults: FaultMap
    missed: int
    false_alarms: int
    reads: int
    writes: int


def found_by(test: RepeatedReads, chip: FaultMap, first: int = 0, stop: int | None = None) -> FoundMap:
    """Test the cells of crossbars ``first`` to ``stop`` - 1 of a chip, by default of all; the others have no faults.

    What is misread depends on the chip and on the crossbar, not on what else is tested. Memory and time grow with the
    cells that are stuck or accused.
    """
    stop = chip.crossbars if stop is None else stop
    base = conductance_stream(0, chip, "self-test")
    area = chip.rows * chip.columns
    cells: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    levels: list[NDArray[np.bool_]] = [np.zeros(0, np.bool_)]
    missed = accused = 0
    for crossbar in range(first, stop):
        stream = np.random.SeedSequence(base.entropy, spawn_key=(*base.spawn_key, crossbar))
        rng = np.random.Generator(np.random.SFC64(stream))
        own, stuck_at = chip.of_crossbars(crossbar, crossbar + 1)
        seen = rng.random(len(own)) < test.coverage
        missed += int((~seen).sum())
        accused_there = independent(rng, area, test.false_alarms) if test.misread else np.zeros(0, np.int64)
        wrong = np.setdiff1d(accused_there + crossbar * area, own, assume_unique=True)
        accused += len(wrong)
        both = np.concatenate([own[seen], wrong])
        order = np.argsort(both)
        cells.append(both[order])
        levels.append(np.concatenate([stuck_at[seen], rng.random(len(wrong)) < 0.5])[order])
    source = f"found by a self-test with misreads of {test.misread:g} on: {chip.source}"
    found = FaultMap(
        chip.rows, chip.columns, chip.crossbars, np.concatenate(cells), np.concatenate(levels), source, chip.silicon
    )
    word_lines = (stop - first) * chip.rows
    return FoundMap(found, missed, accused, 2 * READS_OF_LEVEL * word_lines, WRITES * word_lines)
