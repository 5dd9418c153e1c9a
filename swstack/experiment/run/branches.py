"""Runs that branch off others, and what runs there are and how far they have come."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import to_mapping
from crossvote.swstack.experiment.config import RunConfig, load_config
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.directory import RunDirectory, check_outside, is_campaign, is_run_directory, link
from crossvote.swstack.experiment.run.pipeline import pending
from crossvote.swstack.experiment.shipped import whole_config
from crossvote.swstack.experiment.stages import STAGES


@dataclass(frozen=True)
class StageStatus:
    """One stage of a run.

    state: 'finished'; 'outdated' (finished, but its configuration, its sources or its code changed since, or those of
    a stage before it); 'interrupted' (there are partial results); 'missing'. wall_seconds, finished: None unless there
    is a result. bytes: size of its artefacts on disk.
    """

    stage: str
    state: str
    wall_seconds: float | None
    finished: str | None
    bytes: int


@dataclass(frozen=True)
class RunStatus:
    """A run directory: its configuration in a few words and its stages."""

    path: Path
    model: str
    task: str
    seed: int
    schemes: tuple[str, ...]
    stages: tuple[StageStatus, ...]

    @property
    def done(self) -> int:
        """Stages that are finished."""
        return sum(stage.state == "finished" for stage in self.stages)


def _config(run: Path) -> RunConfig:
    if not is_run_directory(run):
        raise UserError(f"{run}: no run directory.")
    if not (run / paths.CONFIG).is_file():
        began = any(not entry.name.startswith(".") for entry in run.iterdir())
        why = "it was deleted, or the folder is no run" if began else "it was stopped before it began"
        raise UserError(f"{run}: holds no {paths.CONFIG}; {why}.")
    return load_config(whole_config(run), was_checked=True)


def fork(run: Path, new: Path, overrides: Sequence[str] = ()) -> tuple[str, ...]:
    """Make ``new`` a run of its own that starts from what ``run`` has finished and the changed keys leave valid.

    Files are shared by hard links where the file system has them, so a fork costs next to nothing; neither run ever
    changes a file of the other. Returns the stages that are finished under the new configuration; of the others nothing
    is taken over, so that no page or table in the fork tells of another configuration than its own. Trials are: each
    has a key of its own.
    The new run is whole or not there: a part of it would look like a run whose later stages were never done.

    Raises:
        UserError: no run, a place that is taken, or a wrong key. StorageError: the system refused a file.
    """
    _config(run)
    config = load_config(run / paths.CONFIG, overrides)
    if new.exists() and (not new.is_dir() or any(new.iterdir())):
        raise UserError(f"{new}: is there already; name a new or empty folder.")
    check_outside(new)
    source = RunDirectory(run)
    finished: list[str] = []
    with RunDirectory.open(new, whole=True) as target, target.configured(to_mapping(config)):
        missing = pending(source, config, STAGES)
        for stage in STAGES:
            beside = any((run / name).is_file() for name in stage.beside)  # of which the fork has none
            record = source.record(stage.name)
            if stage.name not in missing and not beside and record is not None:
                target.adopt(source, record)
                finished.append(stage.name)
        for trial in sorted((run / paths.TRIALS).glob("*.json")):
            link(trial, new / paths.TRIALS / trial.name)
    return tuple(finished)


def status(run: Path) -> RunStatus:
    """How far a run has come. Reads no model and no data, only their digests.

    Raises:
        UserError: no run directory, or one whose configuration cannot be read.
    """
    config = _config(run)
    directory = RunDirectory(run)
    missing = pending(directory, config, STAGES)
    stages = []
    for stage in STAGES:
        record, about = directory.record(stage.name), directory.about(stage.name)
        state = "finished" if stage.name not in missing else "outdated" if record is not None else "missing"
        folder = run / "work" / stage.name
        if state != "finished" and folder.is_dir() and any(folder.iterdir()):
            state = "interrupted"
        outputs = record.outputs if record is not None else ()
        size = sum((run / name).stat().st_size for name in outputs if (run / name).is_file())
        seconds, when = (about.wall_seconds, about.finished) if record and about else (None, None)
        stages.append(StageStatus(stage.name, state, seconds, when, size))
    name = Path(config.model.source).name
    return RunStatus(run, name, config.task.name, config.seed, config.map.schemes, tuple(stages))


def find_runs(folder: Path) -> list[Path]:
    """The run directories below ``folder``, itself included; what lies inside a run or a campaign is not looked at.

    Raises:
        UserError: no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; runs lie in 'runs' unless --run-dir says otherwise.")
    found = []
    for name, folders, _ in os.walk(folder):
        place = Path(name)
        if is_run_directory(place):
            found.append(place)
            folders.clear()
        elif is_campaign(place):
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    return found
