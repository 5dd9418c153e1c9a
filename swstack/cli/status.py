"""``crossvote status``: how far a run has come."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from crossvote.swstack.cli.app import command
from crossvote.swstack.cli.output import Output


@command(examples=("crossvote status runs/mrpc",))
def status(out: Output, run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]) -> None:
    """Say which stages of a run are finished, outdated, interrupted or missing, without doing anything."""
    from crossvote.swstack.experiment.run.branches import status as look

    found = look(run)
    out.line(f"{run}: {found.model} on {found.task}, seed {found.seed}, schemes {', '.join(found.schemes)}")
    rows = [["stage", "state", "took, s", "MB", "finished"]]
    for stage in found.stages:
        took = "" if stage.wall_seconds is None else f"{stage.wall_seconds:.1f}"
        size = f"{stage.bytes / 1e6:.1f}" if stage.bytes else ""
        rows.append([stage.stage, stage.state, took, size, stage.finished or ""])
    out.table(rows)
    out.result({**asdict(found), "path": str(run)})
