"""Broken word lines: all cells of one read the same value."""

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


@PATTERNS.register("word_lines")
@config_dataclass
class WordLines:
    """Whole word lines fail on their own; no settings."""

    kind: ClassVar[str] = "word_lines"

    def check(self, rows: int, columns: int) -> None:
        """Every crossbar will do."""

    def draw(self, rng: np.random.Generator, block: Block, rate: float, sa1: float) -> Stuck:
        """See ``FaultPattern.draw``; O(f) for f faults."""
        lines = independent(rng, block.crossbars * block.rows, rate)
        cells = lines[:, None] * block.columns + np.arange(block.columns)
        return cells.ravel(), np.repeat(stuck_values(rng, len(lines), sa1), block.columns)
