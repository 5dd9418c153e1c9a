"""``crossvote fork``: a run that branches off another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossvote.sim.common.shell import command_line
from crossvote.swstack.cli.app import command
from crossvote.swstack.cli.options import Overrides
from crossvote.swstack.cli.output import Output


@command(examples=("crossvote fork runs/mrpc runs/mrpc-30-chips -o faults.chips=30",))
def fork(
    out: Output,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run to start from.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Where the new run is to live.")],
    override: Overrides = [],  # noqa: B006 - typer copies it
) -> None:
    """Start a new run from all that another has finished, with changed keys; the files are shared, not copied."""
    from crossvote.swstack.experiment.run.branches import fork as branch

    finished = branch(run, new, override)
    there = ", ".join(finished) or "nothing"
    out.text(f"{new}: finished in it already: {there}; go on with: {command_line('run', new)}")
    out.result({"run": str(new), "from": str(run), "finished": list(finished)})
