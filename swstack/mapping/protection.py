"""Protection schemes: how an image guards its most significant bits against stuck cells."""

from __future__ import annotations

import re
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import config_dataclass

Flip = Literal["none", "msb", "all"]
Scale = Literal["tensor", "column"]
Placement = Literal["in_place", "packed"]

_PLANE = re.compile(r"msb(?:-(\d+))?|(\d+)")


@config_dataclass
class Protection:
    """One protection scheme.

    The stages are those of arXiv 2401.11664: flipped planes store 1-bit in both crossbars of a pair (section 3.2),
    replicas of a plane are voted on by their median (Algorithm 1) and live in the bit lines of pruned outputs
    (Algorithm 2). What the paper leaves open (voting point, quantization scale, placement) is a field here.
    """

    flip: Flip = Field(default="none", description="planes stored inverted: none, msb or all")
    replicas: dict[str, int] = Field(
        default_factory=dict,
        description="copies of a plane (the original included, odd), by plane: 'msb', 'msb-1', ... or a number",
    )
    vote: Literal["none", "output", "crossbar"] = Field(
        default="none",
        description="where replicas vote: on outputs added over all row blocks, or in each crossbar pair",
    )
    scale: Scale = Field(default="tensor", description="quantization scale: one per tensor, or one per output column")
    placement: Placement = Field(
        default="in_place",
        description="in_place: outputs stay where the dense mapping has them; packed: kept outputs only",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for plane, count in self.replicas.items():
            if not _PLANE.fullmatch(plane):
                raise ValueError(f"replicas names plane '{plane}'; say 'msb', 'msb-1', ... or a plane number.")
            if count < 1 or count % 2 == 0:
                raise ValueError(f"replicas.{plane} = {count}: a median needs an odd number of replicas, 1 or more.")
        replicated = any(count > 1 for count in self.replicas.values())
        if replicated and self.vote == "none":
            raise ValueError("replicas need a vote: set vote to 'output' or 'crossbar'.")
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
            assert match is not None  # checked when the scheme was made
            plane = int(match[2]) if match[2] else planes - 1 - int(match[1] or 0)
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


PRESETS: dict[str, Protection] = {
    "none": Protection(),
    "none-column": Protection(scale="column"),
    "paper": Protection(flip="msb", replicas={"msb": 3}, vote="output"),
    "best": Protection(flip="all", replicas={"msb": 3}, vote="crossbar", scale="column", placement="packed"),
}


def preset(name: str) -> Protection:
    """The named scheme.

    Raises:
        UserError: there is no such preset.
    """
    if name not in PRESETS:
        raise UserError(f"unknown protection preset '{name}'; there are {', '.join(PRESETS)}.")
    return PRESETS[name]
