"""The paper's tables from finished runs: what each run measured becomes a row of Table 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crossvote.sim.common.errors import UserError
from crossvote.swstack.experiment.comparison.paper_tables import PruningRecord, write_tables
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.records import Finetuned, Pruned, Score
from crossvote.swstack.experiment.shipped import find_run_config
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.tasks.chance import Chance


def record_of(run: Path) -> PruningRecord:
    """Dense and pruned metric and the sparsity of a run that has been pruned.

    Raises:
        UserError: no run directory, or one whose pruning is not finished.
    """
    config = load_config(find_run_config(run))
    directory = RunDirectory(run)
    trained = directory.read(paths.RESULTS["finetune"], Finetuned)
    dense = directory.read(paths.RESULTS["score-dense"], Score)
    pruned = directory.read(paths.RESULTS["prune"], Pruned)
    after = directory.read(paths.RESULTS["score-pruned"], Score)
    weights = [matrix.inputs * matrix.outputs for matrix in pruned.matrices]
    zeros = [matrix.element_sparsity * size for matrix, size in zip(pruned.matrices, weights, strict=True)]
    return PruningRecord(
        task=trained.task,
        metric=trained.metric,
        seed=config.seed,
        dense=dense.metrics[trained.metric],
        pruned=after.metrics[trained.metric],
        column_sparsity=min(group.column_sparsity for group in pruned.groups),
        element_sparsity=sum(zeros) / sum(weights),
        note=dense.provenance,
        chance=Chance(**dense.chance) if dense.chance else None,
    )


def tables(runs: Sequence[Path], folder: Path) -> tuple[Path, ...]:
    """Write Table 1 of all runs, and Table 2 and the weight histogram of the first run's dense model.

    Raises:
        UserError: no run, or one whose pruning is not finished.
    """
    if not runs:
        raise UserError("name at least one run directory.")
    records = [record_of(run) for run in runs]
    model, _ = load_model(
        ModelConfig(source=str(RunDirectory(runs[0]).whole(paths.DENSE))), num_labels=2, regression=False, seed=0
    )
    return write_tables(folder, records, model)
