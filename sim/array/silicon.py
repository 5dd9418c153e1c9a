"""The silicon: what is stuck, and how conductances vary, as a function of a chip's seed and number and of the crossbar.

A crossbar is known by its index on the chip. Images take crossbars from index 0 on, word-line group after word-line
group, so every scheme meets the same silicon, and neither another scheme nor a larger image changes any of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossvote.sim.array.faults import PAPER_SA0_SA1, UNIFORM, FaultMap
from crossvote.sim.array.patterns import FaultPattern, parse_pattern
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import at_home, reading, write_text_atomic
from crossvote.sim.common.later import Later
from crossvote.sim.common.registry import kind_mapping
from crossvote.sim.common.seeds import seed_sequence

if TYPE_CHECKING:
    import numpy as np
else:
    np = Later("numpy")

#: What of a chip is meant if nothing else is said.
CROSSBARS = "crossbars"


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
    part: str = CROSSBARS

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

    def record(self) -> dict[str, Any]:
        """The chip as plain values, with a fingerprint that ``of_record`` checks."""
        return {
            "seed": self.seed,
            "number": self.number,
            "rate": self.rate,
            "rows": self.rows,
            "columns": self.columns,
            "pattern": kind_mapping(self.pattern),
            "sa0_sa1": list(self.sa0_sa1),
            "fingerprint": self.fingerprint,
            **({} if self.part == CROSSBARS else {"part": self.part}),
        }

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Silicon:
        """The chip of a record.

        Raises:
            UserError: the program draws another chip from the record than the one that made it.
        """
        silicon = cls(
            record["seed"],
            record["number"],
            record["rate"],
            record["rows"],
            record["columns"],
            parse_pattern(record["pattern"]),
            (record["sa0_sa1"][0], record["sa0_sa1"][1]),
            record.get("part", CROSSBARS),
        )
        if silicon.fingerprint != record["fingerprint"]:
            raise UserError(
                f"chip {silicon.number} at rate {silicon.rate!r} is not the one that was drawn before, because this "
                "version of CrossVote or NumPy draws others; draw the chips again."
            )
        return silicon

    def save(self, path: str | Path) -> None:
        """Write the chip's record as JSON."""
        write_text_atomic(at_home(path), json.dumps(self.record(), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Silicon:
        """What ``save`` wrote.

        Raises:
            UserError: no such file, another kind of file, or a chip that this program draws otherwise.
        """
        with reading(at_home(path), "chip"):
            return cls.of_record(json.loads(at_home(path).read_text(encoding="utf-8")))

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
