"""The code with the least expected error at a design fault rate, within the bit lines that pruning freed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from crossvote.sim.array.faults import PAPER_SA0_SA1, FaultMap, Ratio
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.later import Later
from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.mapping.scheme import SCHEMES, Allocation, Code, GroupStatistics, Placement, Scale, Scheme

if TYPE_CHECKING:
    import numpy as np
else:
    np = Later("numpy")


@SCHEMES.register("optimal")
@config_dataclass
class Optimal(Scheme):
    """Planes, copies and votes chosen for each group, or each output, by ``crossvote.swstack.mapping.codes``.

    It never takes more bit lines than the dense mapping has, and with none freed still trades low planes for copies.
    """

    kind: Literal["optimal"] = Field(default="optimal", description="codes by optimisation at a design fault rate")
    design_rate: float = Field(
        default=0.05, gt=0, lt=0.5, description="fault rate at which the expected squared error of the outputs is least"
    )
    sa0_sa1: Ratio = Field(
        default=PAPER_SA0_SA1, description="ratio of cells stuck at high (read 0) to stuck at low resistance (read 1)"
    )
    per: Literal["group", "output"] = Field(
        default="output", description="one code for a whole word-line group, or one for every output"
    )
    votes: bool = Field(default=False, description="whether three lines of a plane may vote in each crossbar pair")
    most_lines: int = Field(default=20, ge=1, le=64, description="most bit lines of an output")
    scale: Scale = Field(default="column", description="quantization scale: one per tensor, or one per output column")
    placement: Placement = Field(default="free", description="as for the other kinds of schemes")

    def allocate(self, statistics: GroupStatistics, free_lines: int, faults: FaultMap | None = None) -> Allocation:
        """The best codes within ``free_lines``.

        Raises:
            UserError: cells of several bits, or fewer bit lines than the shortest codes take.
        """
        from crossvote.swstack.mapping.codes import FaultLaw, best_codes, deal_lines  # not to read a configuration

        if statistics.cell_bits != 1:
            raise UserError(
                f"group {statistics.name}: codes are for one-bit cells, not for {statistics.cell_bits} bits."
            )
        kept = np.flatnonzero(statistics.kept)
        if not len(kept):
            return Allocation((), np.full(len(statistics.kept), -1), "none")
        law = FaultLaw.of(self.design_rate, self.sa0_sa1)
        ones = statistics.ones[:, kept]
        weight = (statistics.scale[kept].astype(float) ** 2) * statistics.sensitivity[kept]
        if self.per == "group":
            ones = (ones @ weight / weight.sum())[:, None]
        table = best_codes(ones, law, self.most_lines, statistics.vote_rows if self.votes else None)
        fewest = int(np.isfinite(table.cost).any(axis=1).argmax())
        if not np.isfinite(table.cost).any():
            raise UserError(
                f"group {statistics.name}: no code of up to {self.most_lines} bit lines runs on the output peripheral; "
                "raise most_lines."
            )
        if free_lines < fewest * len(kept):
            raise UserError(
                f"group {statistics.name}: its {len(kept)} outputs need {fewest} bit lines each at least, "
                f"{fewest * len(kept) - free_lines} more than there are."
            )
        if self.per == "group":
            most = min(self.most_lines, free_lines // len(kept))
            dealt = np.full(len(kept), int(table.cost[: most + 1, 0].argmin()))
            chosen = [table.code(0, int(dealt[0]))] * len(kept)
        else:
            dealt, _ = deal_lines(table.cost, weight, free_lines)
            chosen = [table.code(i, int(lines)) for i, lines in enumerate(dealt)]
        numbers: dict[Code, int] = {}
        code_of = np.full(len(statistics.kept), -1, np.int64)
        code_of[kept] = [numbers.setdefault(code, len(numbers)) for code in chosen]
        codes = tuple(numbers)
        voted = any(term.replicas > 1 for code in codes for term in code)
        return Allocation(codes, code_of, "crossbar" if voted else "none")

    def describe(self) -> str:
        lines = "summed or voted on" if self.votes else "summed"
        what = f"codes of {lines} copies for each {self.per}, best at {100 * self.design_rate:g} % of stuck cells"
        return ", ".join([what, *self._common()])
