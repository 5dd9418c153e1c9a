"""``crossvote explore``: which chip and which scheme cost least at a loss that is allowed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from crossvote.sim.common.shell import command_line
from crossvote.swstack.cli.app import command
from crossvote.swstack.cli.output import Output


@command(examples=("crossvote explore chips.toml --engine process:4",))
def explore(
    out: Output,
    source: Annotated[Path, typer.Argument(metavar="EXPLORATION", help="The exploration's TOML file.")],
    place: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="Its folder; otherwise explorations/NAME.")
    ] = None,
    engine: Annotated[str, typer.Option(metavar="ENGINE", help="As for 'crossvote sweep run'.")] = "serial",
) -> None:
    """Search chips, schemes and pruning shares for the least cost at a loss that is allowed; goes on where it was."""
    from crossvote.swstack.experiment.campaign.engines import check_engine
    from crossvote.swstack.experiment.campaign.exploration import explore as search
    from crossvote.swstack.experiment.campaign.exploration import front, load_exploration
    from crossvote.swstack.experiment.campaign.summary import AT_CHANCE

    check_engine(engine)
    spec = load_exploration(source)
    folder = place or Path("explorations") / spec.name
    out.resume = command_line("explore", source, *(("--dir", place) if place else ()))
    with out.progress() as progress:
        found = search(folder, spec, engine, lambda done, total: progress("candidates", done, total))
    best = front(found, spec)
    rows = [["candidate", *spec.space, "points lost", "energy, uJ", "latency, us", "area, mm2"]]
    for one in best:
        numbers = [f"{one.costs[name]:.4g}" for name in ("energy", "latency", "area")]
        rows.append([str(one.number), *(str(one.keys[key]) for key in spec.space), f"{one.lost:.2f}", *numbers])
    refused = sum(one.refused is not None for one in found)
    out.text(f"{folder}: {len(found)} candidates, {refused} refused, {len(best)} on the front")
    out.table(rows)
    blind = [str(one.number) for one in found if one.at_chance]
    if best and best[0].at_chance:
        out.text(f"All that could be on it are {AT_CHANCE}: what they lose says nothing about fault tolerance.")
    elif blind:
        out.text(f"{AT_CHANCE}, so not on the front whatever they lose: {', '.join(blind)}")
    out.result({"folder": str(folder), "front": [asdict(one) for one in best], "refused": refused})
