"""When enough chips were measured: a rule on the chips in their order, whatever order they were finished in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from crossvote.swstack.experiment.campaign.database import Database, Row
from crossvote.swstack.experiment.campaign.spec import StopConfig
from crossvote.swstack.experiment.campaign.trials import PERFECT, Outcome, PlannedTrial

#: A variant, a scope and a fault rate, whose schemes stop together so that they stay paired.
Cell = tuple[int, str, float]
Scores = dict[str, dict[int, float]]


def chips_needed(scores: Mapping[str, Mapping[int, float]], stop: StopConfig) -> int | None:
    """The first n >= ``min_chips`` for which the interval of every scheme's mean over chips 0 to n - 1 is at most
    ``until_ci`` to either side; None if no such n is measured.

    scores: scheme -> chip -> score. Only these chips count, so nothing depends on what else was under way.
    """
    from crossvote.swstack.evaluation.statistics import student_half_width  # loads SciPy

    assert stop.until_ci is not None
    whole = min((_prefix(own) for own in scores.values()), default=0)
    for chips in range(stop.min_chips, whole + 1):
        if all(student_half_width([own[n] for n in range(chips)]) <= stop.until_ci for own in scores.values()):
            return chips
    return None


def counted(database: Database, stop: StopConfig) -> Iterator[Row]:
    """The finished trials that count: all of them, or those of the chips that are needed."""
    needed: dict[Cell, int] = {}
    if stop.until_ci is not None:
        scores: dict[Cell, Scores] = {}
        for row in database.rows():
            if row.trial.chip != PERFECT:
                own = scores.setdefault(_cell(row.trial), {}).setdefault(row.trial.scheme, {})
                if row.metrics:
                    own[row.trial.chip] = _primary(row.metrics)
        needed = {cell: n for cell, found in scores.items() if (n := chips_needed(found, stop)) is not None}
    for row in database.rows("done"):
        if row.trial.chip < needed.get(_cell(row.trial), row.trial.chip + 1):
            yield row


class Stopping:
    """Which cells have enough chips, while a campaign runs."""

    def __init__(self, config: StopConfig, database: Database) -> None:
        self._config, self._database = config, database
        self._cells: dict[str, tuple[Cell, str, int]] = {}
        self._scores: dict[Cell, Scores] = {}
        self._needed: dict[Cell, int] = {}
        for row in database.rows():
            trial = row.trial
            if trial.chip == PERFECT:
                continue
            cell = _cell(trial)
            self._cells[trial.key] = (cell, trial.scheme, trial.chip)
            own = self._scores.setdefault(cell, {}).setdefault(trial.scheme, {})
            if row.metrics:
                own[trial.chip] = _primary(row.metrics)
        for cell in self._scores:
            self._settle(cell)

    @property
    def round(self) -> int:
        """Trials of one chip of all cells of a variant: what is worth measuring before looking again."""
        variants = {cell[0] for cell in self._scores}
        return max(1, sum(len(scores) for scores in self._scores.values()) // max(1, len(variants)))

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Take results in, and mark the chips that are not needed any more."""
        touched = set()
        for outcome in outcomes:
            if outcome.key in self._cells and outcome.metrics:
                cell, scheme, chip = self._cells[outcome.key]
                self._scores[cell][scheme][chip] = _primary(outcome.metrics)
                touched.add(cell)
        for cell in touched:
            self._settle(cell)

    def enough(self, trial: PlannedTrial) -> bool:
        """Whether a trial's chip is beyond those that are needed."""
        needed = self._needed.get(_cell(trial))
        return needed is not None and trial.chip >= needed

    def _settle(self, cell: Cell) -> None:
        if cell in self._needed:
            return
        needed = chips_needed(self._scores[cell], self._config)
        if needed is not None:
            self._needed[cell] = needed
            keys = [key for key, (own, _, chip) in self._cells.items() if own == cell and chip >= needed]
            self._database.set_status(keys, "enough")


def _cell(trial: PlannedTrial) -> Cell:
    return trial.variant, trial.scope, trial.rate


def _primary(metrics: Mapping[str, float]) -> float:
    return next(iter(metrics.values()))


def _prefix(scores: Mapping[int, float]) -> int:
    """Number of chips from 0 on without a gap."""
    count = 0
    while count in scores:
        count += 1
    return count
