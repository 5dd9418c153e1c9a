"""``crossvote list``: the runs there are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossvote.sim.common.errors import UserError
from crossvote.swstack.cli.app import command
from crossvote.swstack.cli.output import Output


@command("list", examples=("crossvote list", "crossvote list ~/experiments --json"))
def list_runs(
    out: Output,
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where to look.")] = Path("runs"),
) -> None:
    """List the run directories in a folder: model, task, schemes, and how far each has come."""
    from crossvote.swstack.experiment.run.branches import find_runs, status

    rows = [["run", "model", "task", "seed", "schemes", "stages done", "last finished"]]
    found = []
    for path in find_runs(folder):
        try:
            run = status(path)
        except UserError as error:  # one that cannot be read does not hide the others
            out.error(str(error))
            continue
        last = max((stage.finished for stage in run.stages if stage.finished), default="")
        done = f"{run.done} of {len(run.stages)}"
        rows.append([str(path), run.model, run.task, str(run.seed), ", ".join(run.schemes), done, last])
        found.append(
            {
                "run": str(path),
                "model": run.model,
                "task": run.task,
                "seed": run.seed,
                "schemes": run.schemes,
                "stages": len(run.stages),
                "stages done": run.done,
                "last finished": last or None,
            }
        )
    if found:
        out.table(rows)
    else:
        out.line(f"no runs in '{folder}'.")
    out.result(found)
