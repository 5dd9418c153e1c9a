"""``crossvote compare``: pruning methods at equal sparsity."""

from __future__ import annotations

from typing import Annotated

import typer

from crossvote.sim.common.shell import command_line
from crossvote.swstack.cli.app import command
from crossvote.swstack.cli.options import GlueDir, Overrides, RunDir, Source
from crossvote.swstack.cli.output import Output
from crossvote.swstack.cli.work import resolve, update


@command(examples=("crossvote compare runs/mrpc --method gates --method movement --seeds 3",))
def compare(
    out: Output,
    source: Source = "default",
    override: Overrides = [],  # noqa: B006 - typer copies it
    run_dir: RunDir = None,
    glue_dir: GlueDir = None,
    method: Annotated[list[str], typer.Option(help="A pruning method; all of them otherwise. May be repeated.")] = [],  # noqa: B006
    column_sparsity: Annotated[
        list[float],
        typer.Option(
            help="Share of columns to prune; the configured one otherwise. May be repeated, for a curve. "
            "0: the dense model, trained on as long."
        ),
    ] = [],  # noqa: B006
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Seeds per method and share.")] = 1,
) -> None:
    """Compare pruning methods at equal sparsity, from the same fine-tuned model, with the same schedule."""
    from crossvote.swstack.experiment.comparison.in_run import (
        check_comparable,
        check_methods,
        check_targets,
        compare_in_run,
    )

    methods = check_methods(method)
    config, directory = resolve(source, override, run_dir, glue_dir)
    targets = check_targets(column_sparsity, config.prune.column_sparsity)
    methods = check_comparable(directory, config, targets, methods, named=bool(method))
    out.resume = command_line("compare", directory)
    update(out, directory, config, "finetune", force=False, last=False)
    with out.progress() as progress:
        rows = compare_in_run(directory, config, methods, targets, seeds, progress)
    out.table(rows)
    out.result({"table": rows})
