"""Pruning methods compared inside a run directory, from its fine-tuned model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from sim.csv_rows import write_csv
from sim.errors import UserError
from sim.progress import Progress, no_progress
from swstack.config import RunConfig
from swstack.models import ModelConfig
from swstack.prune.comparison import compare_methods, comparison_rows
from swstack.prune.pruning import Method
from swstack.run_directory import RunDirectory
from swstack.stages import DENSE
from swstack.tasks import load_task


def check_methods(methods: Sequence[str]) -> tuple[Method, ...]:
    """The methods by name, all of them for none.

    Raises:
        UserError: an unknown method.
    """
    known = get_args(Method)
    for method in methods:
        if method not in known:
            raise UserError(f"--method {method}: must be one of {', '.join(known)}.")
    return tuple(cast(Method, method) for method in methods) or known


def compare_in_run(
    directory: Path, config: RunConfig, methods: Sequence[Method], seeds: int, progress: Progress = no_progress
) -> list[list[str]]:
    """Prune the run's fine-tuned model with every method and ``seeds`` seeds; returns the table, header first.

    Finished prunings are kept in the run directory (``comparison/``) and taken up again; the table is written there as
    CSV.

    Raises:
        UserError: the run directory is in use, or not fine-tuned yet.
    """
    with RunDirectory.open(directory) as run:
        results = compare_methods(
            ModelConfig(source=str(run.path / DENSE)),
            load_task(config.task, config.seed),
            config.prune,
            methods,
            range(config.seed, config.seed + seeds),
            run.path / "comparison",
            progress,
        )
        rows = comparison_rows(results)
        write_csv(run.path / "comparison" / "comparison.csv", rows)
    return [list(rows[0]), *(list(row.values()) for row in rows)]
