"""Which bit line of a word-line group means what: its output, its bit, its weight, and where replicas vote."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.later import Later

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = Later("numpy")

#: Where replicas vote: nowhere, on outputs, in each crossbar pair, or in each crossbar of a pair alone.
Vote = Literal["none", "output", "crossbar", "alone"]


@dataclass(frozen=True, eq=False)
class VoteGroups:
    """All terms of a column map that have the same number r of lines; with r = 1 there is nothing to vote on.

    Attributes:
        lines: int64[n, r], the bit lines of a term in replica order.
        output: int64[n]. plane: int64[n], the bit the lines hold. shift: int64[n], weight 2^shift of the term.
    """

    lines: NDArray[np.int64]
    output: NDArray[np.int64]
    plane: NDArray[np.int64]
    shift: NDArray[np.int64]


def set_left_out(lines: Any) -> None:
    """What a map of bit lines means where it leaves arrays out: plain weights, no copies, no checksums."""
    usual = {
        "shift": lines.plane.copy(),
        "copy": np.zeros_like(lines.plane),
        "checksum": np.full(len(lines.plane), -1, np.int8),
    }
    for name, array in usual.items():
        if getattr(lines, name) is None:
            object.__setattr__(lines, name, array)


@dataclass(frozen=True, eq=False)
class ColumnMap:
    """What each bit line of a word-line group holds, and with which weight; arrays with one entry per bit line.

    An output is a sum of *terms*, y = sum over its terms of 2^shift v. A term is named by (output, plane, shift, copy)
    and has one line, v its column sum, or an odd number of replicas, v their median. Terms of one plane share the
    weight of that bit: over them, the 2^shift add up to 2^plane. One line of plane 6 with shift 6 is the plain case;
    four summed lines of plane 6 have shift 4 and the copies 0 to 3; three have the shifts 5, 4 and 4 (copies 0, 0 and
    1); three that vote have shift 6, copy 0 and the replicas 0 to 2. A plane that no line holds counts as 0.

    Attributes:
        output: int32, output of the group, or -1 where the bit line is unused.
        plane: int8, bit plane: which bit of the magnitude the cells hold.
        replica: int8, 0 to r-1 within the vote; 0 where nothing votes. flipped: bool, stores 1-bit.
        shift: int8, the line counts 2^shift; left out, every line carries its plane's whole weight (shift = plane).
        copy: int8, numbers terms of equal (output, plane, shift), which are added, from 0; left out, it is 0.
        check: int32, of a line of an output the number of the checksum that covers it, of a checksum line the one that
            it belongs to (``crossvote.sim.array.checksum``), else -1; left out, nothing is checked.
        checksum: int8, bit of its checksum that a line holds, -1 where it is no checksum line.

    Raises:
        UserError: two bit lines for the same (output, plane, shift, copy, replica), copies or replicas that are not
            numbered from 0, an even number of replicas, replicas flipped in part, terms of a plane whose weights
            do not add up to the plane's, or checksums that do not hold all bits or do not cover whole outputs.
    """

    output: NDArray[np.int32]
    plane: NDArray[np.int8]
    replica: NDArray[np.int8]
    flipped: NDArray[np.bool_]
    shift: NDArray[np.int8] = None  # type: ignore[assignment]
    copy: NDArray[np.int8] = None  # type: ignore[assignment]
    check: NDArray[np.int32] = None  # type: ignore[assignment]
    checksum: NDArray[np.int8] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        set_left_out(self)
        if self.check is None:
            object.__setattr__(self, "check", np.full(len(self.output), -1, np.int32))
        arrays = (self.output, self.plane, self.replica, self.flipped, self.shift, self.copy, self.check, self.checksum)
        if len({array.shape for array in arrays}) != 1:
            raise UserError(
                "a column map needs output, plane, replica, flipped, shift, copy, check and checksum for every bit "
                "line, or leaves the last four out."
            )
        _ = self.vote_groups
        self._check_checksums()

    @classmethod
    def unused(cls, lines: int) -> ColumnMap:
        """A map of ``lines`` bit lines of which none is used."""
        return cls(
            np.full(lines, -1, np.int32),
            np.zeros(lines, np.int8),
            np.zeros(lines, np.int8),
            np.zeros(lines, np.bool_),
        )

    def widened(self, lines: int) -> ColumnMap:
        """The map with unused bit lines behind its own, ``lines`` in all."""
        more = ColumnMap.unused(lines - len(self))
        names = (field.name for field in fields(self))
        return ColumnMap(**{name: np.concatenate([getattr(self, name), getattr(more, name)]) for name in names})

    def __len__(self) -> int:
        return len(self.output)

    @property
    def used(self) -> NDArray[np.bool_]:
        """bool[lines], True where the bit line holds something of an output."""
        return self.output >= 0

    @property
    def read(self) -> NDArray[np.bool_]:
        """bool[lines], True where the bit line is read: it holds something of an output or of a checksum."""
        return self.used | (self.checksum >= 0)

    @property
    def checksum_bits(self) -> int:
        """Bit lines of each checksum; 0 where there is none."""
        return int(self.checksum.max(initial=-1)) + 1

    @property
    def checksums(self) -> int:
        """How many checksums there are."""
        return int(self.check.max(initial=-1)) + 1

    def checked_lines(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The lines that a checksum covers, ascending, and those that hold it, lowest bit first."""
        own = np.flatnonzero(self.check == number)
        holds = self.checksum[own] >= 0
        return own[~holds], own[holds][np.argsort(self.checksum[own[holds]])]

    @cached_property
    def term(self) -> NDArray[np.int64]:
        """int64[lines], the term of each line, counted from 0 by output, plane, shift and copy; -1 where unused."""
        term = np.full(len(self), -1, np.int64)
        lines, first = self._sorted_lines
        term[lines] = np.cumsum(first) - 1
        return term

    @cached_property
    def repeats(self) -> NDArray[np.bool_]:
        """bool[lines], True for all but one line of an (output, plane): replicas and summed copies."""
        lines, _ = self._sorted_lines
        repeats = np.zeros(len(self), np.bool_)
        repeats[lines[1:]] = (np.diff(self.output[lines]) == 0) & (np.diff(self.plane[lines]) == 0)
        return repeats

    @cached_property
    def _sorted_lines(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Used lines by output, plane, shift, copy and replica, and where a term begins among them."""
        lines = np.flatnonzero(self.used)
        keys = (self.replica, self.copy, self.shift, self.plane, self.output)
        order = lines[np.lexsort([key[lines] for key in keys])]
        first = np.ones(len(order), np.bool_)
        first[1:] = np.any([np.diff(key[order]) != 0 for key in keys[1:]], axis=0)
        return order, first

    def _name(self, line: int) -> str:
        return f"output {self.output[line]}, plane {self.plane[line]}, shift {self.shift[line]}, copy {self.copy[line]}"

    @cached_property
    def vote_groups(self) -> tuple[VoteGroups, ...]:
        """The terms, one ``VoteGroups`` per replica count that occurs, ascending."""
        order, begins = self._sorted_lines
        if not len(order):
            return ()
        first = np.flatnonzero(begins)
        counts = np.diff(first, append=len(order))
        wrong = np.flatnonzero(self.replica[order] != np.arange(len(order)) - np.repeat(first, counts))
        if wrong.size:
            line = int(order[wrong[0]])
            raise UserError(
                f"bit line {line} claims replica {self.replica[line]} of {self._name(line)}; "
                "replicas must be numbered 0, 1, 2, ... with one bit line each."
            )
        if (counts % 2 == 0).any():
            at = int(np.flatnonzero(counts % 2 == 0)[0])
            raise UserError(f"{self._name(int(order[first[at]]))} has {counts[at]} replicas; the number must be odd.")
        flips = np.add.reduceat(self.flipped[order].astype(np.int64), first)
        if ((flips != 0) & (flips != counts)).any():
            raise UserError("the replicas of one plane must be all flipped or all plain.")
        self._check_weights(order[first])
        lead = order[first]
        return tuple(
            VoteGroups(
                lines=order[first[counts == r][:, None] + np.arange(r)],
                output=self.output[lead[counts == r]].astype(np.int64),
                plane=self.plane[lead[counts == r]].astype(np.int64),
                shift=self.shift[lead[counts == r]].astype(np.int64),
            )
            for r in np.unique(counts)
        )

    def _check_checksums(self) -> None:
        """Refuse checksums that are not numbered, that lack a bit or outputs, and outputs that are covered in part."""
        bits, number = self.checksum_bits, self.checksums
        if not bits and not number:
            return
        held = self.checksum >= 0
        both = np.flatnonzero(held & self.used)
        if both.size:
            raise UserError(f"bit line {both[0]} holds both a checksum and {self._name(int(both[0]))}.")
        astray = np.flatnonzero((self.check >= 0) != self.read)
        if astray.size:
            what = "is part of no checksum" if self.read[astray[0]] else "is part of a checksum, but holds nothing"
            raise UserError(f"bit line {astray[0]} {what}.")
        places = np.sort(self.check[held].astype(np.int64) * bits + self.checksum[held])
        covering = np.unique(self.check[self.used])
        if not np.array_equal(places, np.arange(number * bits)) or len(covering) != number:
            raise UserError(f"{number} checksums need the bits 0 to {bits - 1} on one bit line each, and outputs.")
        lines, _ = self._sorted_lines
        torn = np.flatnonzero((np.diff(self.output[lines]) == 0) & (np.diff(self.check[lines]) != 0))
        if torn.size:
            raise UserError(f"output {self.output[lines[torn[0]]]} is covered by two checksums.")

    def _check_weights(self, lead: NDArray[np.int64]) -> None:
        """Refuse copies that are not numbered, and weights that do not add up; ``lead``: first line of each term."""
        output, plane, shift = (a[lead].astype(np.int64) for a in (self.output, self.plane, self.shift))
        if min(plane.min(), shift.min()) < 0:
            raise UserError("planes and shifts of a column map count from 0.")
        same = np.zeros(len(lead), np.bool_)
        same[1:] = (np.diff(output) == 0) & (np.diff(plane) == 0) & (np.diff(shift) == 0)
        starts = np.flatnonzero(~same)
        expected = np.arange(len(lead)) - np.repeat(starts, np.diff(starts, append=len(lead)))
        wrong = np.flatnonzero(self.copy[lead] != expected)
        if wrong.size:
            line = int(lead[wrong[0]])
            raise UserError(f"bit line {line} holds {self._name(line)}; copies must be numbered 0, 1, 2, ...")
        planes = np.ones(len(lead), np.bool_)
        planes[1:] = (np.diff(output) != 0) | (np.diff(plane) != 0)
        starts = np.flatnonzero(planes)
        weights = np.add.reduceat(np.left_shift(np.int64(1), shift), starts)
        off = np.flatnonzero(weights != np.left_shift(np.int64(1), plane[starts]))
        if off.size:
            at = starts[off[0]]
            raise UserError(
                f"the lines of output {output[at]}, plane {plane[at]} count {weights[off[0]]} together, "
                f"but the bit is worth {1 << plane[at]}."
            )
