"""What came of the paper at its own size: curves, what is tolerated, the distance to the paper's, Figure 7."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks import glue_pruning
from benchmarks.glue_pruning import Plan
from benchmarks.paper_size_plan import PAPER_RATES, SWEPT, VARIANTS, SweepPlan, sweep_plans
from crossvote.sim.common.csv_rows import write_csv
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.common.keyed import KeyedResults
from crossvote.sim.common.plot_style import PALETTE, STYLE
from crossvote.swstack.evaluation.statistics import linear_crossing
from crossvote.swstack.experiment.comparison.methods import Comparison
from crossvote.swstack.experiment.comparison.paper_tables import mean_and_spread
from crossvote.swstack.experiment.comparison.tables import record_of
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.run.paths import COMPARISON
from crossvote.swstack.experiment.shipped import find_config
from crossvote.swstack.report.figures import save_figure

#: Table 3 of the paper, means in percent; the pruned model's metric of QQP (Table 1), the task it is most likely of.
PAPER_TABLE_3 = {
    "none": (90.68, 87.65, 77.96, 55.11, 37.68, 21.18, 12.44, 22.47, 27.40),
    "paper": (90.58, 90.26, 88.68, 86.0, 83.91, 80.13, 71.43, 63.02, 52.23),
}

PAPER_FAULT_FREE = 90.86


def points_of(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per task, variant, planes and rate: mean, sample variance, least and largest metric, in percent."""
    rows = []
    for one in results:
        for rate in dict.fromkeys(trial["rate"] for trial in one["trials"]):
            scores = [trial[one["metric"]] for trial in one["trials"] if trial["rate"] == rate]
            rows.append(
                {
                    "task": one["task"],
                    "metric": one["metric"],
                    "variant": one["variant"],
                    "scale": one["scale"],
                    "faulted planes": one["planes"],
                    "rate": rate,
                    "mean": statistics.mean(scores),
                    "variance": statistics.variance(scores) if len(scores) > 1 else 0.0,
                    "least": min(scores),
                    "largest": max(scores),
                    "chips": len(scores) if rate else 0,
                }
            )
    unique = {(row["task"], row["variant"], row["faulted planes"], row["rate"]): row for row in rows}
    return [unique[key] for key in sorted(unique)]


def curve_of(points: Sequence[Mapping[str, Any]], task: str, variant: str, planes: str) -> dict[float, float]:
    """Rate -> mean of one curve, the fault-free value at rate 0."""
    return {
        point["rate"]: point["mean"]
        for point in points
        if (point["task"], point["variant"], point["faulted planes"]) == (task, variant, planes)
    }


def tolerated_percent(curve: Mapping[float, float], drop: float) -> str:
    """The rate in percent up to which the mean stays within `drop` points of the fault-free value."""
    rates = sorted(curve)
    return f"{100 * linear_crossing(rates, [curve[0.0] - curve[rate] for rate in rates], drop)[0]:.4f}"


def distance_to_paper(
    points: Sequence[Mapping[str, Any]], task: str, unprotected: str, protected: str, planes: str
) -> float | None:
    """Root mean square of (our drop - the paper's drop) in points over both curves and nine rates; None if incomplete.

    A drop is the loss against the fault-free model, the paper's against 90.86.
    """
    gaps = []
    for variant, paper in ((unprotected, PAPER_TABLE_3["none"]), (protected, PAPER_TABLE_3["paper"])):
        curve = curve_of(points, task, variant, planes)
        if not all(rate in curve for rate in (0.0, *PAPER_RATES)):
            return None
        gaps += [
            (curve[0.0] - curve[rate]) - (PAPER_FAULT_FREE - value)
            for rate, value in zip(PAPER_RATES, paper, strict=True)
        ]
    return float(np.sqrt(np.mean(np.square(gaps))))


def compared_losses(plans: Sequence[Plan]) -> dict[tuple[str, str, float], list[float]]:
    """Task, method and share of columns -> loss in points of every seed, each against its own dense model."""
    losses: dict[tuple[str, str, float], list[float]] = {}
    for one in glue_pruning.finished_runs(plans):
        measured, settings = record_of(one.run), load_config(find_config(str(one.run))).prune
        losses.setdefault((one.task, settings.method, settings.column_sparsity), []).append(measured.lost)
        for _, stored in KeyedResults(one.run / COMPARISON).entries():
            result = Comparison(**stored)
            losses.setdefault((one.task, result.method, result.target), []).append(result.lost)
    return dict(sorted(losses.items()))


def compared_rows(losses: Mapping[tuple[str, str, float], Sequence[float]]) -> list[dict[str, Any]]:
    """One row per task, method and share."""
    return [
        {
            "task": task,
            "method": method,
            "columns, %": f"{100 * share:g}",
            "loss": mean_and_spread(values),
            "by seed": " ".join(f"{value:.2f}" for value in values),
            "seeds": str(len(values)),
        }
        for (task, method, share), values in losses.items()
    ]


def goal_rows(losses: Mapping[tuple[str, str, float], Sequence[float]]) -> list[dict[str, Any]]:
    """One row per method and share: mean loss over its tasks, and the largest."""
    rows = []
    for wanted in dict.fromkeys((method, share) for _, method, share in losses):
        means = {task: statistics.mean(values) for (task, *own), values in losses.items() if tuple(own) == wanted}
        worst = max(means, key=means.__getitem__)
        rows.append(
            {
                "method": wanted[0],
                "columns, %": f"{100 * wanted[1]:g}",
                "mean loss": f"{statistics.mean(means.values()):.2f}",
                "largest": f"{means[worst]:.2f}",
                "of task": worst,
                "tasks": len(means),
            }
        )
    return rows


def complete_rates(plan: SweepPlan, out: Path) -> dict[str, Any] | None:
    """What an interrupted sweep has of rates with all their chips, as `do_sweep` gives it; None if there is no rate."""
    trials: dict[float, list[dict[str, Any]]] = {}
    metric = ""
    for name, _, metrics in KeyedResults(out / "sweeps" / plan.name).named():
        found = re.fullmatch(rf"{plan.variant}(?:-rate-(.+)-chip-(\d+))?", name)
        if found is not None:
            rate, chip = (float(found[1]), int(found[2])) if found[1] else (0.0, -1)
            metric = next(iter(metrics))
            trials.setdefault(rate, []).append({"rate": rate, "chip": chip, **metrics})
    complete = [rate for rate in sorted(trials) if len(trials[rate]) == (plan.chips if rate else 1)]
    if not any(complete):
        return None
    scheme, scale = VARIANTS[plan.variant]
    config = load_config(find_config(str(out / f"{plan.task}-0")), [f'map.schemes=["{scheme}"]'])
    return {
        "task": plan.task,
        "variant": plan.variant,
        "planes": plan.planes,
        "scale": scale or config.protections()[scheme].scale,
        "metric": metric,
        "trials": [trial for rate in complete for trial in sorted(trials[rate], key=lambda own: own["chip"])],
    }


def report(out: Path, folder: Path, plans: Sequence[Plan]) -> None:
    """Write everything that is finished into `folder`."""
    glue_pruning.report(plans, folder)
    if losses := compared_losses(plans):
        write_csv(folder / "methods.csv", compared_rows(losses))
        at_chance = glue_pruning.uncounted(plans)
        if counted := goal_rows({key: values for key, values in losses.items() if key[0] not in at_chance}):
            write_csv(folder / "goal.csv", counted)
    for path in (out / "system").glob("*.csv"):
        write_text_atomic(folder / f"system_{path.name}", path.read_text())
    finished = sorted((out / "sweeps").glob("*.json"))
    results = [json.loads(path.read_text()) for path in finished]
    names = {path.stem for path in finished}
    whole = len(results)
    results += [own for one in sweep_plans() if one.name not in names and (own := complete_rates(one, out)) is not None]
    if not results:
        return
    points = points_of(results)
    write_csv(folder / "points.csv", [_rounded(point) for point in points])
    write_csv(
        folder / "trials.csv",
        [
            {
                "task": one["task"],
                "variant": one["variant"],
                "faulted planes": one["planes"],
                "rate": trial["rate"],
                "chip": trial["chip"],
                "faults": trial.get("faults", ""),
                "metric": f"{trial[one['metric']]:.3f}",
            }
            for one in results
            for trial in one["trials"]
        ],
    )
    write_csv(
        folder / "sweeps.csv",
        [
            {name: value for name, value in one.items() if name != "trials"}
            | {"wall_seconds": f"{one['wall_seconds']:.0f}", "command": f"benchmarks.paper_size --sweep {path.stem}"}
            for path, one in zip(finished, results[:whole], strict=True)
        ],
    )
    curves = {(point["task"], point["variant"], point["faulted planes"]) for point in points}
    write_csv(
        folder / "tolerated.csv",
        [
            {
                "task": task,
                "variant": variant,
                "faulted planes": planes,
                "fault-free": f"{curve[0.0]:.2f}",
                "tolerated within 10 points, %": tolerated_percent(curve, 10),
                "tolerated within 1 point, %": tolerated_percent(curve, 1),
                "largest rate measured, %": f"{100 * max(curve):g}",
            }
            for task, variant, planes in sorted(curves)
            if 0.0 in (curve := curve_of(points, task, variant, planes))
        ],
    )
    readings = [
        {"task": task, "scale": scale, "faulted planes": planes, "distance, points": f"{distance:.2f}"}
        for task in SWEPT
        for scale, pair in (("tensor", ("none", "paper")), ("column", ("none-column", "paper-column")))
        for planes in ("all", "msb")
        if (distance := distance_to_paper(points, task, *pair, planes)) is not None
    ]
    if readings:
        write_csv(folder / "readings.csv", readings)
    for task in dict.fromkeys(point["task"] for point in points):
        save_figure(figure_7(points, task), folder, f"figure7_{task}")


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: f"{value:.3f}" if isinstance(value, float) and name != "rate" else value for name, value in row.items()
    }


def figure_7(points: Sequence[Mapping[str, Any]], task: str) -> Figure:
    """Mean metric over the fault rate, a line for each variant and reading."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for variant in VARIANTS:
            for planes, style in (("all", "-"), ("msb", ":")):
                curve = curve_of(points, task, variant, planes)
                rates = sorted(rate for rate in curve if rate)
                if rates:
                    color = PALETTE[list(VARIANTS).index(variant)]
                    label = variant if planes == "all" else f"{variant}, only MSB planes faulted"
                    axes.plot(
                        [100 * r for r in rates], [curve[r] for r in rates], style, color=color, marker=".", label=label
                    )
        axes.set_xscale("log")
        axes.set_xlabel("stuck cells, %")
        axes.set_ylabel(f"{task}, mean over chips")
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    return figure
