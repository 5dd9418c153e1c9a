"""The task of a run, as its model was fine-tuned on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.records import Finetuned
from crossvote.swstack.tasks import Task, load_task


def task_of_run(run: Path, config: RunConfig, train: bool = False) -> Task:
    """The task of a fine-tuned run, with its train examples or without them.

    Kind and classes of own data come from the train examples; without those, from what fine-tuning recorded of them, so
    that a model can be measured where its train data are not.

    Raises:
        UserError: data are absent or broken, or the run's record of fine-tuning is.
    """
    own = config.task
    if own.train is not None and not train:
        found = RunDirectory(run).read(paths.RESULTS["finetune"], Finetuned)
        own = replace(own, kind=found.kind, labels=found.labels)
    return load_task(own, config.seed, train)
