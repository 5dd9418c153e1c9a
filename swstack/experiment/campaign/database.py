"""The store of a campaign: one SQLite file, written by the driver alone."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossvote.sim.common.errors import Notice, StorageError, UserError
from crossvote.sim.common.files import replacing
from crossvote.swstack.experiment.campaign.trials import Outcome, PlannedTrial

FORMAT = 3

_BEGINNING = b"SQLite format 3\0"
_ADVICE = "the runs and the examples beside it are whole, so move this file away and run the campaign again."

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, seal TEXT NOT NULL);
CREATE TABLE trials (
    key TEXT PRIMARY KEY, number INTEGER NOT NULL, planned INTEGER NOT NULL DEFAULT 1,
    variant INTEGER NOT NULL, scheme TEXT NOT NULL, rate REAL NOT NULL, chip INTEGER NOT NULL, scope TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'open', attempts INTEGER NOT NULL DEFAULT 0,
    metrics TEXT, faults INTEGER, error TEXT, shard TEXT, seal TEXT, identity TEXT NOT NULL
);
CREATE TABLE about (key TEXT PRIMARY KEY, seconds REAL, worker TEXT, finished TEXT);
CREATE INDEX by_status ON trials (planned, status, number);
"""
_STATUSES = ("open", "done", "failed", "enough")


@dataclass(frozen=True)
class Row:
    """A trial and what is known of it. status: open, done, failed, or enough (not needed any more: see ``stop``)."""

    trial: PlannedTrial
    status: str
    attempts: int
    metrics: dict[str, float]
    error: str | None
    shard: str | None


class Database:
    """Access to a campaign's file; ``Database.open`` gives one."""

    def __init__(self, connection: sqlite3.Connection, path: Path, writes: bool = False) -> None:
        self._connection, self.path, self._writes = connection, path, writes
        # Kept by the only one that writes, so that its progress does not count all trials at every chunk.
        self._counts: dict[str, int] | None = None

    @classmethod
    @contextmanager
    def open(cls, path: Path, write: bool = False) -> Iterator[Database]:
        """Open the file, for reading beside a driver, or as the driver to write; a new one is made for writing.

        Raises:
            UserError: no such campaign, or a file that is damaged or something else. StorageError: the disk is full or
                the file cannot be written.
        """
        if not write and not path.is_file():
            raise UserError(f"{path}: no campaign here yet; start one with: crossvote sweep run CAMPAIGN.toml")
        with _in_words(path):
            if write and not os.path.lexists(path):
                _create(path)
            check_sqlite(path, _ADVICE)
            mode = "rw" if write else "ro"
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=30)
        try:
            with _in_words(path):
                if write:
                    (journal,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
                    if journal != "wal":
                        connection.execute("PRAGMA journal_mode=DELETE")
                        warnings.warn(f"{path}: no write-ahead log here; use one host at a time.", Notice, stacklevel=4)
                    connection.execute("PRAGMA synchronous=NORMAL")
                # Without the seal, which older files lack.
                row = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
            if row != (str(FORMAT),):
                raise UserError(f"{path}: a campaign of format {row[0] if row else '?'}, not {FORMAT}.")
            yield cls(connection, path, write)
        finally:
            connection.close()

    def meta(self, key: str) -> Any:
        """A value kept beside the trials, or None."""
        with _in_words(self.path):
            row = self._connection.execute("SELECT value, seal FROM meta WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        if row[1] != _seal(key, row[0]):
            raise UserError(_damaged(self.path, f"what it says of '{key}' is not what was written"))
        return self._value(row[0])

    def _value(self, text: str) -> Any:
        try:
            return json.loads(text)
        except (TypeError, ValueError) as error:
            raise UserError(_damaged(self.path, str(error))) from None

    def set_meta(self, **values: Any) -> None:
        """Keep values beside the trials."""
        with _in_words(self.path), self._connection:
            self._set_meta(values)

    def _set_meta(self, values: Mapping[str, Any]) -> None:
        texts = {key: json.dumps(value) for key, value in values.items()}
        rows = [(key, text, _seal(key, text)) for key, text in texts.items()]
        self._connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", rows)

    def check(self) -> None:
        """Look through the whole file, indices too, which a single look at it does not.

        Raises:
            UserError: it is damaged.
        """
        with _in_words(self.path):
            (found,) = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise UserError(_damaged(self.path, " ".join(found.split())))

    def plan(self, trials: Iterable[PlannedTrial]) -> int:
        """Make these the campaign's trials, in this order; results stay. Returns how many are new."""
        self._counts = None
        with _in_words(self.path), self._connection:
            self._connection.execute("UPDATE trials SET planned = 0")
            before = self._count()
            self._connection.executemany(
                "INSERT INTO trials (number, key, variant, scheme, rate, chip, scope, identity) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET planned = 1, "
                "number = excluded.number, variant = excluded.variant, identity = excluded.identity",
                ((*fields, _seal(*fields)) for fields in _fields(trials)),
            )
            (planned,) = self._connection.execute("SELECT count(*) FROM trials WHERE planned = 1").fetchone()
            self._set_meta({"trials": planned})
            # What was enough under another stopping rule may not be under this one.
            self._connection.execute("UPDATE trials SET status = 'open' WHERE status = 'enough'")
            return self._count() - before

    def _count(self) -> int:
        (count,) = self._connection.execute("SELECT count(*) FROM trials").fetchone()
        return int(count)

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """Keep outcomes in one transaction; recording one again changes nothing but its times."""
        finished = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        keys = dict.fromkeys(outcome.key for outcome in outcomes)
        kept, self._counts = self._counts, None
        with _in_words(self.path), self._connection:
            before = self._statuses(keys) if kept is not None else Counter()
            self._connection.executemany(
                "UPDATE trials SET status = ?, attempts = attempts + 1, metrics = ?, faults = ?, error = ?, shard = ?, "
                "seal = ? WHERE key = ? AND status != 'done'",
                [
                    (
                        "failed" if outcome.error else "done",
                        *(found := _found(outcome)),
                        _seal(outcome.key, *found),
                        outcome.key,
                    )
                    for outcome in outcomes
                ],
            )
            self._connection.executemany(
                "INSERT OR REPLACE INTO about VALUES (?, ?, ?, ?)",
                [(outcome.key, outcome.seconds, outcome.worker, finished) for outcome in outcomes],
            )
            if kept is not None:
                moved = self._statuses(keys)
                moved.subtract(before)
        if kept is not None:  # as much as is on the disk
            self._counts = {status: count + moved[status] for status, count in kept.items()}

    def _statuses(self, keys: Iterable[str]) -> Counter[str]:
        """How many of some planned trials have which status."""
        found: Counter[str] = Counter()
        for key in keys:
            row = self._connection.execute("SELECT status FROM trials WHERE key = ? AND planned = 1", (key,)).fetchone()
            if row is not None:
                found[row[0]] += 1
        return found

    def set_status(self, keys: Iterable[str], status: str) -> None:
        """Mark trials that are not done."""
        self._counts = None
        with _in_words(self.path), self._connection:
            self._connection.executemany(
                "UPDATE trials SET status = ? WHERE key = ? AND status != 'done'", [(status, key) for key in keys]
            )

    def reopen(self, keys: Iterable[str]) -> None:
        """Have trials that are done measured again."""
        self._counts = None
        with _in_words(self.path), self._connection:
            self._connection.executemany("UPDATE trials SET status = 'open' WHERE key = ?", [(key,) for key in keys])

    def rows(self, status: str | None = None) -> Iterator[Row]:
        """The planned trials in order, of one status or all."""
        with _in_words(self.path):
            found = self._connection.execute(
                "SELECT identity, number, key, variant, scheme, rate, chip, scope, status, attempts, metrics, faults, "
                "error, shard, seal FROM trials WHERE planned = 1 AND (? IS NULL OR status = ?) ORDER BY number",
                (status, status),
            )
            for identity, *fields, state, attempts, metrics, faults, error, shard, seal in found:
                trial = self._trial(identity, fields)
                if seal is not None and seal != _seal(trial.key, metrics, faults, error, shard):
                    raise UserError(_damaged(self.path, f"the trial {trial.key} is not what was recorded"))
                yield Row(trial, state, attempts, self._value(metrics) if metrics else {}, error, shard)

    def _trial(self, identity: str, fields: Sequence[Any]) -> PlannedTrial:
        """The trial of a row's number, key, variant, scheme, rate, chip and scope."""
        if identity != _seal(*fields):
            raise UserError(_damaged(self.path, f"the trial {fields[1]} is not what was planned"))
        return PlannedTrial(*fields[1:])

    def open_trials(self, after: int, most: int) -> list[tuple[int, PlannedTrial]]:
        """Open trials with a number above ``after``, the first ``most`` of them, each with its number."""
        with _in_words(self.path):
            rows = self._connection.execute(
                "SELECT identity, number, key, variant, scheme, rate, chip, scope FROM trials "
                "WHERE planned = 1 AND status = 'open' AND number > ? ORDER BY number LIMIT ?",
                (after, most),
            )
            return [(fields[0], self._trial(identity, fields)) for identity, *fields in rows]

    def open_variants(self) -> set[int]:
        """Variants that have open trials."""
        with _in_words(self.path):
            rows = self._connection.execute("SELECT DISTINCT variant FROM trials WHERE planned = 1 AND status = 'open'")
            return {variant for (variant,) in rows}

    def open_keys(self, variant: int) -> list[str]:
        """Keys of the open trials of a variant."""
        with _in_words(self.path):
            rows = self._connection.execute(
                "SELECT key FROM trials WHERE planned = 1 AND status = 'open' AND variant = ?", (variant,)
            )
            return [key for (key,) in rows]

    def counts(self) -> dict[str, int]:
        """Planned trials by status."""
        if self._counts is not None:
            return dict(self._counts)
        with _in_words(self.path):
            rows = self._connection.execute("SELECT status, count(*) FROM trials WHERE planned = 1 GROUP BY status")
            found = {**dict.fromkeys(_STATUSES, 0), **dict(rows)}
        planned = self.meta("trials") or 0
        if sum(found[status] for status in _STATUSES) != planned:
            raise UserError(_damaged(self.path, f"it does not hold the {planned} trials that were planned"))
        if self._writes:
            self._counts = found
        return dict(found)

    def seconds(self) -> tuple[int, float]:
        """Number of trials that were timed, and their seconds together."""
        with _in_words(self.path):
            count, total = self._connection.execute("SELECT count(*), total(seconds) FROM about").fetchone()
            return int(count), float(total)


def _found(outcome: Outcome) -> tuple[str | None, int | None, str | None, str | None]:
    """The columns of an outcome: metrics, faults, error, shard."""
    metrics = None if outcome.error else json.dumps(outcome.metrics)
    return metrics, outcome.faults, outcome.error, outcome.shard


def _fields(trials: Iterable[PlannedTrial]) -> Iterator[tuple[Any, ...]]:
    """Number, key, variant, scheme, rate, chip and scope of every trial, as SQLite gives them back."""
    for number, trial in enumerate(trials):
        yield number, trial.key, trial.variant, trial.scheme, float(trial.rate), trial.chip, trial.scope


def _seal(*values: str | int | float | None) -> str:
    """Digest of what was written, so that a bit that flips in the file is no other trial and no other result."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def _create(path: Path) -> None:
    """Make an empty campaign file, whole at once: whoever looks on finds none or all of it."""
    with replacing(path) as temporary:
        connection = sqlite3.connect(temporary)
        try:
            with connection:
                connection.executescript(_SCHEMA)
                text = json.dumps(FORMAT)
                connection.execute("INSERT INTO meta VALUES ('format', ?, ?)", (text, _seal("format", text)))
        finally:
            connection.close()


def check_sqlite(path: Path, advice: str) -> None:
    """Refuse a file that does not begin as one of SQLite does: an empty one would be taken for a new one.

    Raises:
        UserError: with the ``advice``. OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(_BEGINNING)) != _BEGINNING:
            raise UserError(f"{path}: a damaged campaign file (file is not a database); {advice}")


def _damaged(path: Path, reason: str) -> str:
    return f"{path}: a damaged campaign file ({reason}); {_ADVICE}"


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "full" in text:
            raise StorageError(f"{path}: cannot be written ({text}); make room and resume.") from None
        if isinstance(error, sqlite3.OperationalError):
            raise StorageError(f"{path}: cannot be used ({text}).") from None
        raise UserError(_damaged(path, text)) from None
    except UnicodeDecodeError as error:
        raise UserError(_damaged(path, f"letters that cannot be: {error.reason}")) from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be used ({error.strerror or error}).") from None
