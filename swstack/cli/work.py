"""Bringing a run directory up to a stage, for the commands that do so."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import at_home
from crossvote.sim.common.shell import command_line
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
    dry_run: bool = False,
) -> None:
    """Bring a run directory up to and including the stage ``target``, or say what that would take."""
    config, directory = resolve(source, overrides, run_dir, glue_dir)
    if dry_run:
        from crossvote.swstack.cli.dry_run import show

        show(out, directory, config, target, force)
        return
    out.resume = command_line("run" if target == "report" else target, directory)
    update(out, directory, config, target, force)


def resolve(source: str, overrides: list[str], run_dir: Path | None, glue_dir: Path | None) -> tuple[RunConfig, Path]:
    """The configuration and the run directory that the arguments mean.

    GLUE comes from the environment's CROSSVOTE_GLUE_DIR where nothing else names a folder and the task is there.

    Raises:
        UserError: there is no such configuration or directory, or a key is wrong.
    """
    from crossvote.swstack.experiment.run.paths import CONFIG
    from crossvote.swstack.experiment.shipped import find_config

    path = find_config(source)  # before the classes of the configuration are loaded: a wrong name is answered at once
    from crossvote.sim.common.schema import to_mapping
    from crossvote.swstack.experiment.config import load_config
    from crossvote.swstack.experiment.run.directory import RunDirectory, check_outside

    if glue_dir is not None:
        if not glue_dir.is_dir():
            raise UserError(f"--glue-dir {glue_dir}: no such directory.")
        overrides = [*overrides, _glue_at(glue_dir)]
    is_run = path == at_home(source) / CONFIG
    own = path.parent if is_run else Path("runs") / path.stem
    config = load_config(path, overrides, was_checked=True)
    named = os.environ.get("CROSSVOTE_GLUE_DIR")
    if named and config.task.glue_dir is None:
        from crossvote.swstack.tasks.named import known_name
        from crossvote.swstack.tasks.named.glue import GLUE_TASKS

        task = known_name(config.task.name)
        if task in GLUE_TASKS and (at_home(named) / GLUE_TASKS[task].folder).is_dir():
            config = load_config(path, [*overrides, _glue_at(at_home(named))], was_checked=True)
    directory = run_dir or own
    if not (is_run and not overrides) and not RunDirectory(directory).is_configured(to_mapping(config)):
        load_config(path, overrides)  # what goes together is looked up once, where the sentence names the file
    if run_dir is not None:
        check_outside(run_dir)
    return config, directory


def _glue_at(folder: Path) -> str:
    """The override, as TOML writes it, so that quotes, backslashes and any letter in a path survive."""
    import tomli_w

    return f"task.{tomli_w.dumps({'glue_dir': str(folder.resolve())}).strip()}"


def update(out: Output, directory: Path, config: RunConfig, target: str, force: bool, last: bool = True) -> None:
    """Do the stages that are missing up to ``target``, and print what they give.

    last: whether that is the command's result; otherwise the command goes on from there and has one of its own.

    Raises:
        UserError: the configuration asks for something that cannot be.
        typer.Exit: a co-simulated output differs from the reference.
    """
    from crossvote.swstack.experiment.stages.summary import summarize
    from crossvote.swstack.experiment.work import bring_up, cosimulation_is_exact

    out.line(str(directory), style="bold")
    with out.progress() as progress:
        run = bring_up(
            directory,
            config,
            target,
            force=force,
            progress=progress,
            say=lambda stage, what: out.pair(f"{stage:<14}", what),
        )
    lines = summarize(run, target)
    for line in lines:
        out.text(line)
    if last:
        out.result({"run": os.fspath(directory), "stage": target, "summary": lines})
    if target in ("cosim", "report") and not cosimulation_is_exact(run):
        out.error("a co-simulated output, or count of checksums that do not hold, differs from the reference.")
        raise typer.Exit(FAILED)
