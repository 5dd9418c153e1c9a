"""``crossvote sensitivity``: what the faults of one part alone cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from crossvote.sim.common.shell import command_line
from crossvote.swstack.cli.app import command
from crossvote.swstack.cli.output import Output


@command(examples=("crossvote sensitivity runs/mrpc --part plane --rate 0.01 --chips 10 --engine process:2",))
def sensitivity(
    out: Output,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory with images.")],
    part: Annotated[
        list[str], typer.Option(help="layer, role, group or plane. May be repeated; layer, role and plane otherwise.")
    ] = [],  # noqa: B006 - typer copies it
    scheme: Annotated[str | None, typer.Option(help="A scheme of the run; its first otherwise.")] = None,
    rate: Annotated[float | None, typer.Option(min=0, max=1, help="Fault rate; the run's highest otherwise.")] = None,
    chips: Annotated[int | None, typer.Option(min=1, help="Chips; the run's number otherwise.")] = None,
    engine: Annotated[str, typer.Option(metavar="ENGINE", help="As for 'crossvote sweep run'.")] = "process",
) -> None:
    """Measure what stuck cells in one layer, matrix role, word-line group or bit plane alone cost, part by part."""
    from crossvote.swstack.experiment.campaign.engines import check_engine
    from crossvote.swstack.experiment.campaign.sensitivity import FOLDER
    from crossvote.swstack.experiment.campaign.sensitivity import sensitivity as measure

    check_engine(engine)
    with out.campaign(run / FOLDER) as watch:
        rows = measure(run, part or ("layer", "role", "plane"), scheme, rate, chips, engine, watch)
    table = [["part", "points lost", "95 % interval", "chips"]]
    for row in rows:
        table.append(
            [row["part"], f"{row['points lost']:.2f}", f"{row['low']:.2f} to {row['high']:.2f}", str(row["chips"])]
        )
    out.table(table)
    ranking = [row["part"].removeprefix("group.") for row in rows if row["part"].startswith("group.")]
    if ranking:
        out.line(f"ranking = {json.dumps(ranking)}  # for a scheme of kind layered: crossvote config map.protection")
    out.line(f"in the report with: {command_line('report', run)}")
    out.result(rows)
