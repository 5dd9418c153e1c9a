"""Measure the dense and the pruned model on the dev examples, in floating point."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crossvote.swstack.experiment import paths
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.pipeline import Context, Stage
from crossvote.swstack.experiment.records import Score
from crossvote.swstack.experiment.sources import dev_source
from crossvote.swstack.experiment.stages.common import load_part, settings

if TYPE_CHECKING:
    from crossvote.swstack.tasks import Task


def chance(task: Task, limit: int | None = None) -> dict[str, Any]:
    """Chance level of the primary metric on the dev examples that are measured."""
    from crossvote.swstack.tasks.chance import chance_level

    if task.asks not in ("classification", "regression", "image-classification"):
        return {}  # what one answer would be to such a question is not said
    labels = [example.label for example in task.dev[:limit]]  # type: ignore[union-attr]
    found = chance_level(task.metrics, labels, task.num_labels, task.regression)
    return dataclasses.asdict(found[task.primary_metric])


def _perform(context: Context[RunConfig], folder: str, result: str) -> Sequence[str]:
    from crossvote.swstack.tasks.batches import encode
    from crossvote.swstack.training.loop import best_device
    from crossvote.swstack.training.predict import evaluate

    model, tokenizer, task = load_part(context.run.path / folder, context.config)
    model.to(best_device())  # type: ignore[arg-type]
    metrics = evaluate(model, tokenizer, task, progress=context.progress)
    unknown = encode(tokenizer, task.dev, task.max_length).unknown
    record = Score(metrics, chance(task), len(task.dev), task.provenance, unknown)
    return [context.write(result, record)]


def _stage(name: str, measured: str, folder: str) -> Stage[RunConfig]:
    return Stage[RunConfig](
        name,
        (measured,),
        lambda config: settings(config, ("task",), {"task": {"train_limit"}}),
        lambda context: _perform(context, folder, paths.RESULTS[name]),
        lambda config: (dev_source(config),),
        # What the helper load_part loads is not seen from here.
        (__name__, "crossvote.swstack.models.loading"),
    )


DENSE = _stage("score-dense", "finetune", paths.DENSE)
PRUNED = _stage("score-pruned", "prune", paths.PRUNED)
