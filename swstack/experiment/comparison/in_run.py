"""Pruning methods compared inside a run directory, from its fine-tuned model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from crossvote.sim.common.csv_rows import write_csv
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.swstack.experiment.checks import check_pending
from crossvote.swstack.experiment.comparison.methods import compare_methods, comparison_rows, loss_points
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.directory import RunDirectory, check_place
from crossvote.swstack.experiment.run.pipeline import pending
from crossvote.swstack.experiment.run.records import Score
from crossvote.swstack.experiment.work import chosen_stages
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.pruning.methods import METHODS
from crossvote.swstack.report.figures import loss_figure, save_figure
from crossvote.swstack.tasks import load_task
from crossvote.swstack.tasks.chance import Chance


def check_methods(methods: Sequence[str]) -> tuple[str, ...]:
    """The methods by name, all of them for none.

    Raises:
        UserError: an unknown method.
    """
    known = METHODS.names()
    for method in methods:
        if method not in known:
            raise UserError(f"--method {method}: must be one of {', '.join(known)}.")
    return tuple(methods) or known


def check_targets(shares: Sequence[float], default: float) -> tuple[float, ...]:
    """The shares of columns to prune, ascending; the configured one for none.

    Raises:
        UserError: a share that is none.
    """
    for share in shares:
        if not 0 <= share < 1:
            raise UserError(f"--column-sparsity {share:g}: must be at least 0 and below 1.")
    return tuple(sorted(set(shares))) or (default,)


def check_comparable(
    directory: Path, config: RunConfig, targets: Sequence[float], methods: Sequence[str], named: bool
) -> tuple[str, ...]:
    """Refuse, before anything is fine-tuned, a share of columns that cannot be pruned; returns the methods to compare.

    named: whether the user named these methods; of those that nobody named, one that is not for the model is left out.

    Raises:
        UserError: such a share, what the stages of the run would refuse, or a named method that is not for the model.
    """
    check_place(directory)
    missing = pending(RunDirectory(directory), config, chosen_stages("finetune"))
    # The run's own method is not asked for here, and the first one takes any model.
    most = replace(config, prune=replace(config.prune, method=METHODS.names()[0], column_sparsity=max(targets)))
    model = check_pending(most, directory, [*missing, "prune"]).model
    assert model is not None
    possible = []
    for method in methods:
        try:
            METHODS[method].check(model)
        except UserError:
            if named:
                raise
        else:
            possible.append(method)
    return tuple(possible)


def compare_in_run(
    directory: Path,
    config: RunConfig,
    methods: Sequence[str],
    targets: Sequence[float],
    seeds: int,
    progress: Progress = no_progress,
) -> list[list[str]]:
    """Prune the run's fine-tuned model with every method, share of columns and seed; returns the table, header first.

    Finished prunings are kept in the run directory (``comparison/``) and taken up again; the table is written there as
    CSV, and the loss over the shares as a picture.

    Raises:
        UserError: the run directory is in use, or not fine-tuned yet.
    """
    with RunDirectory.open(directory) as run:
        scored = run.read(paths.RESULTS["score-dense"], Score).chance
        results = compare_methods(
            ModelConfig(source=str((run.path / paths.DENSE).resolve()), layout=config.model.layout),
            load_task(config.task, config.seed),
            config.prune,
            methods,
            targets,
            range(config.seed, config.seed + seeds),
            run.path / paths.COMPARISON,
            progress,
        )
        rows = comparison_rows(results, Chance(**scored) if scored else None)
        write_csv(run.path / paths.COMPARISON / "comparison.csv", rows)
        save_figure(loss_figure(loss_points(results), results[0].metric), run.path / paths.COMPARISON, "comparison")
    return [list(rows[0]), *(list(row.values()) for row in rows)]
