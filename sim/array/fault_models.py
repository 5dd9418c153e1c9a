"""Patterns of stuck cells beyond independent ones: clusters, broken word lines, broken bit lines.

Every pattern keeps the meaning of the rate (expected share of stuck cells) and of SA0:SA1, so that they compare.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.array.faults import PAPER_SA0_SA1, FaultMap
from crossvote.sim.common.errors import UserError

Pattern = Literal["uniform", "clustered", "word_lines", "bit_lines"]

#: Clusters drawn per round at most, to bound memory.
_ROUND = 1 << 20


def sample_faults(
    pattern: Pattern,
    rows: int,
    columns: int,
    crossbars: int,
    rate: float,
    seed: np.random.SeedSequence,
    sa0_sa1: tuple[float, float] = PAPER_SA0_SA1,
    cluster_size: float = 8.0,
    cluster_radius: float = 2.0,
) -> FaultMap:
    """Draw a chip on which a share ``rate`` of the cells is expected to be stuck.

    * uniform: cells fail independently (``FaultMap.sample``).
    * clustered: defects at uniform places hit a Poisson number of cells (mean ``cluster_size``, at least 1) at normal
      distances (standard deviation ``cluster_radius`` word lines and bit lines) within the crossbar; each cell is SA0
      or SA1 on its own. Rates of half the cells or more are drawn as uniform, since clusters then fill the chip.
    * word_lines, bit_lines: whole lines of a crossbar fail independently, all cells of one at the same value.

    O(f log f) for f faults.

    Raises:
        UserError: an unknown pattern, a cluster size below 1, a radius that is not positive, or what
            ``FaultMap.sample`` refuses.
    """
    if pattern not in get_args(Pattern):
        raise UserError(f"unknown fault pattern '{pattern}'; there are {', '.join(get_args(Pattern))}.")
    if cluster_size < 1 or cluster_radius <= 0:
        raise UserError(f"clusters of {cluster_size:g} cells and radius {cluster_radius:g}: at least 1, and above 0.")
    if pattern == "clustered" and rate < 0.5:
        # Number and kinds of faults are those of the uniform map; only the places differ.
        uniform = FaultMap.sample(rows, columns, crossbars, rate, seed, sa0_sa1)
        # Not seed.spawn, which would give another child the next time.
        places = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, 0))
        rng = np.random.Generator(np.random.Philox(places))
        cells = _clustered(rng, rows, columns, crossbars, len(uniform.cells), cluster_size, cluster_radius)
        kinds = rng.permutation(uniform.stuck_at)
        source = f"clusters of {cluster_size:g} cells, radius {cluster_radius:g}; {uniform.source}"
        return FaultMap(rows, columns, crossbars, cells, kinds, source)
    if pattern in ("word_lines", "bit_lines"):
        length, count = (columns, rows) if pattern == "word_lines" else (rows, columns)
        lines = FaultMap.sample(count, 1, crossbars, rate, seed, sa0_sa1)
        crossbar, line, _ = lines.coordinates(lines.cells)
        along = np.arange(length)
        if pattern == "word_lines":
            cells = (crossbar * rows + line)[:, None] * columns + along
        else:
            cells = (crossbar[:, None] * rows + along) * columns + line[:, None]
        kinds = np.repeat(lines.stuck_at, length)
        order = np.argsort(cells, axis=None, kind="stable")
        return FaultMap(
            rows, columns, crossbars, cells.ravel()[order], kinds[order], f"whole {pattern}; {lines.source}"
        )
    return FaultMap.sample(rows, columns, crossbars, rate, seed, sa0_sa1)


def _clustered(
    rng: np.random.Generator, rows: int, columns: int, crossbars: int, count: int, size: float, radius: float
) -> NDArray[np.int64]:
    """``count`` distinct cells, sorted, in clusters; the last clusters are cut at random to the number asked for."""
    drawn = np.zeros(0, np.int64)
    while len(drawn) < count:
        clusters = min(_ROUND, max(1, round((count - len(drawn)) / size)))
        members = np.maximum(1, rng.poisson(size, clusters))
        which = np.repeat(np.arange(clusters), members)
        word_line = rng.integers(0, rows, clusters)[which] + np.rint(rng.normal(0, radius, len(which))).astype(np.int64)
        bit_line = rng.integers(0, columns, clusters)[which] + np.rint(rng.normal(0, radius, len(which))).astype(
            np.int64
        )
        crossbar = rng.integers(0, crossbars, clusters)[which]
        inside = (word_line >= 0) & (word_line < rows) & (bit_line >= 0) & (bit_line < columns)
        cells = ((crossbar * rows + word_line) * columns + bit_line)[inside]
        cells = np.sort(cells)
        cells = cells[np.flatnonzero(np.diff(cells, prepend=-1))]
        if len(drawn):
            cells = cells[drawn[np.minimum(np.searchsorted(drawn, cells), len(drawn) - 1)] != cells]
        drawn = np.sort(np.concatenate([drawn, rng.permutation(cells)[: count - len(drawn)]]))
    return drawn
