"""A code written down by hand: so many bit lines for each of the top planes, summed or voted on."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.mapping.scheme import (
    MOST_LINES,
    SCHEMES,
    Allocation,
    Code,
    GroupStatistics,
    Scheme,
    Term,
    equal_shares,
)


@SCHEMES.register("fixed")
@config_dataclass
class Fixed(Scheme):
    """One code for every output: bit lines of the MSB, of the plane below, and so on; planes not named are left out.

    Summed copies carry power-of-two shares of their bit's weight (the mean of the copies); voted ones its median.
    """

    kind: Literal["fixed"] = Field(default="fixed", description="one code for all outputs, from the MSB downwards")
    lines: tuple[int, ...] = Field(min_length=1, description="bit lines of each kept plane, from the MSB downwards")
    voted: tuple[int, ...] = Field(
        default=(), description="which of these planes vote, 0 for the MSB; their number of bit lines is odd"
    )
    flip: Literal["none", "all"] = Field(default="all", description="planes stored inverted: none or all")
    vote: Literal["output", "crossbar"] = Field(
        default="crossbar", description="where voted planes vote: over all row blocks, or in each crossbar pair"
    )
    zero_space: bool = Field(default=False, description="refuse to need more crossbars than the dense mapping")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if min(self.lines) < 1:
            raise ValueError(f"lines = {list(self.lines)}: every kept plane has a bit line at least.")
        if max(self.lines) > MOST_LINES:
            raise ValueError(f"lines = {list(self.lines)}: a plane can have {MOST_LINES} bit lines at most.")
        for index in self.voted:
            if not 0 <= index < len(self.lines):
                raise ValueError(f"voted names plane {index} below the MSB, but {len(self.lines)} planes are kept.")
            if self.lines[index] % 2 == 0:
                raise ValueError(
                    f"voted plane {index} has {self.lines[index]} bit lines; a median needs an odd number."
                )
        return self

    def code(self, planes: int) -> Code:
        """The code for weights of ``planes`` magnitude planes.

        Raises:
            UserError: fewer planes than the code has, or more summed lines than a plane's weight can be shared by.
        """
        if len(self.lines) > planes:
            raise UserError(f"the code keeps {len(self.lines)} planes, but the weights have {planes}.")
        terms: list[Term] = []
        for index, count in enumerate(self.lines):
            plane, flipped = planes - 1 - index, self.flip == "all"
            if index in self.voted:
                terms.append(Term(plane, plane, count, flipped))
            else:
                terms += [Term(plane, shift, 1, flipped) for shift in equal_shares(plane, count)]
        return tuple(terms)

    def allocate(self, statistics: GroupStatistics, free_lines: int, faults: FaultMap | None = None) -> Allocation:
        """The code for every kept output.

        Raises:
            UserError: cells of several bits, what ``code`` refuses, or with ``zero_space`` too many bit lines.
        """
        if statistics.cell_bits != 1:
            raise UserError(
                f"group {statistics.name}: codes are for one-bit cells, not for {statistics.cell_bits} bits."
            )
        voted = any(self.lines[index] > 1 for index in self.voted)
        allocation = Allocation.uniform(self.code(statistics.planes), statistics.kept, self.vote if voted else "none")
        needed = int(allocation.widths.sum())
        if self.zero_space and needed > free_lines:
            raise UserError(
                f"group {statistics.name}: the code needs {needed} bit lines, {needed - free_lines} more than the "
                f"{free_lines} of the dense mapping; prune more columns or use fewer lines."
            )
        return allocation

    def describe(self) -> str:
        planes = [
            f"{count} {'voted' if index in self.voted and count > 1 else 'summed' if count > 1 else 'line'}"
            for index, count in enumerate(self.lines)
        ]
        flip = "all planes flipped" if self.flip == "all" else "no plane flipped"
        return ", ".join([f"top {len(planes)} planes with {'/'.join(planes)}", flip, *self._common()])
