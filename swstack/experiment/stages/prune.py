"""Prune columns and rows of every word-line group, and train what is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.pipeline import Context, Stage
from crossvote.swstack.experiment.run.records import Pruned, SparsityRow
from crossvote.swstack.experiment.run.sources import train_source
from crossvote.swstack.experiment.stages.common import TRAIN_ONLY, load_part, settings

if TYPE_CHECKING:
    from crossvote.swstack.models.masks import Sparsity


def perform(context: Context[RunConfig]) -> Sequence[str]:
    from crossvote.swstack.models.loading import save_model
    from crossvote.swstack.models.masks import save_masks
    from crossvote.swstack.pruning.pruning import prune

    config = context.config
    model, tokenizer, task = load_part(context.run.path, paths.DENSE, config, train=True)
    result = prune(model, tokenizer, task, config.prune, config.seed, context.work, context.progress)
    save_model(model, tokenizer, context.out / paths.PRUNED)
    save_masks(result.masks, context.out / paths.MASKS)
    record = Pruned(
        history=result.history,
        completed_at_freeze=result.completed,
        reopened=result.reopened,
        matrices=tuple(_row(entry) for entry in result.sparsity if entry.kind == "matrix"),
        groups=tuple(_row(entry) for entry in result.sparsity if entry.kind == "group"),
    )
    return [paths.PRUNED, paths.MASKS, context.write(paths.RESULTS["prune"], record)]


def _row(entry: Sparsity) -> SparsityRow:
    return SparsityRow(entry.name, entry.inputs, entry.outputs, entry.column, entry.row, entry.element)


STAGE = Stage[RunConfig](
    "prune",
    ("finetune",),
    lambda config: settings(config, ("model", "task", "prune"), TRAIN_ONLY),
    perform,
    lambda config: (train_source(config),),
    (__name__,),
)
