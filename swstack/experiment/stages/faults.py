"""Draw the chips: laws from which any part of a fault map follows, so nothing of the model is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.pipeline import Context, Stage
from crossvote.swstack.experiment.run.records import Chips
from crossvote.swstack.experiment.stages.common import settings


def perform(context: Context[RunConfig]) -> Sequence[str]:
    from crossvote.swstack.evaluation.chips import draw_silicon

    config, crossbar = context.config, context.config.chip.crossbar
    config.faults.pattern.check(crossbar.rows, crossbar.columns)
    silicon = draw_silicon(config.faults, config.seed, crossbar.rows, crossbar.columns)
    return [context.write(paths.CHIPS, Chips(tuple(chip.record() for chip in silicon)))]


def _settings(config: RunConfig) -> dict[str, Any]:
    """The law of the chips, and the size of their crossbars."""
    crossbar = config.chip.crossbar
    chosen = settings(config, ("faults",), {"faults": {"embeddings"}})
    return {**chosen, "rows": crossbar.rows, "columns": crossbar.columns}


STAGE = Stage[RunConfig](
    "faults",
    (),
    _settings,
    perform,
    # Not all that lies beside the laws: how a sweep measures decides no chip. Patterns come with the configuration.
    code=("crossvote.sim.array.silicon", "crossvote.sim.array.patterns"),
)
