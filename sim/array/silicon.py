"""The silicon: what is stuck, and how conductances vary, as a function of a chip's seed and number and of the crossbar.

A crossbar is known by its index on the chip. Images take crossbars from index 0 on, word-line group after word-line
group, so every scheme meets the same silicon, and neither another scheme nor a larger image changes any of it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from crossvote.sim.array.faults import PAPER_SA0_SA1, UNIFORM, FaultMap
from crossvote.sim.array.patterns import FaultPattern
from crossvote.sim.common.later import Later
from crossvote.sim.common.registry import kind_mapping
from crossvote.sim.common.seeds import seed_sequence

if TYPE_CHECKING:
    import numpy as np
else:
    np = Later("numpy")


@dataclass(frozen=True)
class Silicon:
    """One chip, of whatever size.

    Attributes:
        seed, number: which chip. rate, pattern, sa0_sa1: the law by which its cells are stuck.
        rows, columns: cells of a crossbar. part: "crossbars", or what else of the chip is meant, which is drawn apart.
    """

    seed: int
    number: int
    rate: float
    rows: int
    columns: int
    pattern: FaultPattern = UNIFORM
    sa0_sa1: tuple[float, float] = PAPER_SA0_SA1
    part: str = "crossbars"

    def faults(self, crossbars: int) -> FaultMap:
        """The stuck cells of the first ``crossbars`` crossbars.

        Raises:
            UserError: what ``FaultMap.sample`` refuses.
        """
        # The ratio is no part of the stream: another one turns cells from SA0 to SA1, but leaves them where they are.
        law = json.dumps(kind_mapping(self.pattern), sort_keys=True)
        stream = seed_sequence(self.seed, "silicon", self.part, float(self.rate).hex(), law, self.number)
        return FaultMap.sample(
            self.rows,
            self.columns,
            crossbars,
            self.rate,
            stream,
            self.sa0_sa1,
            self.pattern,
            (self.seed, self.number),
        )

    def of_part(self, part: str) -> Silicon:
        """Another part of the same chip."""
        return replace(self, part=part)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the faults of the first crossbars: tells whether another program draws the same chips."""
        return self.faults(64).content_hash


def conductance_stream(seed: int, faults: FaultMap | None, *key: int | str) -> np.random.SeedSequence:
    """The random stream ``key`` of the chip with these stuck cells: of its conductances, its disturbed reads.

    It depends on the chip's seed and number, not on how many cells are stuck or how many crossbars are drawn. ``seed``
    counts for a perfect chip, which is chip 0 without its faults; a map that was not drawn counts by its content.
    """
    if faults is None:
        return seed_sequence(seed, *key, 0)
    if faults.silicon is not None:
        return seed_sequence(faults.silicon[0], *key, faults.silicon[1])
    digest = hashlib.blake2b(f"{faults.rows} {faults.columns}".encode(), digest_size=8)
    for array in (faults.cells, faults.stuck_at):
        digest.update(array.tobytes())
    return seed_sequence(seed, *key, "map", int.from_bytes(digest.digest(), "little"))
