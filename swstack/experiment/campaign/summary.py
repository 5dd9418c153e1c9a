"""What a campaign found so far: means with bands, paired differences, tolerated rates; and tables of it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossvote.sim.common.csv_rows import apart, to_csv
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import write_together
from crossvote.swstack.evaluation.statistics import mean_band, paired_difference, tail, tolerated_rate
from crossvote.swstack.experiment.campaign.database import Database
from crossvote.swstack.experiment.campaign.plan import manifest, planned_spec
from crossvote.swstack.experiment.campaign.stopping import counted
from crossvote.swstack.experiment.campaign.trials import PERFECT
from crossvote.swstack.tasks.chance import Chance
from crossvote.swstack.tasks.metrics import goodness

#: Points of the primary metric that may be lost where a fault rate is called tolerated.
ALLOWED = 1.0

#: Note beside a model that tolerates nothing, because without faults it scores what one answer for all does.
AT_CHANCE = "at chance level without faults"

#: (variant, scope) -> scheme -> rate -> chip -> primary metric in percent; rate 0 holds the model without faults.
Scores = dict[tuple[int, str], dict[str, dict[float, dict[int, float]]]]


@dataclass(frozen=True)
class Findings:
    """Rows of three tables; ``map known`` marks those of schemes that know the stuck cells of each chip.

    cells: per variant, scope, scheme and rate: metric, chips, mean with its band, the worst 5 % and the worst.
    pairs: per rate, the difference of each scheme to the first one over the chips that both ran on, with its band.
    tolerated: per scheme, the highest rate with a mean loss of at most a point, with its band.
    """

    cells: list[dict[str, Any]]
    pairs: list[dict[str, Any]]
    tolerated: list[dict[str, Any]]


def _scores(database: Database) -> tuple[dict[int, str], Scores]:
    """The primary metric of each variant, and the values: tasks of one campaign may have different ones."""
    scores: Scores = {}
    metrics: dict[int, str] = {}
    perfect: dict[tuple[int, str], dict[int, float]] = {}
    for row in counted(database, planned_spec(database).stop):
        trial, (metrics[row.trial.variant], value) = row.trial, next(iter(row.metrics.items()))
        if trial.chip == PERFECT:
            perfect[trial.variant, trial.scheme] = {PERFECT: value}
        else:
            by_scheme = scores.setdefault((trial.variant, trial.scope), {})
            by_scheme.setdefault(trial.scheme, {}).setdefault(trial.rate, {})[trial.chip] = value
    for (variant, _), by_scheme in scores.items():
        for scheme, rates in by_scheme.items():
            rates[0.0] = perfect.get((variant, scheme), {})
    return metrics, scores


def summarize(database: Database, allowed: float = ALLOWED) -> Findings:
    """Statistics of all that is done. Scores are of the primary metric, in percent."""
    planned = {variant["number"]: variant for variant in database.meta("variants") or ()}
    cells, pairs, tolerated = [], [], []
    metrics, every = _scores(database)
    chances = database.meta("chances") or {}
    for (variant, scope), by_scheme in sorted(every.items()):
        own = planned.get(variant, {})
        metric, baseline = metrics[variant], next(iter(by_scheme))
        for scheme, rates in by_scheme.items():
            known = scheme in own.get("knowing", ())
            where = {"variant": own.get("label", str(variant)), "scope": scope, "map known": known}
            for rate in sorted(rates):
                scores = rates[rate]
                if not scores:
                    continue
                values = [scores[chip] for chip in sorted(scores)]
                band = mean_band(values)
                cells.append(
                    {
                        **where,
                        "scheme": scheme,
                        "rate": rate,
                        "metric": metric,
                        "chips": len(values) if rate else 0,
                        "mean": band.value,
                        "low": band.low,
                        "high": band.high,
                        "worst 5 %": goodness(metric, tail([goodness(metric, value) for value in values])),
                        "worst": min(values, key=lambda value: goodness(metric, value)),
                    }
                )
                other = by_scheme[baseline].get(rate, {})
                if rate and scheme != baseline and scores.keys() & other.keys():
                    gain = paired_difference(other, scores)
                    pairs.append(
                        {
                            **where,
                            "scheme": scheme,
                            "against": baseline,
                            "rate": rate,
                            "chips": len(scores.keys() & other.keys()),
                            "difference": gain.value,
                            "low": gain.low,
                            "high": gain.high,
                        }
                    )
            chance = Chance(**chances[str(variant)]) if str(variant) in chances else None
            tolerated += _tolerated(where, scheme, metric, rates, allowed, chance)
    return Findings(cells, pairs, tolerated)


def _tolerated(
    where: dict[str, Any],
    scheme: str,
    metric: str,
    rates: dict[float, dict[int, float]],
    allowed: float,
    chance: Chance | None,
) -> list[dict[str, Any]]:
    perfect = rates.get(0.0, {})
    faulty = {
        rate: {chip: goodness(metric, score) for chip, score in scores.items()}
        for rate, scores in rates.items()
        if rate and scores
    }
    if not perfect or not faulty:
        return []
    if chance is not None and chance.holds(perfect[PERFECT]):
        nothing = {"points allowed": allowed, "tolerated rate": 0.0, "low": 0.0, "high": 0.0, "note": AT_CHANCE}
        return [{**where, "scheme": scheme, **nothing}]
    try:
        found = tolerated_rate(faulty, goodness(metric, perfect[PERFECT]), allowed)
    except UserError:  # no chip that every rate has, yet
        return []
    highest = found.value == max(faulty)
    return [
        {
            **where,
            "scheme": scheme,
            "points allowed": allowed,
            "tolerated rate": found.value,
            "low": found.low,
            "high": found.high,
            "note": "the highest measured" if highest else "",
        }
    ]


def tables(findings: Findings) -> list[list[list[str]]]:
    """A table of the blind schemes and one of those that know the stuck cells, where there are any."""
    return [_table(cells) for cells in apart(findings.cells).values() if cells]


def _table(cells: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """One row per variant, scope and scheme, a column per rate; the header first."""
    rates = sorted({cell["rate"] for cell in cells})
    what = "scheme, map known" if cells[0]["map known"] else "scheme"
    rows = [["variant", "scope", what, *("no faults" if not rate else f"{100 * rate:g} %" for rate in rates)]]
    places = dict.fromkeys((cell["variant"], cell["scope"], cell["scheme"]) for cell in cells)
    by_place = {(c["variant"], c["scope"], c["scheme"], c["rate"]): c for c in cells}
    for place in places:
        row = list(place)
        for rate in rates:
            cell = by_place.get((*place, rate))
            if cell is None:
                row.append("")
            elif not rate:
                row.append(f"{cell['mean']:.2f}")
            else:
                row.append(f"{cell['mean']:.2f} ± {(cell['high'] - cell['low']) / 2:.2f} (n = {cell['chips']})")
        rows.append(row)
    return rows


def trial_rows(database: Database) -> list[dict[str, Any]]:
    """All planned trials as flat rows: what they are, their status and their metrics."""
    labels = {variant["number"]: variant["label"] for variant in database.meta("variants") or ()}
    names = dict.fromkeys(name for row in database.rows("done") for name in row.metrics)
    return [
        {
            "variant": labels.get(row.trial.variant, str(row.trial.variant)),
            "scheme": row.trial.scheme,
            "rate": row.trial.rate,
            "chip": row.trial.chip,
            "scope": row.trial.scope,
            "status": row.status,
            **{name: row.metrics.get(name) for name in names},
            "key": row.trial.key,
        }
        for row in database.rows()
    ]


def export(database: Database, folder: Path) -> list[Path]:
    """Write the trials as CSV and Parquet, the three tables of findings as CSV, and the manifest as JSON.

    Schemes that know the stuck cells have tables of their own, ``summary-known.csv`` and so on.

    Raises:
        UserError: nothing is done yet.
    """
    database.check()
    findings = summarize(database)
    if not findings.cells:
        raise UserError(f"{database.path}: no trial on a faulty chip is done yet.")
    trials = trial_rows(database)
    documents = {
        folder / f"{name}{ending}.csv": to_csv(rows).encode()
        for name, every in (
            ("summary", findings.cells),
            ("pairs", findings.pairs),
            ("tolerated", findings.tolerated),
        )
        for ending, rows in apart(every).items()
        if rows
    }
    documents[folder / "trials.csv"] = to_csv(trials).encode()
    import pyarrow as pa
    import pyarrow.parquet as pq

    packed = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(trials), packed, compression="zstd")
    documents[folder / "trials.parquet"] = packed.getvalue()
    documents[folder / "manifest.json"] = f"{json.dumps(manifest(database), indent=1)}\n".encode()
    write_together(documents)
    return list(documents)
