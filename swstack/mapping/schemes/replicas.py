"""Whole copies of chosen planes that vote: the paper's protection and its variations."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.later import Later
from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.mapping.scheme import MOST_LINES, SCHEMES, Allocation, GroupStatistics, Scheme, Term

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = Later("numpy")

Flip = Literal["none", "msb", "all"]

_PLANE = re.compile(r"msb(?:-(\d+))?|(\d+)")


@SCHEMES.register("replicas")
@config_dataclass
class Replicas(Scheme):
    """Every plane is kept; some have an odd number of copies, whose median counts.

    The stages are those of arXiv 2401.11664: flipped planes store 1-bit in both crossbars of a pair (section 3.2),
    replicas of a plane are voted on by their median (Algorithm 1) and live in the bit lines of pruned outputs
    (Algorithm 2). What the paper leaves open (voting point, quantization scale, placement) is a field here.
    """

    kind: Literal["replicas"] = Field(default="replicas", description="whole copies of planes that vote")
    flip: Flip = Field(default="none", description="planes stored inverted: none, msb or all")
    replicas: dict[str, int] = Field(
        default_factory=dict,
        description="copies of a plane (the original included, odd), by plane: 'msb', 'msb-1', ..., a number, or 'all'",
    )
    vote: Literal["none", "output", "crossbar", "alone"] = Field(
        default="none",
        description="where replicas vote: on outputs added over all row blocks, in each crossbar pair, or in each "
        "crossbar of the pair alone",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for plane, count in self.replicas.items():
            if plane != "all" and not _PLANE.fullmatch(plane):
                raise ValueError(f"replicas names plane '{plane}'; say 'msb', 'msb-1', ..., a plane number or 'all'.")
            if count < 1 or count % 2 == 0:
                raise ValueError(f"replicas.{plane} = {count}: a median needs an odd number of replicas, 1 or more.")
            if count > MOST_LINES:
                raise ValueError(f"replicas.{plane} = {count}: a plane can have {MOST_LINES} replicas at most.")
        replicated = any(count > 1 for count in self.replicas.values())
        if replicated and self.vote == "none":
            raise ValueError("replicas need a vote: set vote to 'output', 'crossbar' or 'alone'.")
        if not replicated and self.vote != "none":
            raise ValueError(
                f"vote = '{self.vote}' has nothing to vote on: give a plane 3 replicas or set vote 'none'."
            )
        return self

    def replica_counts(self, planes: int) -> NDArray[np.int64]:
        """Replicas of each plane, int64[planes], for weights of ``planes`` magnitude planes.

        Raises:
            UserError: a plane that weights of this width do not have, or that is named twice.
        """
        counts = np.ones(planes, np.int64)
        named: dict[int, str] = {}
        for name, count in self.replicas.items():
            match = _PLANE.fullmatch(name)
            chosen = range(planes)
            if match is not None:
                plane = int(match[2]) if match[2] else planes - 1 - int(match[1] or 0)
                chosen = range(plane, plane + 1)
            for plane in chosen:
                if not 0 <= plane < planes:
                    raise UserError(f"protection.replicas names plane '{name}', but the weights have {planes} planes.")
                if plane in named:
                    raise UserError(f"protection.replicas names plane {plane} twice, as '{named[plane]}' and '{name}'.")
                named[plane] = name
                counts[plane] = count
        return counts

    def flipped_planes(self, planes: int) -> NDArray[np.bool_]:
        """Which planes are stored inverted, bool[planes]."""
        flipped = np.full(planes, self.flip == "all")
        flipped[-1] = self.flip != "none"
        return flipped

    def allocate(self, statistics: GroupStatistics, free_lines: int, faults: FaultMap | None = None) -> Allocation:
        """One code for all outputs, however many bit lines it takes.

        With cells of two bits, planes 0 and 1, 2 and 3, ... share a bit line; it is flipped or replicated as the most
        protected of its planes.
        """
        firsts = statistics.cell_planes
        counts = np.maximum.reduceat(self.replica_counts(statistics.planes), firsts)
        flipped = np.logical_or.reduceat(self.flipped_planes(statistics.planes), firsts)
        code = tuple(
            Term(plane, plane, count, flip)
            for plane, count, flip in zip(firsts.tolist(), counts.tolist(), flipped.tolist(), strict=True)
        )
        return Allocation.uniform(code, statistics.kept, self.vote)

    def describe(self) -> str:
        flip = {"none": "no plane flipped", "msb": "MSB plane flipped", "all": "all planes flipped"}[self.flip]
        copies = [
            f"{count} replicas of {'every plane' if plane == 'all' else f'plane {plane}'}"
            for plane, count in self.replicas.items()
            if count > 1
        ]
        vote = {
            "none": [],
            "output": ["vote at the output"],
            "crossbar": ["vote in each crossbar pair"],
            "alone": ["vote in each crossbar alone"],
        }[self.vote]
        return ", ".join([flip, *(copies or ["no replicas"]), *vote, *self._common()])
