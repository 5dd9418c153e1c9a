"""Run the mapped model on the whole chip, for latency, energy and area beside accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.pipeline import Context, Stage
from crossvote.swstack.experiment.run.records import Costs
from crossvote.swstack.experiment.run.sources import dev_source
from crossvote.swstack.experiment.stages.common import settings


def perform(context: Context[RunConfig]) -> Sequence[str]:
    from crossvote.swstack.experiment.simulation.cost import costs

    result = costs(context.run.path, context.config.simulate, context.progress)
    return [context.write(paths.RESULTS["simulate"], Costs(**result))]


STAGE = Stage[RunConfig](
    "simulate",
    ("prune", "fault-training", "map"),
    lambda config: {
        **settings(config, ("task", "chip", "simulate"), {"task": {"train_limit"}}),
        "schemes": list(config.map.schemes),
        "embeddings": config.faults.embeddings,
    },
    perform,
    lambda config: (dev_source(config),),
    (
        __name__,
        "crossvote.swstack.experiment.simulation.cost",
        "crossvote.swstack.experiment.simulation.lengths",
        "crossvote.swstack.experiment.simulation.simulate",
        "crossvote.swstack.experiment.simulation.tokens",
        "crossvote.swstack.experiment.simulation.workloads",
    ),
)
