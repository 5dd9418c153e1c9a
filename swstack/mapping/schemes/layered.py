"""More copies where errors hurt most: layer-wise, non-uniform redundancy after ATT (Guo et al., ICCD 2020)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.mapping.scheme import SCHEMES, Allocation, GroupStatistics, Placement, Scale, Scheme
from crossvote.swstack.mapping.schemes.replicas import Flip, Replicas


@SCHEMES.register("layered")
@config_dataclass
class Layered(Scheme):
    """Whole copies of all planes that vote, more of them for the word-line groups that are ranked more sensitive.

    Nothing is embedded: copies pay their full overhead in crossbars.
    """

    kind: Literal["layered"] = Field(default="layered", description="whole copies, more where errors hurt most")
    ranking: tuple[str, ...] = Field(
        default=(),
        description="word-line groups, or the ends of their names, from the most sensitive to the least, as crossvote "
        "sensitivity --part group finds them; groups that are not named count as the most sensitive",
    )
    copies: tuple[int, ...] = Field(
        default=(3, 1), min_length=1, description="copies of every plane in each class, the most sensitive first; odd"
    )
    shares: tuple[float, ...] = Field(
        default=(0.25,), description="share of the ranking that each class but the last takes, rounded up"
    )
    flip: Flip = Field(default="none", description="planes stored inverted: none, msb or all")
    vote: Literal["output", "crossbar"] = Field(
        default="output", description="where copies vote: on outputs added over all row blocks, or in each crossbar"
    )
    scale: Scale = Field(default="column", description="quantization scale: one per tensor, or one per output column")
    placement: Placement = Field(default="free", description="as for the other kinds of schemes")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.shares) != len(self.copies) - 1:
            raise ValueError(
                f"shares has {len(self.shares)} entries; {len(self.copies)} classes of copies need "
                f"{len(self.copies) - 1}, the last class takes the rest."
            )
        if any(not 0 < share < 1 for share in self.shares) or sum(self.shares) > 1:
            raise ValueError("shares must lie between 0 and 1 and add up to 1 at most.")
        if any(count < 1 or count % 2 == 0 for count in self.copies):
            raise ValueError(f"copies = {self.copies}: a median needs an odd number of copies, 1 or more.")
        if len(set(self.ranking)) != len(self.ranking):
            twice = next(name for name in self.ranking if self.ranking.count(name) > 1)
            raise ValueError(f"ranking names group '{twice}' twice.")
        return self

    def check_groups(self, names: Sequence[str]) -> None:
        for entry in self.ranking:
            found = sum(_is_named(name, entry) for name in names)
            if found != 1:
                raise UserError(
                    f"ranking: '{entry}' names {found or 'none'} of the model's word-line groups, which are called "
                    f"{names[0]} to {names[-1]}; name one, or the end of its name."
                )

    def copies_of(self, group: str) -> int:
        """Copies of every plane of a word-line group."""
        place, taken = next((i for i, entry in enumerate(self.ranking) if _is_named(group, entry)), None), 0
        if place is None:
            return max(self.copies)
        for share, count in zip(self.shares, self.copies, strict=False):
            taken += math.ceil(share * len(self.ranking))
            if place < taken:
                return count
        return self.copies[-1]

    def allocate(self, statistics: GroupStatistics, free_lines: int, faults: FaultMap | None = None) -> Allocation:
        """The copies of the group's class for every kept output, however many bit lines they take."""
        count = self.copies_of(statistics.name)
        own = Replicas(
            flip=self.flip, replicas={"all": count} if count > 1 else {}, vote=self.vote if count > 1 else "none"
        )
        return own.allocate(statistics, free_lines, faults)

    def describe(self) -> str:
        flip = {"none": "no plane flipped", "msb": "MSB plane flipped", "all": "all planes flipped"}[self.flip]
        classes = [f"{share:g} of the ranking" for share in self.shares] + ["the rest"]
        copies = " and ".join(f"{count} for {own}" for count, own in zip(self.copies, classes, strict=True))
        vote = {"output": "at the output", "crossbar": "in each crossbar pair"}[self.vote]
        return ", ".join([f"copies of all planes: {copies}", f"vote {vote}", flip, *self._common()])


def _is_named(group: str, entry: str) -> bool:
    """Whether an entry is a group's name, or the end of it from a dot on."""
    return f".{group}".endswith(f".{entry}")
