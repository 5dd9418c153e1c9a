"""Patterns of stuck cells: a kind is one file here, a configuration class that draws a block of crossbars.

Every pattern keeps the meaning of the rate (each cell is stuck with that probability) and of SA0:SA1, so that they
compare. A pattern in a configuration is a name (``pattern = "clustered"``) or a table with its settings
(``pattern = {kind = "clustered", cluster_size = 50.0}``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from crossvote.sim.common.later import Later
from crossvote.sim.common.registry import KIND_SCHEMA, Registry, kind_mapping, parse_kind
from crossvote.sim.common.schema import to_mapping

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    #: Sorted distinct cells of a block ((crossbar * rows + word line) * columns + bit line), and where they are SA1.
    Stuck = tuple[NDArray[np.int64], NDArray[np.bool_]]
else:
    np = Later("numpy")


@dataclass(frozen=True)
class Block:
    """Crossbars that are drawn together: ``crossbars`` of ``rows`` word lines x ``columns`` bit lines."""

    rows: int
    columns: int
    crossbars: int

    @property
    def size(self) -> int:
        """Number of cells."""
        return self.crossbars * self.rows * self.columns


class FaultPattern(Protocol):
    """Where stuck cells lie; implementations are configuration classes."""

    kind: ClassVar[str]

    def check(self, rows: int, columns: int) -> None:
        """Refuse crossbars on which the pattern cannot be what its settings say.

        Raises:
            UserError: such crossbars.
        """
        ...

    def draw(self, rng: np.random.Generator, block: Block, rate: float, sa1: float) -> Stuck:
        """Stuck cells of a block, each cell stuck with probability ``rate`` (above 0) and then SA1 with ``sa1``."""
        ...


PATTERNS: Registry[type[FaultPattern]] = Registry("fault pattern", __name__)


def parse_pattern(value: Any) -> FaultPattern:
    """The pattern meant by a name or by a table of settings with its name under ``kind``.

    Raises:
        UserError: neither, an unknown kind, or an unknown or impossible setting.
    """
    return parse_kind(PATTERNS, value)


def pattern_words(pattern: FaultPattern) -> str:
    """The pattern in words, as "clustered (cluster size 8, cluster radius 2)"."""
    settings = ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in to_mapping(pattern).items())
    return f"{pattern.kind.replace('_', ' ')}{f' ({settings})' if settings else ''}"


#: A pattern as a field of a configuration class.
PatternField = Annotated[Any, PlainValidator(parse_pattern), PlainSerializer(kind_mapping), WithJsonSchema(KIND_SCHEMA)]


#: Numbers that are drawn at once, so that what is made of them stays in the processor's cache.
_CHUNK = 1 << 14


def independent(rng: np.random.Generator, size: int, rate: float) -> NDArray[np.int64]:
    """Which of ``size`` things fail when each does so with probability ``rate``, sorted; O(number that fail).

    The gaps between failing things are geometric: floor(E / -ln(1 - rate)) for exponential E.
    """
    if rate >= 1:
        return np.arange(size, dtype=np.int64)
    if rate > 0.5:
        failed = np.ones(size, np.bool_)
        failed[independent(rng, size, 1 - rate)] = False
        return np.flatnonzero(failed)
    mean = size * rate
    step = -1 / np.log1p(-rate)
    last, found = -1, []
    while last < size - 1:
        places = np.empty(int(mean + 6 * mean**0.5 + 8), np.int64)
        for part in np.split(places, range(_CHUNK, len(places), _CHUNK)):
            gaps = rng.standard_exponential(len(part))
            gaps *= step
            if mean < 1:  # gaps of tiny rates would not fit into an integer
                np.minimum(gaps, size, out=gaps)
            np.copyto(part, gaps, casting="unsafe")
            part += 1
            part[0] += last
            np.cumsum(part, out=part)
            last = int(part[-1])
        found.append(places)
    places = found[0] if len(found) == 1 else np.concatenate(found)
    return places[: np.searchsorted(places, size)]


def stuck_values(rng: np.random.Generator, count: int, sa1: float) -> NDArray[np.bool_]:
    """True, for SA1, with probability ``sa1`` each."""
    values = np.empty(count, np.bool_)
    for part in np.split(values, range(_CHUNK, count, _CHUNK)):
        np.less(rng.random(len(part), dtype=np.float32), sa1, out=part)
    return values
