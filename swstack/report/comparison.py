"""Several runs on one page: what their schemes keep and cost, side by side, and in which keys the runs differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from crossvote.sim.common.csv_rows import apart, write_apart
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.common.plot_style import STYLE, look, rate_axis
from crossvote.swstack.report import claims, page, pictures, tables

Results = Mapping[str, Any]

#: Of the table of schemes that are no match for blind ones.
_KNOWN = ", programmed around the known stuck cells of each chip"


def write_comparison(folder: Path, runs: Mapping[str, Results], differing: Mapping[str, list[Any]]) -> Path:
    """Write ``index.html``, its tables as CSV and its figure into ``folder``; returns the page.

    Args:
        runs: name -> JSON artefacts by stage. differing: key -> its value in every run, in their order.
    """
    rows = comparison_rows(runs)
    schemes = [{"run": row["run"], **{key: row[key] for key in row if key not in ("run", "costs")}} for row in rows]
    write_apart(folder, "schemes", schemes)
    points = [
        {"run": run, **{key: value for key, value in point.items() if key != "scores"}}
        for run, results in runs.items()
        for point in results["eval"]["points"]
    ]
    title = f"Line charts of the metric against the share of stuck cells, one panel for each of {', '.join(runs)}"
    picture = pictures.add_picture(folder, "accuracy", comparison_figure(runs), points, title)
    titles = list(claims.COSTS)
    text = page.environment().get_template("comparison.html.j2").render(
        runs=runs,
        parts=[(_KNOWN if ending else "", own) for ending, own in apart(rows).items() if own],
        titles=titles,
        verdict=comparison_claims(runs),
        picture=picture,
        differing=differing,
    )  # fmt: skip
    write_text_atomic(folder / "index.html", text)
    return folder / "index.html"


def comparison_rows(runs: Mapping[str, Results]) -> list[dict[str, Any]]:
    """Rows of ``tables.overview`` for every run, with the run, its task and metric, and the rate of the score."""
    rows = []
    for name, results in runs.items():
        accuracy = results["eval"]
        rate = claims.telling_rate(accuracy["points"])
        knowing = {name for name, own in accuracy["schemes"].items() if own.get("knows_faults")}
        for row in tables.overview(results):
            rows.append(
                {
                    "run": name,
                    "task": accuracy["task"],
                    "metric": accuracy["metric"],
                    "fault_free": claims.score_text(accuracy["fault_free"]["pruned"], accuracy["metric"], 2),
                    "at_chance": claims.at_chance(accuracy),
                    "rate": "" if rate is None else f"{100 * rate:g} %",
                    "map known": row["scheme"] in knowing,
                    **row,
                }
            )
    return rows


def comparison_claims(runs: Mapping[str, Results]) -> list[str]:
    """Every run's sentences about chance level and accuracy, under its name."""
    return [
        f"{name}: {sentence}"
        for name, results in runs.items()
        for sentence in (*claims.chance_claims(results["eval"]), *claims.accuracy_claims(results["eval"]))
    ]


def comparison_figure(runs: Mapping[str, Results]) -> Figure:
    """Metric against fault rate, one panel a run, one line a scheme; a scheme looks the same in every panel."""
    schemes = list(dict.fromkeys(p["scheme"] for results in runs.values() for p in results["eval"]["points"]))
    with rc_context(STYLE):
        figure = Figure(figsize=(max(7.4, 3.4 * len(runs)), 3.8), layout="constrained")
        panels = figure.subplots(1, len(runs), squeeze=False)
        shown: dict[str, Any] = {}
        for axes, (name, results) in zip(panels[0], runs.items(), strict=True):
            points = results["eval"]["points"]
            for i, scheme in enumerate(schemes):
                own = sorted((p for p in points if p["scheme"] == scheme and p["rate"] > 0), key=lambda p: p["rate"])
                if own:
                    (shown[scheme],) = axes.plot(
                        [100 * p["rate"] for p in own],
                        [p["mean"] for p in own],
                        **look(i),
                    )
            rate_axis(axes, (100 * p["rate"] for p in points if p["rate"] > 0), 2.2)
            axes.set_title(name)
            axes.set_ylabel(claims.metric_title(results["eval"]["metric"]))
            axes.grid(axis="y")
        figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=4)
    return figure
