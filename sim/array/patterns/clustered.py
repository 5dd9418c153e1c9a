"""Clusters of stuck cells.

A cluster is the set of cells that a Poisson number of hits, at least one, strikes at normal distances around a centre.
Centres are uniform and independent. A cluster that reaches over an edge of its crossbar goes on at the opposite edge:
so every cell is as likely to be stuck as any other, corners included, and no cluster is cut short. Two numbers make
the settings true without drawing anything twice:

* the mean number of hits is such that the mean number of *different* cells hit is ``cluster_size``;
* a crossbar of A cells has a Poisson number of clusters with mean -ln(1 - rate) A / cluster_size, so that a cell is in
  none of them with probability 1 - rate, overlaps included (a Boolean model: Chiu et al., Stochastic Geometry and its
  Applications, 3rd edition, section 3.1).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from crossvote.sim.array.patterns import PATTERNS, Block, stuck_values
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.later import Later
from crossvote.sim.common.schema import config_dataclass

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crossvote.sim.array.patterns import Stuck
else:
    np = Later("numpy")

#: Most hits for every cell of a cluster; denser clusters are refused, since most hits would strike the same cells.
_HITS_PER_CELL = 8


@PATTERNS.register("clustered")
@config_dataclass
class Clustered:
    """Stuck cells in clusters, each cell of one SA0 or SA1 on its own."""

    kind: ClassVar[str] = "clustered"

    cluster_size: float = Field(default=8.0, ge=1, le=10_000, description="mean number of cells of a cluster")
    cluster_radius: float = Field(
        default=2.0, gt=0, le=256, description="standard deviation of a cluster's hits around its centre, in lines"
    )

    def check(self, rows: int, columns: int) -> None:
        """Refuse clusters that do not fit: within their radius, or into half a crossbar.

        Raises:
            UserError: such clusters.
        """
        mean_hits(self.cluster_size, self.cluster_radius, rows, columns)

    def draw(self, rng: np.random.Generator, block: Block, rate: float, sa1: float) -> Stuck:
        """See ``FaultPattern.draw``; O(f log f) for f faults."""
        if rate >= 1:
            cells = np.arange(block.size, dtype=np.int64)
            return cells, stuck_values(rng, len(cells), sa1)
        hits = mean_hits(self.cluster_size, self.cluster_radius, block.rows, block.columns)
        clusters = int(rng.poisson(-math.log1p(-rate) * block.size / self.cluster_size))
        which = np.repeat(np.arange(clusters), _positive_poisson(rng, hits, clusters))
        centre = rng.integers(0, block.size, clusters)[which]
        line, bit_line = np.divmod(centre, block.columns)
        crossbar, word_line = np.divmod(line, block.rows)
        word_line = (word_line + _distances(rng, self.cluster_radius, len(which))) % block.rows
        bit_line = (bit_line + _distances(rng, self.cluster_radius, len(which))) % block.columns
        cells = np.sort((crossbar * block.rows + word_line) * block.columns + bit_line)
        cells = cells[np.flatnonzero(np.diff(cells, prepend=-1))]
        return cells, stuck_values(rng, len(cells), sa1)


def _distances(rng: np.random.Generator, radius: float, count: int) -> NDArray[np.int64]:
    return np.rint(rng.normal(0, radius, count)).astype(np.int64)


def _positive_poisson(rng: np.random.Generator, mean: float, count: int) -> NDArray[np.int64]:
    """Poisson numbers that are not 0, by inversion; ``mean`` 0 stands for its limit, always 1."""
    if mean == 0:
        return np.ones(count, np.int64)
    numbers = np.arange(1, int(mean + 12 * mean**0.5 + 24))
    logarithms = numbers * math.log(mean) - mean - np.cumsum(np.log(numbers))
    chance = np.cumsum(np.exp(logarithms))
    return 1 + np.searchsorted(chance[:-1] / chance[-1], rng.random(count), side="right")


@lru_cache(maxsize=64)
def mean_hits(size: float, radius: float, rows: int, columns: int) -> float:
    """Mean of the (not zero-truncated) Poisson number of hits whose clusters have ``size`` different cells on average.

    Raises:
        UserError: clusters too dense for their radius, or larger than half a crossbar.
    """
    if size == 1:
        return 0.0
    chances = np.outer(_chances(radius, rows), _chances(radius, columns)).ravel()

    def cells(hits: float) -> float:
        return float(-np.expm1(-hits * chances).sum() / -math.expm1(-hits))

    low, high = 0.0, _HITS_PER_CELL * size
    if size > rows * columns / 2:
        raise UserError(
            f"clusters of {size:g} cells are larger than half a crossbar of {rows} x {columns} cells; "
            "lower cluster_size."
        )
    if cells(high) < size:
        raise UserError(
            f"clusters of {size:g} cells do not fit within a radius of {radius:g} lines on crossbars of "
            f"{rows} x {columns} cells; raise cluster_radius or lower cluster_size."
        )
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if cells(middle) < size else (low, middle)
    return high


def _chances(radius: float, lines: int) -> NDArray[np.float64]:
    """Chance of each line, counted from the centre's, to be hit along one axis; those too small to matter left out."""
    reach = math.ceil(9 * radius) + 1
    edges = [math.erf((at - 0.5) / (radius * math.sqrt(2))) / 2 for at in range(-reach, reach + 2)]
    chances = np.zeros(lines)
    np.add.at(chances, np.arange(-reach, reach + 1) % lines, np.diff(edges))
    return chances[chances > 1e-12]
