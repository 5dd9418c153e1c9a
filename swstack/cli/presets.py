"""``crossvote presets``: what ships with CrossVote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossvote.sim.common.errors import UserError
from crossvote.swstack.cli.app import command
from crossvote.swstack.cli.output import Output


@command(examples=("crossvote presets", "crossvote presets isaac-ce > my-chip.toml", "crossvote presets --json"))
def presets(
    out: Output,
    name: Annotated[
        str | None, typer.Argument(help="A configuration or a chip, whose file is printed: to copy and to change.")
    ] = None,
) -> None:
    """List the shipped configurations, chips, protection schemes and tasks, or print the file of one."""
    from crossvote.sim.chip.shipped import chip_presets
    from crossvote.swstack.experiment.shipped import shipped_configs
    from crossvote.swstack.mapping.protection import PRESETS
    from crossvote.swstack.tasks.named import TASKS

    if name is not None:
        files = {**shipped_configs(), **chip_presets()}
        if name not in files:
            raise UserError(f"preset '{name}': there are the configurations and chips {', '.join(files)}.")
        text = files[name].read_text(encoding="utf-8")
        out.text(text.rstrip("\n"))
        out.result({"name": name, "toml": text})
        return
    configurations = {name: _headline(path) for name, path in shipped_configs().items()}
    chips = {name: _headline(path) for name, path in chip_presets().items()}
    schemes = {name: scheme.describe() for name, scheme in PRESETS.items()}
    tasks = TASKS.names()
    _section(out, "configurations", "crossvote run NAME", configurations)
    _section(out, "chips", "-o chip.preset=NAME", chips)
    _section(out, "protection schemes", "-o 'map.schemes=[...]'", schemes)
    out.text("tasks  (-o task.name=NAME)")
    out.text(f"  {', '.join(tasks)}")
    out.result({"configurations": configurations, "chips": chips, "schemes": schemes, "tasks": tasks})


def _section(out: Output, title: str, use: str, rows: dict[str, str]) -> None:
    out.text(f"{title}  ({use})")
    width = max(map(len, rows))
    for name, text in rows.items():
        out.text(f"  {name:<{width}}  {text}")
    out.text("")


def _headline(path: Path) -> str:
    """The first comment of a TOML file, which says what it is."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line.removeprefix("#").strip() for line in lines if line.startswith("#")), "")
