"""All properties, and how each is proved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tb.formal import axi, specs
from tb.formal.specs import Spec


@dataclass(frozen=True)
class Property:
    """A specification and how it is proved.

    quick: it ends within some seconds on an idle core, so that it can run whenever something is changed.
    """

    name: str
    create: Callable[[], Spec]
    mode: Literal["bmc", "prove"]
    depth: int
    quick: bool = True


PROPERTIES = (
    Property("median", specs.MedianIsMedian, "bmc", 7),
    Property("differences_are_exact", specs.DifferencesAreExact, "bmc", 1),
    Property("column_sums_fit", specs.ColumnSumsFit, "bmc", 3),
    Property("output_sums_fit", specs.OutputSumsFit, "bmc", 1),
    Property("outputs_add_up", specs.OutputsAddUp, "bmc", 11),
    Property("scaled_sums_fit", specs.ScaledSumsFit, "bmc", 4),
    Property("output_is_stable", specs.OutputIsStable, "prove", 2),
    Property("map_reads_back", specs.MapReadsBack, "bmc", 5),
    Property("axi_responses_are_stable", axi.ResponsesAreStable, "prove", 8),
    Property("axi_no_response_unasked", axi.NoResponseUnasked, "prove", 8),
    Property("axi_responses_are_bounded", axi.ResponsesAreBounded, "prove", 8),
    Property("results_are_right", specs.ResultsAreRight, "bmc", 11, quick=False),
)
