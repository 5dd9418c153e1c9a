"""What to print when a stage is done: read from its record, so that a finished run answers at once."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from crossvote.sim.array.patterns import parse_pattern, pattern_words
from crossvote.sim.common.files import reading
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.records import Accuracy, Chips, Cosimulated, Costs, Mapped, Pruned, Score
from crossvote.swstack.report.claims import (
    chance_claims,
    chips_text,
    cosimulation_line,
    cost_claims,
    left_out_line,
    score_number,
    score_text,
)


def _score(run: RunDirectory, stage: str) -> str:
    metrics = run.read(paths.RESULTS[stage], Score).metrics
    return ", ".join(f"{name} {score_text(value, name, 2)}" for name, value in metrics.items())


def _finetune(run: RunDirectory) -> list[str]:
    return [_score(run, "score-dense")]


def _prune(run: RunDirectory) -> list[str]:
    return [
        _score(run, "score-pruned"),
        *(
            f"{group.name}: pruned column {100 * group.column_sparsity:.1f} %, row {100 * group.row_sparsity:.1f} %, "
            f"element {100 * group.element_sparsity:.1f} %"
            for group in run.read(paths.RESULTS["prune"], Pruned).groups
        ),
    ]


def _map(run: RunDirectory) -> list[str]:
    return [
        f"{scheme.name}: {scheme.crossbars} crossbars against {scheme.dense_crossbars} dense, zero space "
        f"cost in {sum(group['zero_space'] for group in scheme.groups)} of {len(scheme.groups)} groups"
        for scheme in run.read(paths.RESULTS["map"], Mapped).schemes
    ]


def _faults(run: RunDirectory) -> list[str]:
    rows = run.read(paths.CHIPS, Chips).chips
    pattern = pattern_words(parse_pattern(rows[0]["pattern"]))
    chips = Counter(chip["rate"] for chip in rows)
    return [f"{100 * rate:g} % of all cells stuck, {pattern}: {chips_text(count)}" for rate, count in chips.items()]


def _eval(run: RunDirectory) -> list[str]:
    """Every point, under what must be said of the model itself."""
    result = run.read(paths.RESULTS["eval"], Accuracy)
    return [*chance_claims(dataclasses.asdict(result)), *(_point(point, result.metric) for point in result.points)]


def _point(point: Mapping[str, Any], metric: str) -> str:
    """A mean, and how chips scatter around it where there is more than one."""
    score, rate, chips = score_text(point["mean"], metric, 2), point["rate"], point["chips"]
    where = f"{100 * rate:g} % stuck" if rate else "no faults"
    spread = f"standard deviation {score_number(point['sd'], metric)}, " if chips > 1 else ""
    return f"{point['scheme']}, {where}: {metric} {score}{f' ({spread}{chips_text(chips)})' if rate else ''}"


def _cosim(run: RunDirectory) -> list[str]:
    result = run.read(paths.RESULTS["cosim"], Cosimulated)
    return [*map(cosimulation_line, result.matrices), *map(left_out_line, result.left_out)]


def _simulate(run: RunDirectory) -> list[str]:
    found = dataclasses.asdict(run.read(paths.RESULTS["simulate"], Costs))
    return cost_claims({key: value for key, value in found.items() if key != "skipped" or value is not None})


def _report(run: RunDirectory) -> list[str]:
    path = run.path / paths.VERDICT
    with reading(path, "verdict"):
        return [*path.read_text(encoding="utf-8").splitlines(), f"report: {run.path / paths.PAGE}"]


_SUMMARIES: dict[str, Callable[[RunDirectory], list[str]]] = {
    "finetune": _finetune,
    "prune": _prune,
    "map": _map,
    "faults": _faults,
    "eval": _eval,
    "cosim": _cosim,
    "simulate": _simulate,
    "report": _report,
}


def summarize(run: RunDirectory, command: str) -> list[str]:
    """Lines for the user when the command of that name is done."""
    return _SUMMARIES[command](run)
