"""Which examples of a part of a task are used where a limit is set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossvote.sim.common.later import Later
from crossvote.sim.common.seeds import seed_sequence

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = Later("numpy")


def drawn(count: int, limit: int | None, seed: int, part: str) -> NDArray[np.bool_] | None:
    """Which of ``count`` rows are used, bool[count]; None for all of them."""
    if limit is None or limit >= count:
        return None
    chosen = np.zeros(count, np.bool_)
    chosen[np.random.default_rng(seed_sequence(seed, "subset", part)).permutation(count)[:limit]] = True
    return chosen


def limit_note(part: str, limit: int | None, rows: int) -> str:
    """What the provenance says of a limit; nothing where it does not bind."""
    return f"; only {limit} of these {part} rows used" if limit is not None and limit < rows else ""
