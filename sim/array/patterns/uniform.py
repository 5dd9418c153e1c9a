"""Cells that fail independently of each other."""

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


@PATTERNS.register("uniform")
@config_dataclass
class Uniform:
    """Every cell fails on its own; no settings."""

    kind: ClassVar[str] = "uniform"

    def check(self, rows: int, columns: int) -> None:
        """Every crossbar will do."""

    def draw(self, rng: np.random.Generator, block: Block, rate: float, sa1: float) -> Stuck:
        """See ``FaultPattern.draw``; O(f) for f faults."""
        cells = independent(rng, block.size, rate)
        return cells, stuck_values(rng, len(cells), sa1)
