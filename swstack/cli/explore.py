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
    from crossvote.swstack.experiment.campaign.exploration import by_knowledge, front, load_exploration
    from crossvote.swstack.experiment.campaign.exploration import explore as search
    from crossvote.swstack.experiment.campaign.summary import AT_CHANCE

    check_engine(engine)
    spec = load_exploration(source)
    folder = place or Path("explorations") / spec.name
    out.resume = command_line("explore", source, *(("--dir", place) if place else ()))
    with out.progress() as progress:
        found = search(folder, spec, engine, lambda done, total: progress("candidates", done, total))
    refused = sum(one.refused is not None for one in found)
    fronts = {end: front(own, spec) for end, own in by_knowledge(found).items()}
    total = sum(map(len, fronts.values()))
    out.text(f"{folder}: {len(found)} candidates, {refused} refused, {total} on the front")
    for end, best in fronts.items():
        rows = [["candidate", *spec.space, "points lost", "energy, uJ", "latency, us", "area, mm2"]]
        for one in best:
            numbers = [f"{one.costs[name]:.4g}" for name in ("energy", "latency", "area")]
            rows.append([str(one.number), *(str(one.keys[key]) for key in spec.space), f"{one.lost:.2f}", *numbers])
        if end:
            out.text("Of schemes that know the stuck cells of each chip:")
        out.table(rows)
        if best and best[0].at_chance:
            out.text(f"All that could be on it are {AT_CHANCE}: what they lose says nothing about fault tolerance.")
    beside = {one.number for best in fronts.values() for one in best}
    blind = [str(one.number) for one in found if one.at_chance and one.number not in beside]
    if blind:
        out.text(f"{AT_CHANCE}, so not on the front whatever they lose: {', '.join(blind)}")
    on_it = [asdict(one) for best in fronts.values() for one in best]
    out.result({"folder": str(folder), "front": on_it, "refused": refused})
