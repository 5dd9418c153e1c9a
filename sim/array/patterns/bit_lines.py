"""Broken bit lines: all cells of one read the same value."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from crossvote.sim.array.patterns import PATTERNS, Block, independent, stuck_values
from crossvote.sim.common.later import Later
from crossvote.sim.common.schema import config_dataclass

if TYPE_CHECKING:
    import numpy as np

    from crossvote.sim.array.patterns import Stuck
else:
    np = Later("numpy")


@PATTERNS.register("bit_lines")
@config_dataclass
class BitLines:
    """Whole bit lines fail on their own; no settings."""

    kind: ClassVar[str] = "bit_lines"

    def check(self, rows: int, columns: int) -> None:
        """Every crossbar will do."""

    def draw(self, rng: np.random.Generator, block: Block, rate: float, sa1: float) -> Stuck:
        """See ``FaultPattern.draw``; O(f log f) for f faults."""
        lines = independent(rng, block.crossbars * block.columns, rate)
        crossbar, bit_line = np.divmod(lines, block.columns)
        cells = ((crossbar[:, None] * block.rows + np.arange(block.rows)) * block.columns + bit_line[:, None]).ravel()
        order = np.argsort(cells)
        return cells[order], np.repeat(stuck_values(rng, len(lines), sa1), block.rows)[order]
