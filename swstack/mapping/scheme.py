"""What a protection scheme is: a code for every output, and where its bit lines go.

A *code* says which planes of an output are kept, how many bit lines each has, and whether these vote or are summed
(``crossvote.sim.array.column_map.ColumnMap``). A scheme is a configuration class that gives every output of a
word-line group its code; each kind of scheme is a file in ``schemes`` that registers itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.later import Later
from crossvote.sim.common.registry import Registry, parse_kind
from crossvote.sim.common.schema import config_dataclass

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crossvote.sim.array.column_map import Vote
    from crossvote.sim.array.faults import FaultMap
else:
    np = Later("numpy")

Scale = Literal["tensor", "column"]
Placement = Literal["in_place", "packed", "free", "apart", "beside"]


@dataclass(frozen=True)
class Term:
    """One summand of an output: a bit line, or an odd number of ``replicas`` that vote; it counts 2^shift.

    With cells of several bits, ``plane`` is the lowest plane of the cell.
    """

    plane: int
    shift: int
    replicas: int = 1
    flipped: bool = False


#: Most bit lines of a plane: images count copies and replicas in 8 bits with a sign.
MOST_LINES = 127

#: The terms of one output; over the terms of a plane, 2^shift add up to 2^plane.
Code = tuple[Term, ...]


def code_lines(code: Code) -> NDArray[np.int8]:
    """The bit lines of a code, int8[lines, 5]: plane, shift, copy, replica, flipped; a plane's first line first."""
    copies: dict[tuple[int, int], int] = {}
    rows = []
    for term in sorted(code, key=lambda term: (term.plane, term.shift)):
        copy = copies[term.plane, term.shift] = copies.get((term.plane, term.shift), -1) + 1
        rows += [(term.plane, term.shift, copy, replica, term.flipped) for replica in range(term.replicas)]
    return np.array(rows, np.int8).reshape(-1, 5)


def equal_shares(plane: int, lines: int) -> tuple[int, ...]:
    """Shifts of ``lines`` summed copies of a plane whose weights are as equal as powers of two can be, largest first.

    Splitting the largest share in two, again and again, gives the least sum of squared weights.

    Raises:
        UserError: more copies than 2^plane, which would count less than one each.
    """
    if lines > 1 << plane:
        raise UserError(f"plane {plane} can be shared by {1 << plane} summed bit lines at most, not by {lines}.")
    level = lines.bit_length() - 1
    split = lines - (1 << level)  # so many of the 2^level equal shares are halved once more
    return (plane - level,) * ((1 << level) - split) + (plane - level - 1,) * (2 * split)


@dataclass(frozen=True, eq=False)
class GroupStatistics:
    """What a scheme may know about a word-line group when it chooses codes.

    Attributes:
        name: of the group. planes: B. cell_bits: bits of a cell.
        q: int32[K, N], the quantized weights. kept: bool[N], outputs that are not pruned.
        scale: float32[N], weight = scale * integer.
        moments: float64[K], mean square of each input in its own unit; only the ratios count.
        sensitivity: float64[N], what a squared error of each output costs; only the ratios count.
        vote_rows: driven word lines of a full crossbar, whose errors meet in a vote of crossbar pairs.
    """

    name: str
    planes: int
    cell_bits: int
    q: NDArray[np.int32]
    kept: NDArray[np.bool_]
    scale: NDArray[np.float32]
    moments: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    vote_rows: int

    @property
    def cell_planes(self) -> NDArray[np.int64]:
        """The lowest plane of each cell of a weight; with one-bit cells 0 to B-1."""
        return np.arange(0, self.planes, self.cell_bits)

    @cached_property
    def ones(self) -> NDArray[np.float64]:
        """float64[B, N]: share of each output's weights whose magnitude has the bit, inputs weighed by ``moments``."""
        weight = (self.moments / self.moments.sum()).astype(np.float32)
        magnitude = np.abs(self.q)
        return np.stack([weight @ ((magnitude >> b) & 1).astype(np.float32) for b in range(self.planes)]).astype(float)


@dataclass(frozen=True, eq=False)
class Allocation:
    """Codes of the outputs of a group.

    Attributes:
        codes: the different codes. code_of: int64[N], which one each output has, -1 for a pruned output.
        vote: where replicas vote, "none" if there are none.
    """

    codes: tuple[Code, ...]
    code_of: NDArray[np.int64]
    vote: Vote

    @cached_property
    def widths(self) -> NDArray[np.int64]:
        """int64[N], bit lines of each output."""
        lines = np.array([sum(term.replicas for term in code) for code in self.codes] + [0], np.int64)
        return lines[self.code_of]

    @cached_property
    def lowest(self) -> NDArray[np.int64]:
        """int64[N], the lowest plane that each output keeps; 0 for a pruned one."""
        planes = np.array([min(term.plane for term in code) for code in self.codes] + [0], np.int64)
        return planes[self.code_of]

    @classmethod
    def uniform(cls, code: Code, kept: NDArray[np.bool_], vote: Vote) -> Allocation:
        """The same code for every kept output."""
        return cls((code,), np.where(kept, 0, -1), vote)


@config_dataclass
class Scheme:
    """What all kinds of schemes have; see the files in ``schemes`` for the kinds."""

    scale: Scale = Field(default="tensor", description="quantization scale: one per tensor, or one per output column")
    placement: Placement = Field(
        default="in_place",
        description="in_place: outputs stay where the dense mapping has them, copies go to the bit lines of pruned "
        "outputs; packed: kept outputs only, whole ones in a crossbar; free: kept outputs only, side by side across "
        "crossbars; apart: as free, but with the lines of an output in different crossbars; beside: every output has "
        "room for its copies, pruned ones too",
    )

    compensated_rate: float | None = Field(
        default=None,
        gt=0,
        lt=0.5,
        description="fault rate whose expected shrinkage of the weights the scales make up for; absent: none",
    )
    checksum_bits: int | None = Field(
        default=None,
        ge=1,
        le=16,
        description="bit lines of a checksum that each output peripheral checks its column sums against; the chip's "
        "opc.checksum_bits has to be as many at least; absent: none",
    )

    #: Whether the codes depend on the fault map of the chip; such schemes are reported apart.
    knows_faults: ClassVar[bool] = False

    @model_validator(mode="after")
    def _checkable(self) -> Self:
        if self.checksum_bits is not None and self.knows_faults:
            raise ValueError(
                "checksum_bits is for schemes that are blind to faults: one that programs around them leaves cells "
                "that are known to be wrong."
            )
        return self

    def allocate(self, statistics: GroupStatistics, free_lines: int, faults: FaultMap | None = None) -> Allocation:
        """Codes of a group's outputs, within ``free_lines`` bit lines in all where the scheme says so.

        Raises:
            UserError: a plane that the weights do not have, or too few bit lines.
        """
        raise NotImplementedError

    def check_groups(self, names: Sequence[str]) -> None:
        """Refuse a scheme that speaks of word-line groups that a model, which has these, does not have.

        Raises:
            UserError: naming the group.
        """

    def describe(self) -> str:
        """The scheme in words."""
        raise NotImplementedError

    def _common(self) -> list[str]:
        scale = {"tensor": "one scale per tensor", "column": "one scale per output column"}[self.scale]
        place = {
            "in_place": "outputs in place",
            "packed": "kept outputs packed",
            "free": "kept outputs side by side",
            "apart": "the lines of an output in different crossbars",
            "beside": "copies beside every output",
        }[self.placement]
        rate = self.compensated_rate
        bits = self.checksum_bits
        made_up = [] if rate is None else [f"scales made up for {100 * rate:g} % of stuck cells"]
        checked = [] if bits is None else [f"checksums of {bits} bit lines"]
        return [scale, place, *made_up, *checked]

    @property
    def gain(self) -> float:
        """What scales are multiplied with: stuck cells of a share p shrink every weight by 1 - p on average."""
        return 1.0 if self.compensated_rate is None else 1 / (1 - self.compensated_rate)


SCHEMES: Registry[type[Scheme]] = Registry("kind of scheme", "crossvote.swstack.mapping.schemes", lazy=True)


def scheme_from(values: Mapping[str, Any] | Scheme, where: str = "protection") -> Scheme:
    """A scheme from plain values; without a ``kind`` it is one of "replicas".

    Raises:
        UserError: an unknown kind, or values that this kind refuses.
    """
    return parse_kind(SCHEMES, values, where, default="replicas")


#: The type of a configuration field that takes a scheme of any kind as a table.
AnyScheme = Annotated[SerializeAsAny[Scheme], BeforeValidator(scheme_from)]
