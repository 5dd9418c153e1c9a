"""A run is a directory: the resolved configuration, one record per finished stage, and what the stages left.

A stage's *key* is a digest of everything that decides its result: the settings it reads, the content of the files it
reads from outside, the content of the artefacts it reads, and the code it runs. Its record (``stages/NAME.json``) is
written last, so a stage is finished exactly when its record carries the current key and every artefact still has the
recorded content. What is unfinished is done again in a folder of its own, from the partial results it may have kept
there, and takes the old result's place when it is whole; what is finished is left alone, also when the configuration
changes in a way that does not concern it. No key holds a path: a run directory can be moved.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import tomli_w

from crossvote.sim.common.content import digest, file_digest
from crossvote.sim.common.errors import StorageError, UserError
from crossvote.sim.common.files import check_folder, write_text_atomic, writing
from crossvote.sim.common.lock import held
from crossvote.sim.common.schema import adapter
from crossvote.sim.common.shell import command_line
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.records import FORMAT, read_record

R = TypeVar("R")

_CLOCK = ".seconds"
_OUT = ".out"


@dataclass(frozen=True)
class StageRecord:
    """What ``stages/NAME.json`` says about a finished stage.

    settings: the configuration values that decided the result. sources: content of the files it read from outside, by
    the configuration key that names them. inputs: content of the stages it read. code: digest of the modules it ran.
    outputs: the artefacts it left: path inside the run directory -> SHA-256.
    """

    stage: str
    key: str
    settings: dict[str, Any]
    sources: dict[str, str]
    inputs: dict[str, str]
    code: str
    outputs: dict[str, str]
    format: int = FORMAT

    @property
    def content_hash(self) -> str:
        """Hash of the artefacts' contents alone, so that a later stage is redone only when they differ."""
        return digest(self.outputs)


@dataclass(frozen=True)
class About:
    """How a stage came about; decides nothing.

    origins: where the sources lay, by configuration key: a source that has vanished since is still known by the place
    it was read from. details: what the stage has to say about its own time.
    """

    wall_seconds: float
    finished: str
    versions: dict[str, str]
    origins: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Identity:
    """Everything that decides a stage's result, apart from the stages it reads; ``origins`` does not decide."""

    stage: str
    settings: dict[str, Any]
    sources: dict[str, str]
    code: str
    origins: dict[str, str] = field(default_factory=dict)

    def key(self, inputs: Mapping[str, str]) -> str:
        """The stage's key with these inputs: content hashes of the stages it reads."""
        return digest(
            {
                "format": FORMAT,
                "stage": self.stage,
                "settings": self.settings,
                "sources": self.sources,
                "inputs": dict(inputs),
                "code": self.code,
            }
        )


class RunDirectory:
    """Access to one run directory. Reading needs no more; to work in it, open it with ``RunDirectory.open``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    @contextmanager
    def open(cls, path: Path, whole: bool = False) -> Iterator[Self]:
        """Create the directory if need be and hold it for this process.

        A directory that was new and in which nothing was finished vanishes again when its work is refused.
        whole: whether it is to hold all of the work or nothing: a new one then vanishes whatever ended the work.

        Raises:
            UserError: the path is a file, a folder with foreign content, or in use by another process.
        """
        check_place(path)
        parents = [folder for folder in (path, *path.parents) if not folder.exists()]
        fresh = bool(parents) or not any(path.iterdir())
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
        refused = False
        try:
            busy = f"{path}: another crossvote process is working in it; wait or use --run-dir."
            with held(path / paths.LOCK, busy):
                try:
                    yield cls(path)
                except BaseException as error:
                    bad_input = isinstance(error, UserError) and not isinstance(error, StorageError)
                    refused = fresh and (whole or (bad_input and not (path / "stages").is_dir()))
                    raise
        finally:
            if refused:
                for entry in path.iterdir():
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
                with contextlib.suppress(OSError):  # a folder that is no longer empty is somebody else's
                    for folder in parents:
                        folder.rmdir()

    @contextmanager
    def configured(self, config: Mapping[str, Any]) -> Iterator[None]:
        """Write the resolved configuration, which ``experiment.config.load_config`` reads back to an equal object.

        A configuration that a stage refuses does not stay: the one before comes back. One that the machine failed
        (disk full) stays, so that the run goes on with it.
        """
        path = self.path / paths.CONFIG
        before = path.read_text(encoding="utf-8") if path.is_file() else None
        write_text_atomic(path, _resolved(config))
        try:
            yield
        except StorageError:
            raise
        except UserError:
            if before is not None:
                write_text_atomic(path, before)
            raise

    def is_configured(self, config: Mapping[str, Any]) -> bool:
        """Whether the run has just this configuration, so that it was checked before."""
        try:
            return (self.path / paths.CONFIG).read_text(encoding="utf-8") == _resolved(config)
        except (OSError, UnicodeDecodeError):
            return False

    def record(self, stage: str) -> StageRecord | None:
        """The record of a finished stage, ``None`` when there is none that this version of CrossVote can read."""
        record = _read_back(StageRecord, self.path / paths.record(stage))
        return record if record is not None and record.format == FORMAT else None

    def about(self, stage: str) -> About | None:
        """How a stage came about, if that is known."""
        return _read_back(About, self.path / paths.about(stage))

    def finished(self, stage: str, key: str) -> StageRecord | None:
        """The stage's record if it is finished for this key and its artefacts are intact, else ``None``."""
        record = self.record(stage)
        return record if record is not None and record.key == key and self.intact(record) else None

    def intact(self, record: StageRecord) -> bool:
        """Whether every artefact of a record is there with the recorded content."""
        try:
            return all(file_digest(self.path / name) == expected for name, expected in record.outputs.items())
        except UserError:
            return False

    def _work(self, stage: str, key: str) -> Path:
        """The folder for the partial results of a stage; those of other keys are dropped."""
        folder = self.path / paths.work(stage, key)
        with writing(folder):
            if folder.parent.is_dir():
                for other in folder.parent.iterdir():
                    if other != folder:
                        shutil.rmtree(other)
            shutil.rmtree(folder / _OUT, ignore_errors=True)
            (folder / _OUT).mkdir(parents=True, exist_ok=True)
        return folder

    def perform(
        self,
        identity: Identity,
        inputs: Mapping[str, str],
        versions: Mapping[str, str],
        work: Callable[[Path, Path, dict[str, Any]], Iterable[str]],
    ) -> StageRecord:
        """Do a stage and record it.

        ``work`` gets the folder of partial results, a folder in which to lay the artefacts out as they are to lie in
        the run directory, and a dictionary for what it has to say about its own time; it returns the artefacts' paths.
        A path may name a folder: every file in it then counts. Until all of them stand, the stage's old result does.
        Time linear in the size of the artefacts.
        """
        stage, key = identity.stage, identity.key(inputs)
        started = time.monotonic()
        folder = self._work(stage, key)
        before = _seconds(folder)
        details: dict[str, Any] = {}
        try:
            names = list(work(folder, folder / _OUT, details))
        finally:
            with contextlib.suppress(StorageError):
                write_text_atomic(folder / _CLOCK, f"{before + time.monotonic() - started:.3f}")
        files = [file for name in names for file in _files(folder / _OUT / name)]
        outputs = {file.relative_to(folder / _OUT).as_posix(): file_digest(file) for file in files}
        record = StageRecord(
            stage=stage,
            key=key,
            settings=identity.settings,
            sources=identity.sources,
            inputs=dict(inputs),
            code=identity.code,
            outputs=dict(sorted(outputs.items())),
        )
        about = About(
            wall_seconds=round(before + time.monotonic() - started, 3),
            finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            versions=dict(versions),
            origins=identity.origins,
            details=details,
        )
        self._settle(folder / _OUT, record, about, move=True)
        shutil.rmtree(self.path / paths.WORK / stage, ignore_errors=True)
        return record

    def adopt(self, other: RunDirectory, record: StageRecord) -> None:
        """Make a finished stage of another directory this one's own, by hard links where the file system has them.

        Files are only ever replaced, never written to, so that sharing them is safe.
        """
        about = other.about(record.stage) or About(0.0, "", {})
        self._settle(other.path, record, about, move=False)

    def _settle(self, source: Path, record: StageRecord, about: About, move: bool) -> None:
        """Put artefacts in their places, then the record; what only the old result had goes last."""
        old = self.record(record.stage)
        for name in record.outputs:
            _place(source / name, self.path / name, move)
        write_text_atomic(self.path / paths.about(record.stage), json.dumps(asdict(about), indent=1) + "\n")
        write_text_atomic(self.path / paths.record(record.stage), json.dumps(asdict(record), indent=1) + "\n")
        for name in set(old.outputs if old else ()) - set(record.outputs):
            with contextlib.suppress(OSError):
                (self.path / name).unlink()

    def has_partial_results(self, stage: str, key: str) -> bool:
        """Whether an earlier attempt at the stage with this key left something to continue from."""
        folder = self.path / paths.work(stage, key)
        return folder.is_dir() and any(entry.name not in (_CLOCK, _OUT) for entry in folder.iterdir())

    def read(self, name: str, kind: type[R]) -> R:
        """A result of this run.

        Raises:
            UserError: it is absent, damaged, or not what the stage left.
        """
        return read_record(kind, self.whole(name))

    def whole(self, name: str) -> Path:
        """Where an artefact lies, a file or a folder, after a look at whether it is what its stage left there.

        A file that changed since is refused also where it could still be read: one bit makes another number of a
        result. What no record speaks of is taken as it is.

        Raises:
            UserError: its content is not what was recorded. StorageError: it cannot be read.
        """
        for path in sorted((self.path / paths.RECORDS).glob("*.json")):
            record = None if path.name.endswith(paths.ABOUT) else self.record(path.stem)
            for file, expected in (record.outputs if record is not None else {}).items():
                if file != name and not file.startswith(f"{name}/"):
                    continue
                there = self.path / file
                if not there.exists() or file_digest(there) != expected:
                    raise UserError(
                        f"{there}: {'changed or damaged' if there.exists() else 'gone'} since the stage {path.stem} "
                        f"left it; make it again with: {command_line('run', self.path)}"
                    )
        return self.path / name


def _read_back(kind: type[R], path: Path) -> R | None:
    """What a small JSON file says, if it is such a file."""
    try:
        return adapter(kind).validate_json(path.read_bytes())
    except (OSError, ValueError):  # pydantic's errors among them
        return None


def check_place(path: Path) -> None:
    """Refuse a place that cannot become a run directory.

    Raises:
        UserError: the path is a file or a folder with foreign content.
    """
    with writing(path):
        if path.is_symlink() and not path.exists():
            raise UserError(f"{path}: is a link to {os.readlink(path)}, which is not there.")
        if path.exists() and not path.is_dir():
            raise UserError(f"{path}: is a file; a run directory is a folder.")
        if path.is_dir() and not (_holds_a_run(path) or _has_only_begun(path)):
            raise UserError(f"{path}: holds other files; name an empty or new folder with --run-dir.")
    check_folder(path)


def check_outside(path: Path) -> None:
    """Refuse a place inside a run, where no command would look for another one.

    Raises:
        UserError: a folder above it is a run directory.
    """
    above = next((folder for folder in path.absolute().parents if _holds_a_run(folder)), None)
    if above is not None:
        raise UserError(f"{path}: lies inside the run {above}; name a place outside of it.")


def is_run_directory(path: Path) -> bool:
    """Whether ``path`` is a run directory, possibly of a run that was stopped before it wrote anything."""
    return (path / paths.CONFIG).is_file() or ((path / paths.LOCK).is_file() and _has_only_begun(path))


def _holds_a_run(path: Path) -> bool:
    """Whether somebody worked here: a configuration alone is in many folders, and so is a file called ``.lock``."""
    signs = (path / paths.CONFIG).is_file() + (path / paths.LOCK).is_file() + (path / paths.RECORDS).is_dir()
    stopped = (path / paths.LOCK).is_file() and (path / paths.WORK).is_dir()
    return (signs > 1 or stopped) and not is_campaign(path)


def _has_only_begun(path: Path) -> bool:
    """Whether nothing is here but what there is before the first stage; so it is in an empty folder."""
    first = (paths.CONFIG, paths.LOCK)
    return all(entry.name in first or entry.name.startswith(f".{paths.CONFIG}.") for entry in path.iterdir())


def is_campaign(path: Path) -> bool:
    """Whether ``path`` holds a campaign or an exploration, which have runs of their own inside."""
    return any((path / name).exists() for name in (paths.CAMPAIGN, paths.STUDY))


def link(source: Path, target: Path) -> None:
    """A file once more, by hard link where the file system has them, else as a copy; ``target`` is replaced."""
    _place(source, target, move=False)


def _place(source: Path, target: Path, move: bool) -> None:
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if move:
            os.replace(source, target)
            return
        if target.exists() and target.samefile(source):
            return
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            try:
                os.link(source, temporary)
            except OSError:
                shutil.copy2(source, temporary)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def _resolved(config: Mapping[str, Any]) -> str:
    """The file of a run's configuration."""
    return "# The resolved configuration of this run, every default written out.\n" + tomli_w.dumps(dict(config))


def _seconds(folder: Path) -> float:
    """Seconds that interrupted attempts have already taken, as far as they could still write them."""
    try:
        return float((folder / _CLOCK).read_text())
    except (OSError, ValueError):
        return 0.0


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(
        Path(folder) / file for folder, _, files in os.walk(path) for file in files if not file.startswith(".")
    )
