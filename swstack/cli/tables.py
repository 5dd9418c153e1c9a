"""``crossvote tables``: the paper's tables for one's own runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossvote.sim.common.files import check_folder
from crossvote.swstack.cli.app import command
from crossvote.swstack.cli.output import Output


@command(examples=("crossvote tables runs/mrpc runs/sst2",))
def tables(
    out: Output,
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories that have been pruned.")],
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the tables go.")] = Path("tables"),
) -> None:
    """Write the paper's Table 1 and Table 2 and its weight histogram for one's own runs, beside the paper's numbers."""
    check_folder(folder)
    from crossvote.swstack.experiment.comparison.tables import tables as write

    paths = [str(path) for path in write(runs, folder)]
    for path in paths:
        out.text(path)
    out.result({"files": paths})
