"""The driver of a campaign: plans it, keeps the workers busy, and alone writes what they find."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from crossvote.sim.common.errors import Notice, StorageError, UserError
from crossvote.sim.common.files import refused_by_machine, writing
from crossvote.sim.common.lock import held
from crossvote.sim.common.machine import is_installed
from crossvote.sim.common.schema import build, to_mapping
from crossvote.sim.common.shell import command_line
from crossvote.swstack.experiment.campaign.database import Database
from crossvote.swstack.experiment.campaign.engines import Engine, open_engine
from crossvote.swstack.experiment.campaign.spec import CampaignSpec, Variant, variants
from crossvote.swstack.experiment.campaign.stopping import Stopping, counted
from crossvote.swstack.experiment.campaign.trials import Chunk, Outcome, PlannedTrial, expand, plan_digest, run_name
from crossvote.swstack.experiment.campaign.work import do_chunk, do_prepare
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.pipeline import identify, pending, versions
from crossvote.swstack.experiment.run.records import read_plain
from crossvote.swstack.experiment.run.store import StageStore
from crossvote.swstack.experiment.work import chosen_stages

#: Seconds that a chunk should take: long against what handing it over costs, short against what a loss costs.
TARGET_SECONDS = 4.0
_MOST_IN_CHUNK = 256
#: How a Parquet file begins and ends.
_PARQUET = b"PAR1"
_FILE, _LOCK, _RUNS, _STORE, _EXAMPLES = paths.CAMPAIGN, paths.LOCK, "runs", "store", "examples"


@dataclass(frozen=True)
class State:
    """How far a campaign is: trials by status, trials per second of this driver, seconds left at that speed."""

    counts: dict[str, int]
    speed: float
    left: float | None
    preparing: str | None = None


Watch = Callable[[State], None]
Work = Callable[[Chunk], list[Outcome]]


def database_path(folder: Path) -> Path:
    """The campaign's file in its folder."""
    return folder / _FILE


def campaign_store(folder: Path) -> StageStore:
    """The finished stages that the campaign's runs share."""
    return StageStore(folder / _STORE)


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


def plan(database: Database, spec: CampaignSpec, known: Sequence[Variant]) -> int:
    """Write the campaign's trials down; results that are there and still wanted are kept. Returns how many are new."""
    new = database.plan(expand(spec, known))
    database.set_meta(
        spec=to_mapping(spec),
        versions=versions(),
        variants=[
            {
                "number": variant.number,
                "label": variant.label,
                "keys": dict(variant.keys),
                "refused": variant.refused,
                "metric": None,
                "schemes": list(variant.config.map.schemes) if variant.config else [],
                "knowing": [
                    name
                    for name, scheme in (variant.config.protections() if variant.config else {}).items()
                    if scheme.knows_faults
                ],
            }
            for variant in known
        ],
    )
    return new


def planned_spec(database: Database) -> CampaignSpec:
    """The specification that was planned last.

    Raises:
        UserError: nothing was planned.
    """
    found = database.meta("spec")
    if found is None:
        raise UserError(f"{database.path}: nothing is planned here.")
    return build(CampaignSpec, found, str(database.path))


def states(folder: Path, every: float = 1.0) -> Iterator[State]:
    """How far a campaign is, again and again, as somebody sees it who only looks on; ends when nothing is open.

    every: seconds between two looks. The speed is that since the first look.

    Raises:
        UserError: no campaign there.
    """
    started, first = time.monotonic(), None
    while True:
        with Database.open(database_path(folder)) as database:
            counts = database.counts()
        done, spent = sum(counts.values()) - counts["open"], time.monotonic() - started
        first = done if first is None else first
        speed = (done - first) / spent if spent else 0.0
        yield State(counts, speed, counts["open"] / speed if speed else None)
        if not counts["open"]:
            return
        time.sleep(every)


def check_unchanged(database: Database, spec: CampaignSpec, known: Sequence[Variant]) -> None:
    """Refuse to go on with a campaign whose inputs or code are no longer those of its results.

    Raises:
        UserError: saying so; nothing is changed.
    """
    planned = {row.trial.key for row in database.rows()}
    new = sum(trial.key not in planned for trial in expand(spec, known))
    if new:
        raise UserError(
            f"{database.path}: {new} of {len(planned)} trials would be others than those planned, because the model, "
            "the data or the code changed since; put them back, or plan anew with: crossvote sweep run CAMPAIGN.toml "
            "(what is measured is kept)."
        )


@dataclass(eq=False)
class Driver:
    """One run of a campaign on an engine."""

    folder: Path
    database: Database
    spec: CampaignSpec
    variants: Sequence[Variant]
    engine: Engine
    work: Work = do_chunk
    watch: Watch = lambda state: None
    _suspects: deque[Chunk] = field(default_factory=deque)
    _running: dict[Future[list[Outcome]], Chunk] = field(default_factory=dict)
    _seconds_each: float = TARGET_SECONDS
    _done: int = 0
    _refused: BaseException | None = None

    def run(self) -> dict[str, int]:
        """Do all open trials; returns the counts by status.

        Interrupted, it lets the chunks that are under way finish, records them, and passes the interrupt on. So it does
        where the disk is full.
        """
        self._started = time.monotonic()
        self._settings = {v.number: to_mapping(v.config) for v in self.variants if v.config is not None}
        self._runs = {v.number: run_path(self.folder, v) for v in self.variants if v.config is not None}
        self._stopping = Stopping(self.spec.stop, self.database) if self.spec.stop.until_ci else None
        self._left = self.database.counts()["open"]
        chunks = self._chunks()
        try:
            while True:
                if self._refused is None:
                    self._fill(chunks)
                if not self._running:
                    break
                self._collect()
        except KeyboardInterrupt:
            while self._running:
                self._collect()
            raise
        self._tell()
        self.check()
        return self.database.counts()

    def refuse(self, error: BaseException | None) -> None:
        """Begin nothing more, because the machine does not take a file: what is open stays open."""
        self._refused = self._refused or error

    def check(self) -> None:
        """End here if the machine did not take a file.

        Raises:
            StorageError: saying so.
        """
        if isinstance(self._refused, StorageError):  # which has said it all
            raise self._refused
        if self._refused is not None:
            with writing(self.folder):
                raise self._refused

    def _fill(self, chunks: Iterator[Chunk]) -> None:
        """Keep one chunk waiting behind each that runs; what may have cost a worker runs alone."""
        if self._suspects:
            if not self._running:
                self._submit(self._suspects.popleft())
            return
        while len(self._running) < 2 * self.engine.width:
            chunk = next(chunks, None)
            if chunk is None:
                return
            self._submit(chunk)

    def _submit(self, chunk: Chunk) -> None:
        self._running[self.engine.submit(self.work, chunk)] = chunk

    def _chunks(self) -> Iterator[Chunk]:
        """Open trials in their order, each chunk of one variant."""
        last = -1
        while True:
            page = self.database.open_trials(last, 4 * _MOST_IN_CHUNK)
            if not page:
                return
            taken = 0
            while taken < len(page):
                size = self._size()
                first = page[taken][1]
                trials: list[PlannedTrial] = []
                while taken < len(page) and len(trials) < size and page[taken][1].variant == first.variant:
                    number, trial = page[taken]
                    taken, last = taken + 1, number
                    if self._stopping is None or not self._stopping.enough(trial):
                        trials.append(trial)
                if trials:
                    yield self._chunk(first.variant, tuple(trials))

    def _size(self) -> int:
        """Trials that take about ``TARGET_SECONDS``, and no more than leave work for every worker at the end."""
        fair = math.ceil(max(1, self._left) / (4 * self.engine.width))
        if self._stopping is not None:  # look often, so that little is measured in vain
            fair = min(fair, self._stopping.round)
        return max(1, min(_MOST_IN_CHUNK, fair, int(TARGET_SECONDS / max(self._seconds_each, 1e-6))))

    def _chunk(self, variant: int, trials: tuple[PlannedTrial, ...]) -> Chunk:
        shards = self.folder / _EXAMPLES if self.spec.examples else None
        return Chunk(self._runs[variant], self._settings[variant], trials, shards)

    def _collect(self) -> None:
        """Record what is finished."""
        finished, _ = wait(self._running, timeout=1.0, return_when=FIRST_COMPLETED)
        outcomes: list[Outcome] = []
        lost: list[tuple[Chunk, BaseException]] = []
        for future in finished:
            chunk = self._running.pop(future)
            error = future.exception()
            if error is None:
                outcomes += future.result()
            elif isinstance(error, self.engine.lost):
                lost.append((chunk, error))
            elif refused_by_machine(error):
                self.refuse(error)
            else:  # of the engine or of this program: every trial of the chunk says so
                text = "".join(_lines(error))
                outcomes += [Outcome(trial.key, {}, error=text) for trial in chunk.trials]
        if lost:
            # All that ran on the broken workers is lost with them.
            for future, chunk in list(self._running.items()):
                if future.done() and isinstance(future.exception(), self.engine.lost):
                    lost.append((chunk, future.exception() or RuntimeError()))
                    del self._running[future]
            self.engine.renew()
        for chunk, error in lost:
            outcomes += self._again(chunk, error)
        if outcomes:
            self._record(outcomes)
        self._tell()

    def _again(self, chunk: Chunk, error: BaseException) -> list[Outcome]:
        """Put a chunk whose worker is gone back, alone; at the second time trial by trial; and give up in the end."""
        if chunk.losses == 0:
            self._suspects.append(replace(chunk, losses=1))
        elif len(chunk.trials) > 1:
            self._suspects.extend(replace(chunk, trials=(trial,)) for trial in chunk.trials)
        elif chunk.losses < self.spec.attempts:
            self._suspects.append(replace(chunk, losses=chunk.losses + 1))
        else:
            why = "killed, crashed or out of memory"
            text = f"its worker was lost {chunk.losses} times while it ran alone ({why}): {error}"
            return [Outcome(chunk.trials[0].key, {}, error=text)]
        return []

    def _record(self, outcomes: list[Outcome]) -> None:
        self.database.record(outcomes)
        self._done += len(outcomes)
        self._left -= len(outcomes)
        timed = [outcome.seconds for outcome in outcomes if outcome.error is None]
        if timed:
            self._seconds_each += 0.5 * (sum(timed) / len(timed) - self._seconds_each)
        if self._stopping is not None:
            self._stopping.add(outcomes)

    def _tell(self) -> None:
        spent = time.monotonic() - self._started
        speed = self._done / spent if spent else 0.0
        self.watch(State(self.database.counts(), speed, self._left / speed if speed else None))


def _lines(error: BaseException) -> list[str]:
    import traceback

    return traceback.format_exception(error)


def prepare(driver: Driver) -> None:
    """Fine-tune, prune and map what the open trials need, each distinct model once; failures become their trials'.

    A stage of one variant waits for nothing but the stage before it, so that different models are made side by side.

    Raises:
        StorageError: the machine does not take a file; what is open stays open.
    """
    wanted = driver.database.open_variants()
    todo = [v for v in driver.variants if v.config is not None and v.number in wanted]
    broken: dict[Path, str] = {}
    for command in ("finetune", "prune", "fault-training", "map"):
        groups: dict[str, list[Variant]] = {}
        for variant in todo:
            groups.setdefault(_upto(variant, command), []).append(variant)
        waiting: dict[Future[str | None], Variant] = {}
        # One of each kind first: the others then find its work in the store.
        for turn in (slice(1), slice(1, None)):
            for group in groups.values():
                for variant in {run_path(driver.folder, v): v for v in group[turn]}.values():
                    path = run_path(driver.folder, variant)
                    assert variant.config is not None
                    if path in broken or _is_prepared(path, variant, command):
                        continue
                    arguments = (path, to_mapping(variant.config), command, driver.folder / _STORE)
                    waiting[driver.engine.submit(do_prepare, *arguments)] = variant
            while waiting:
                driver.watch(State(driver.database.counts(), 0.0, None, f"{command}: {len(waiting)} to do"))
                finished, _ = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in finished:
                    variant = waiting.pop(future)
                    error = future.exception()
                    if refused_by_machine(error):
                        driver.refuse(error)
                        continue
                    text = "".join(_lines(error)) if error is not None else future.result()
                    if isinstance(error, driver.engine.lost):
                        driver.engine.renew()
                    if text is not None:
                        broken[run_path(driver.folder, variant)] = text
            driver.check()
    for variant in todo:
        text = broken.get(run_path(driver.folder, variant))
        if text is not None:
            keys = driver.database.open_keys(variant.number)
            driver.database.record([Outcome(key, {}, error=text) for key in keys])


def _chances(driver: Driver) -> dict[str, dict[str, Any]]:
    """Variant -> chance level of its primary metric, of those whose model was scored."""
    found = {}
    for variant in driver.variants:
        path = run_path(driver.folder, variant) / paths.RESULTS["score-pruned"] if variant.config else None
        if path is not None and path.is_file() and (chance := read_plain(path).get("chance")):
            found[str(variant.number)] = chance
    return found


def _upto(variant: Variant, command: str) -> str:
    """What decides the model or the images of a variant up to a stage."""
    assert variant.config is not None
    nowhere = RunDirectory(Path("/nonexistent"))
    return "".join(identify(stage, variant.config, nowhere).key({}) for stage in chosen_stages(command))


def _is_prepared(path: Path, variant: Variant, command: str) -> bool:
    assert variant.config is not None
    stages = [stage for stage in chosen_stages(command) if not stage.name.startswith("score")]
    return not pending(RunDirectory(path), variant.config, stages)


def run_campaign(
    folder: Path,
    spec: CampaignSpec | None,
    engine: str,
    watch: Watch = lambda state: None,
    work: Work = do_chunk,
    retry: bool = False,
) -> dict[str, int]:
    """Plan and run a campaign in ``folder``; without ``spec`` go on with what was planned there.

    retry: try the failed trials again. Returns the trials by status.

    Raises:
        UserError: a wrong specification, another driver, changed inputs, or an engine that is not there.
    """
    if spec is None and not database_path(folder).is_file():
        raise UserError(f"{folder}: no campaign here yet; start one with: crossvote sweep run CAMPAIGN.toml")
    known = variants(spec) if spec is not None else ()  # refused before anything is written
    if spec is not None and spec.examples and not is_installed("pyarrow"):
        raise UserError("keeping every example needs pyarrow (pip install pyarrow); or say examples = false.")
    with driving(folder) as database:
        database.check()
        if spec is None:
            spec = planned_spec(database)
            known = variants(spec)
            check_unchanged(database, spec, known)
        else:
            plan(database, spec, known)
        if spec.examples:
            _reopen_lost(database, folder / _EXAMPLES)
        if retry:
            database.set_status([row.trial.key for row in database.rows("failed")], "open")
        _take_over(folder, spec)
        with open_engine(engine) as opened:
            driver = Driver(folder, database, spec, known, opened, work, watch)
            if work is do_chunk:
                prepare(driver)
                database.set_meta(chances=_chances(driver))
            counts = driver.run()
        database.set_meta(engine=engine)
        return counts


def _reopen_lost(database: Database, folder: Path) -> None:
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


def is_whole(shard: Path) -> bool:
    """Whether a Parquet file is there from its first to its last bytes."""
    try:
        with shard.open("rb") as file:
            first, size = file.read(len(_PARQUET)), file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(_PARQUET)))
            return first == file.read() == _PARQUET
    except OSError:
        return False


def _take_over(folder: Path, spec: CampaignSpec) -> None:
    """Put what a base that is a run has finished into the campaign's store, so that it is not done again."""
    base = RunDirectory(Path(spec.base))
    if not (base.path / paths.CONFIG).is_file():
        return
    store = campaign_store(folder)
    for stage in chosen_stages("map"):
        record = base.record(stage.name)
        if record is not None and base.intact(record):
            store.keep(base, record)


def results_digest(database: Database) -> str:
    """One digest over all results that count: equal for equal results, whatever measured them in whatever order."""
    return plan_digest([(row.trial.key, row.metrics) for row in counted(database, planned_spec(database).stop)])


def manifest(database: Database) -> dict[str, Any]:
    """Specification, versions and the digest of the results."""
    return {
        "spec": database.meta("spec"),
        "versions": database.meta("versions"),
        "variants": database.meta("variants"),
        "counts": database.counts(),
        "digest": results_digest(database),
    }
