"""Programming around stuck cells, for chips whose fault map is known."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.mapping.scheme import SCHEMES
from crossvote.swstack.mapping.schemes.fixed import Fixed


@SCHEMES.register("closest")
@config_dataclass
class Closest(Fixed):
    """A code without votes whose cells are programmed anew for every chip: each weight takes the nearest value.

    The image holds what is programmed on a chip without faults; ``crossvote.swstack.inference.around`` changes it.
    """

    kind: Literal["closest"] = Field(default="closest", description="programmed around the stuck cells of each chip")  # type: ignore[assignment]
    lines: tuple[int, ...] = Field(
        default=(1,) * 7, min_length=1, description="bit lines of each kept plane, from the MSB downwards"
    )

    misread: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="chance that a read of the self-test, by which the faults are known, gives the other value",
    )

    knows_faults: ClassVar[bool] = True

    @model_validator(mode="after")
    def _no_votes(self) -> Self:
        if self.voted:
            raise ValueError("voted must be empty: where cells are programmed around faults, lines are added.")
        return self

    def describe(self) -> str:
        return f"programmed around the known faults of each chip, {self._rest()}"

    def _rest(self) -> str:
        test = f", {100 * self.misread:g} % of the self-test's reads wrong" if self.misread else ""
        return f"{Fixed.describe(self)}{test}"
