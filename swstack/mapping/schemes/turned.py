"""Programmed around the stuck cells of each chip, with the sign of every output and every line chosen for it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.mapping.scheme import SCHEMES
from crossvote.swstack.mapping.schemes.closest import Closest


@SCHEMES.register("turned")
@config_dataclass
class Turned(Closest):
    """Programmed around the stuck cells of each chip, with the sign of every output and every line chosen for it.

    ``crossvote.swstack.inference.around.turned`` does it.
    """

    kind: Literal["turned"] = Field(default="turned", description="programmed around the stuck cells, turned first")  # type: ignore[assignment]

    def describe(self) -> str:
        what = "signs of outputs and lines chosen and programmed around the known faults of each chip"
        return f"{what}, {self._rest()}"
