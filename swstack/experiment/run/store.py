"""Finished stages by their key, shared by the runs that use one store: what one has done, no other does again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crossvote.swstack.experiment.run.directory import RunDirectory, StageRecord


@dataclass(frozen=True)
class StageStore:
    """A folder of finished stages, ``STAGE/KEY/`` each, laid out as in a run directory.

    Several processes may use it at once: entries are whole or absent, and equal keys mean equal content.
    """

    folder: Path

    def _entry(self, stage: str, key: str) -> RunDirectory:
        return RunDirectory(self.folder / stage / key[:32])

    def finished(self, stage: str, key: str) -> StageRecord | None:
        """The record of the stage with this key, if it is here and intact."""
        return self._entry(stage, key).finished(stage, key)

    def take(self, run: RunDirectory, stage: str, key: str) -> StageRecord | None:
        """Give ``run`` the stage with this key, if it is here and intact."""
        record = self.finished(stage, key)
        if record is not None:
            run.adopt(self._entry(stage, key), record)
        return record

    def keep(self, run: RunDirectory, record: StageRecord) -> None:
        """Keep a stage that ``run`` has finished."""
        if self.finished(record.stage, record.key) is None:
            self._entry(record.stage, record.key).adopt(run, record)
