"""Named random streams: every draw says what it is for, so that no draw depends on another one's order."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from crossvote.sim.common.later import Later

if TYPE_CHECKING:
    import numpy as np
else:
    np = Later("numpy")


def seed_sequence(seed: int, *key: int | str) -> np.random.SeedSequence:
    """The independent stream called ``key`` under the user's ``seed``.

    Words are hashed with BLAKE2b (stable across processes, unlike ``hash``); integers are used as they are.
    """
    spawn_key = tuple(
        int.from_bytes(hashlib.blake2b(part.encode(), digest_size=4).digest(), "little")
        if isinstance(part, str)
        else int(part)
        for part in key
    )
    return np.random.SeedSequence(seed, spawn_key=spawn_key)
