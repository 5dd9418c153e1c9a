"""All properties, and how each is proved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tb.formal import axi, checking, framing, marching, specs, steps
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


@dataclass(frozen=True)
class Exchange:
    """A proof that clocks from any state may be played in another way (``tb.formal.steps``).

    proved: whether it holds; gets a folder for its files. depth: clocks of the longer way.
    """

    name: str
    proved: Callable[[Path], bool]
    depth: int
    mode: str = "any state"
    quick: bool = True


PROPERTIES: tuple[Property | Exchange, ...] = (
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
    Property("mismatches_are_those", checking.MismatchesAreThose, "bmc", 8),
    Property("only_whole_vectors", framing.OnlyWholeVectors, "bmc", 14),
    Property("cells_are_asked_in_turn", marching.CellsAreAskedInTurn, "bmc", 16),
    Exchange("beats_may_wait", steps.beats_may_wait, 6),
    Exchange("counting_may_be_left_out", steps.counting_may_be_left_out, 2),
    Property("results_are_right", specs.ResultsAreRight, "bmc", 11, quick=False),
)
