"""The folder of a campaign: what lies where in it, who writes there, and whether its examples are whole."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossvote.sim.common.errors import Notice, UserError
from crossvote.sim.common.files import writing
from crossvote.sim.common.lock import held
from crossvote.sim.common.shell import command_line
from crossvote.swstack.experiment.campaign.database import Database
from crossvote.swstack.experiment.campaign.spec import CampaignSpec, Variant
from crossvote.swstack.experiment.campaign.trials import run_name
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.store import StageStore
from crossvote.swstack.experiment.work import chosen_stages

#: How a Parquet file begins and ends.
_PARQUET = b"PAR1"
#: The commands that make what trials need, in order; the first two also score the model.
PREPARED = ("finetune", "prune", "fault-training", "map")
_FILE, _LOCK, _RUNS, _STORE, _EXAMPLES = paths.CAMPAIGN, paths.LOCK, "runs", "store", "examples"


def database_path(folder: Path) -> Path:
    """The campaign's file in its folder."""
    return folder / _FILE


def campaign_store(folder: Path) -> StageStore:
    """The finished stages that the campaign's runs share."""
    return StageStore(folder / _STORE)


def examples_path(folder: Path) -> Path:
    """Where the outcomes of single examples lie."""
    return folder / _EXAMPLES


def run_path(folder: Path, variant: Variant) -> Path:
    """Where the model and the images of a variant lie."""
    assert variant.config is not None
    return folder / _RUNS / run_name(variant.config)


@contextmanager
def driving(folder: Path) -> Iterator[Database]:
    """Be the campaign's driver: the only one that writes.

    Raises:
        UserError: another driver is at work, or the folder holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; a campaign is a folder.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _LOCK).exists() and not (folder / _FILE).exists():
        raise UserError(f"{folder}: holds other files; name an empty or new folder with --dir.")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    busy = f"{folder}: another driver runs this campaign; look at it with: {command_line('sweep status', folder)}"
    with held(folder / _LOCK, busy), Database.open(folder / _FILE, write=True) as database:
        yield database


def is_whole(shard: Path) -> bool:
    """Whether a Parquet file is there from its first to its last bytes."""
    try:
        with shard.open("rb") as file:
            first, size = file.read(len(_PARQUET)), file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(_PARQUET)))
            return first == file.read() == _PARQUET
    except OSError:
        return False


def reopen_lost(database: Database, folder: Path) -> None:
    """Have the trials measured again whose examples are no longer there, and say so."""
    keys: dict[str, list[str]] = {}
    for row in database.rows("done"):
        if row.shard is not None:
            keys.setdefault(row.shard, []).append(row.trial.key)
    lost = {name: own for name, own in keys.items() if not is_whole(folder / name)}
    if lost:
        trials = [key for own in lost.values() for key in own]
        database.reopen(trials)
        warnings.warn(
            f"{folder}: {len(lost)} of {len(keys)} files of examples are missing or cut off; trials measured again: "
            f"{len(trials)}.",
            Notice,
            stacklevel=3,
        )


def take_over(folder: Path, spec: CampaignSpec) -> None:
    """Put what a base that is a run has finished into the campaign's store, so that it is not done again."""
    base = RunDirectory(Path(spec.base))
    if not (base.path / paths.CONFIG).is_file():
        return
    store = campaign_store(folder)
    for stage in dict.fromkeys(stage for command in PREPARED for stage in chosen_stages(command)):
        record = base.record(stage.name)
        if record is not None and base.intact(record):
            store.keep(base, record)
