"""Programmed around the stuck cells of each chip, with every line of a code on the bit line that suits it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.mapping.scheme import SCHEMES
from crossvote.swstack.mapping.schemes.closest import Closest


@SCHEMES.register("placed")
@config_dataclass
class Placed(Closest):
    """Programmed around the stuck cells of each chip, with every line of a code on the bit line that suits it.

    ``crossvote.swstack.inference.around.placed`` does it.
    """

    kind: Literal["placed"] = Field(default="placed", description="programmed around the stuck cells, placed first")  # type: ignore[assignment]

    def describe(self) -> str:
        what = "every line where the known faults of each chip do least harm and programmed around them"
        return f"{what}, {self._rest()}"
