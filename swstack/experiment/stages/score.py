"""Measure the dense and the pruned model on the dev examples, in floating point."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.pipeline import Context, Stage
from crossvote.swstack.experiment.run.records import Score
from crossvote.swstack.experiment.run.sources import dev_source
from crossvote.swstack.experiment.stages.common import load_part, settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from crossvote.swstack.tasks import Task


def chance(task: Task, tokenizer: PreTrainedTokenizerBase, limit: int | None = None) -> dict[str, Any]:
    """Chance level of the primary metric on the dev examples that are measured; none of one of which less is better."""
    from crossvote.swstack.tasks.batches import encode
    from crossvote.swstack.tasks.chance import chance_level, chance_without_input
    from crossvote.swstack.tasks.kinds import kind_of
    from crossvote.swstack.tasks.metrics import METRICS

    primary = task.primary_metric
    if METRICS[primary].lower_is_better:
        return {}
    if kind_of(task.asks).one_answer:
        labels = [example.label for example in task.dev[:limit]]  # type: ignore[attr-defined]
        found = chance_level((primary,), labels, task.num_labels, task.regression)
    else:
        found = chance_without_input((primary,), encode(tokenizer, task.dev[:limit], task.max_length), task.labels)
    return dataclasses.asdict(found[primary])


def _perform(context: Context[RunConfig], folder: str, result: str) -> Sequence[str]:
    from crossvote.swstack.tasks.batches import encode
    from crossvote.swstack.training.loop import best_device
    from crossvote.swstack.training.predict import evaluate

    model, tokenizer, task = load_part(context.run.path, folder, context.config)
    model.to(best_device())  # type: ignore[arg-type]
    metrics = evaluate(model, tokenizer, task, progress=context.progress)
    unknown = encode(tokenizer, task.dev, task.max_length).unknown
    record = Score(metrics, chance(task, tokenizer), len(task.dev), task.provenance, unknown)
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
