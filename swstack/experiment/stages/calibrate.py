"""Measure the steps of "static" activations, once for all that use them; other activations need none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.pipeline import Context, Stage
from crossvote.swstack.experiment.run.records import Calibration
from crossvote.swstack.experiment.run.sources import Source, train_source
from crossvote.swstack.experiment.stages.common import TRAIN_ONLY, load_part, settings


def perform(context: Context[RunConfig]) -> Sequence[str]:
    steps = _steps(context) if _is_needed(context.config) else None
    return [context.write(paths.RESULTS["calibrate"], Calibration(steps))]


def _steps(context: Context[RunConfig]) -> dict[str, float]:
    from crossvote.swstack.evaluation.calibration import static_steps
    from crossvote.swstack.experiment.run.images import recorded_image

    model, tokenizer, task = load_part(context.run.path, paths.mapped_model(context.config), context.config, train=True)
    return static_steps(model, tokenizer, task, recorded_image(context.run.path, context.config.map.schemes[0]))


def _is_needed(config: RunConfig) -> bool:
    return config.quantization.activations == "static"


def _settings(config: RunConfig) -> dict[str, Any]:
    return settings(config, ("task", "quantization"), TRAIN_ONLY) if _is_needed(config) else {}


def _sources(config: RunConfig) -> Sequence[Source | None]:
    return (train_source(config),) if _is_needed(config) else ()


STAGE = Stage[RunConfig](
    "calibrate",
    ("prune", "fault-training", "map"),
    _settings,
    perform,
    _sources,
    (__name__, "crossvote.sim.array.image", "crossvote.swstack.models.loading"),
    _is_needed,
)
