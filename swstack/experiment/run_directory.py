"""A run is a directory: the resolved configuration, one record per finished stage, and what the stages left.

A stage's *key* is a hash of everything that decides its result: the settings it reads, the content hashes of the
artefacts it reads, its revision. Its record (``stages/NAME.json``) is written last, so a stage is finished exactly
when its record carries the current key and every artefact still has the recorded content. What is unfinished is
done again, from the partial results a stage may keep in its work folder; what is finished is left alone, also when
the configuration changes in a way that does not concern it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import tomli_w

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import write_text_atomic

FORMAT = 1
CONFIG = "config.toml"
_CLOCK = ".seconds"
_LOCK = ".lock"


def canonical_json(value: Any) -> str:
    """JSON text that is equal for equal values, whatever the order of their keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of a JSON-like value, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; time linear in its size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class StageRecord:
    """What ``stages/NAME.json`` says about a finished stage.

    ``settings`` are the configuration values that decided the result, ``inputs`` the content hashes of the
    stages it read, ``outputs`` the artefacts it left: path inside the run directory -> SHA-256.
    """

    stage: str
    key: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    outputs: dict[str, str]
    wall_seconds: float
    finished: str
    versions: dict[str, str]
    format: int = FORMAT

    @property
    def content_hash(self) -> str:
        """Hash of the artefacts' contents alone, so that a later stage is redone only when they differ."""
        return digest(self.outputs)


class RunDirectory:
    """Access to one run directory; open it with ``RunDirectory.open``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Create the directory if need be and hold it for this process.

        Raises:
            UserError: the path is a file, a folder with foreign content, or in use by another process.
        """
        if path.exists() and not path.is_dir():
            raise UserError(f"{path}: is a file; a run directory is a folder.")
        if path.is_dir() and not is_run_directory(path) and any(path.iterdir()):
            raise UserError(f"{path}: holds other files; name an empty or new folder with --run-dir.")
        path.mkdir(parents=True, exist_ok=True)
        with (path / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"{path}: another crossvote process is working in it; wait or use --run-dir.") from None
            yield cls(path)

    @contextmanager
    def configured(self, config: Mapping[str, Any]) -> Iterator[None]:
        """Write the resolved configuration, which ``experiment.config.load_config`` reads back to an equal object.

        A configuration that a stage refuses does not stay: the one before comes back.
        """
        path = self.path / CONFIG
        before = path.read_text(encoding="utf-8") if path.is_file() else None
        header = "# The resolved configuration of this run, every default written out.\n"
        write_text_atomic(path, header + tomli_w.dumps(dict(config)))
        try:
            yield
        except UserError:
            if before is not None:
                write_text_atomic(path, before)
            raise

    def record(self, stage: str) -> StageRecord | None:
        """The record of a finished stage, ``None`` when there is none that this version of CrossVote can read."""
        try:
            data = json.loads((self.path / "stages" / f"{stage}.json").read_text(encoding="utf-8"))
            record = StageRecord(**data)
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return record if record.format == FORMAT else None

    def finished(self, stage: str, key: str) -> StageRecord | None:
        """The stage's record if it is finished for this key and its artefacts are intact, else ``None``."""
        record = self.record(stage)
        if record is None or record.key != key:
            return None
        for name, expected in record.outputs.items():
            path = self.path / name
            if not path.is_file() or file_digest(path) != expected:
                return None
        return record

    def _work(self, stage: str, key: str) -> Path:
        """The folder for the partial results of a stage; those of other keys are dropped."""
        folder = self.path / "work" / stage / key[:16]
        if folder.parent.is_dir():
            for other in folder.parent.iterdir():
                if other != folder:
                    shutil.rmtree(other)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def perform(
        self,
        stage: str,
        key: str,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str],
        versions: Mapping[str, str],
        work: Callable[[Path], Iterable[str]],
    ) -> StageRecord:
        """Do a stage and record it. ``work`` gets the folder of partial results and returns the artefacts' paths.

        A path may name a folder: every file in it then counts. Time linear in the size of the artefacts.
        """
        (self.path / "stages" / f"{stage}.json").unlink(missing_ok=True)
        started = time.monotonic()
        folder = self._work(stage, key)
        before = _seconds(folder)
        try:
            names = list(work(folder))
        finally:
            write_text_atomic(folder / _CLOCK, f"{before + time.monotonic() - started:.3f}")
        outputs = {
            file.relative_to(self.path).as_posix(): file_digest(file)
            for name in names
            for file in _files(self.path / name)
        }
        record = StageRecord(
            stage=stage,
            key=key,
            settings=dict(settings),
            inputs=dict(inputs),
            outputs=dict(sorted(outputs.items())),
            wall_seconds=round(before + time.monotonic() - started, 3),
            finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            versions=dict(versions),
        )
        write_text_atomic(self.path / "stages" / f"{stage}.json", json.dumps(asdict(record), indent=1) + "\n")
        shutil.rmtree(self.path / "work" / stage)
        return record

    def has_partial_results(self, stage: str, key: str) -> bool:
        """Whether an earlier attempt at the stage with this key left something to continue from."""
        folder = self.path / "work" / stage / key[:16]
        return folder.is_dir() and any(entry.name != _CLOCK for entry in folder.iterdir())

    def read_json(self, name: str) -> Any:
        """A JSON artefact of this run.

        Raises:
            UserError: it is absent or not JSON.
        """
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{self.path / name}: not there; run the stage that writes it first.") from None
        except ValueError as error:
            raise UserError(f"{self.path / name}: not JSON ({error}).") from None

    def write_json(self, name: str, value: Mapping[str, Any]) -> str:
        """Write a JSON artefact with its format version; returns ``name``."""
        text = json.dumps({"format": FORMAT, **value}, indent=1, allow_nan=False)
        write_text_atomic(self.path / name, text + "\n")
        return name


def is_run_directory(path: Path) -> bool:
    """Whether ``path`` is a run directory, possibly of a run that was stopped before it wrote anything."""
    return (path / CONFIG).is_file() or (path / _LOCK).is_file()


def _seconds(folder: Path) -> float:
    """Seconds that interrupted attempts have already taken, as far as they could still write them."""
    try:
        return float((folder / _CLOCK).read_text())
    except (FileNotFoundError, ValueError):
        return 0.0


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(
        Path(folder) / file for folder, _, files in os.walk(path) for file in files if not file.startswith(".")
    )
