"""The driver of a campaign: keeps the workers busy, and alone writes what they find."""

from __future__ import annotations

import math
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path

from crossvote.sim.common.errors import StorageError
from crossvote.sim.common.files import refused_by_machine, writing
from crossvote.sim.common.schema import to_mapping
from crossvote.swstack.experiment.campaign.database import Database
from crossvote.swstack.experiment.campaign.engines import Engine
from crossvote.swstack.experiment.campaign.folder import database_path, examples_path, run_path
from crossvote.swstack.experiment.campaign.spec import CampaignSpec, Variant
from crossvote.swstack.experiment.campaign.stopping import Stopping
from crossvote.swstack.experiment.campaign.trials import Chunk, Outcome, PlannedTrial
from crossvote.swstack.experiment.campaign.work import do_chunk

#: Seconds that a chunk should take: long against what handing it over costs, short against what a loss costs.
TARGET_SECONDS = 4.0
_MOST_IN_CHUNK = 256


@dataclass(frozen=True)
class State:
    """How far a campaign is: trials by status, trials per second of this driver, seconds left at that speed."""

    counts: dict[str, int]
    speed: float
    left: float | None
    preparing: str | None = None


Watch = Callable[[State], None]
Work = Callable[[Chunk], list[Outcome]]


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
        shards = examples_path(self.folder) if self.spec.examples else None
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
                text = error_text(error)
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


def error_text(error: BaseException) -> str:
    """An error of a worker as its trials keep it."""
    return "".join(traceback.format_exception(error))
