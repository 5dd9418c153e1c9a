"""Programmed around the stuck cells of each chip, with outputs and inputs in the order that suits it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.mapping.scheme import SCHEMES
from crossvote.swstack.mapping.schemes.closest import Closest


@SCHEMES.register("permuted")
@config_dataclass
class Permuted(Closest):
    """Programmed around the stuck cells of each chip, with outputs and inputs in the order that suits it.

    ``crossvote.swstack.inference.around.permuted`` does it.
    """

    kind: Literal["permuted"] = Field(
        default="permuted", description="programmed around the stuck cells, permuted first"
    )  # type: ignore[assignment]

    def describe(self) -> str:
        what = "outputs and inputs in the best order for the known faults of each chip and programmed around them"
        return f"{what}, {self._rest()}"
