"""Fine-tune the encoder on the train examples."""

from __future__ import annotations

from collections.abc import Sequence

from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.pipeline import Context, Stage
from crossvote.swstack.experiment.run.records import Finetuned
from crossvote.swstack.experiment.run.sources import model_source, train_source
from crossvote.swstack.experiment.stages.common import TRAIN_ONLY, settings


def perform(context: Context[RunConfig]) -> Sequence[str]:
    from crossvote.swstack.models.loading import load, save_model
    from crossvote.swstack.tasks import load_task
    from crossvote.swstack.tasks.kinds import head_of
    from crossvote.swstack.training.finetune import finetune

    config = context.config
    task = load_task(config.task, config.seed)
    model, tokenizer = load(config.model, head_of(task), config.seed)
    result = finetune(model, tokenizer, task, config.finetune, config.seed, context.work, context.progress)
    save_model(model, tokenizer, context.out / paths.DENSE)
    record = Finetuned(
        task=task.name,
        kind=task.asks,
        labels=task.labels,
        provenance=task.provenance,
        metric=task.primary_metric,
        train_examples=len(task.train),
        history=result.history,
    )
    return [paths.DENSE, context.write(paths.RESULTS["finetune"], record)]


STAGE = Stage[RunConfig](
    "finetune",
    (),
    lambda config: settings(config, ("model", "task", "finetune"), TRAIN_ONLY),
    perform,
    lambda config: (model_source(config.model.source), train_source(config)),
    (__name__,),
)
