"""Bringing a run directory up to a stage, for the commands that do so."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from crossvote.sim.common.errors import UserError
from crossvote.swstack.cli.app import FAILED
from crossvote.swstack.cli.output import Output

if TYPE_CHECKING:
    from crossvote.swstack.experiment.config import RunConfig


def work(
    out: Output,
    target: str,
    source: str,
    overrides: list[str],
    run_dir: Path | None,
    glue_dir: Path | None,
    force: bool,
) -> None:
    """Bring a run directory up to and including the stage ``target``."""
    config, directory = resolve(source, overrides, run_dir, glue_dir)
    out.resume = f"crossvote {'run' if target == 'report' else target} {directory}"
    update(out, directory, config, target, force)


def resolve(source: str, overrides: list[str], run_dir: Path | None, glue_dir: Path | None) -> tuple[RunConfig, Path]:
    """The configuration and the run directory that the arguments mean.

    Raises:
        UserError: there is no such configuration or directory, or a key is wrong.
    """
    from crossvote.swstack.experiment.config import find_config, load_config
    from crossvote.swstack.experiment.run_directory import CONFIG

    path = find_config(source)
    if glue_dir is not None:
        if not glue_dir.is_dir():
            raise UserError(f"--glue-dir {glue_dir}: no such directory.")
        # JSON's string escapes are TOML's, so that quotes and backslashes in a path survive.
        overrides = [*overrides, f"task.glue_dir={json.dumps(str(glue_dir.resolve()))}"]
    own = path.parent if path == Path(source).expanduser() / CONFIG else Path("runs") / path.stem
    return load_config(path, overrides), run_dir or own


def update(out: Output, directory: Path, config: RunConfig, target: str, force: bool) -> None:
    """Do the stages that are missing up to ``target``, and print what they give.

    Raises:
        UserError: the configuration asks for something that cannot be.
        typer.Exit: a co-simulated output differs from the reference.
    """
    from crossvote.sim.common.schema import to_mapping
    from crossvote.swstack.experiment.pipeline import bring_up_to_date, needed
    from crossvote.swstack.experiment.run_directory import RunDirectory
    from crossvote.swstack.experiment.stages import STAGES, check_inputs, cosimulation_is_exact, summarize

    check_inputs(config)
    chosen = needed(STAGES, target)
    settings = {stage.name: stage.settings(config) for stage in chosen}
    with RunDirectory.open(directory) as run, run.configured(to_mapping(config)):
        out.line(str(directory), style="bold")
        with out.progress() as progress:
            bring_up_to_date(
                run,
                config,
                chosen,
                settings,
                progress,
                lambda stage, what: out.pair(f"{stage:<9}", what),
                force=target if force else None,
            )
        lines = summarize(run, target)
        for line in lines:
            out.text(line)
        out.result({"run": os.fspath(directory), "stage": target, "summary": lines})
        if target in ("cosim", "report") and not cosimulation_is_exact(run):
            out.error("a co-simulated output differs from the reference.")
            raise typer.Exit(FAILED)
