"""Differences between schemes on the same chips, as numbers and as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from crossvote.sim.common.plot_style import INK, STYLE, look, rate_axis
from crossvote.swstack.evaluation.statistics import student_factor

Record = Mapping[str, Any]


def paired_differences(points: Sequence[Record], base: str) -> list[dict[str, Any]]:
    """Difference of every scheme to ``base`` on the same chips, with the 95 % interval of its mean (Student's t).

    Rows: ``scheme``, ``rate``, ``mean``, ``low``, ``high`` in points of the metric, ``chips``. A rate at which the two
    were not measured on equally many chips is left out.
    """
    scores = {(point["scheme"], point["rate"]): np.array(point["scores"]) for point in points if point["rate"] > 0}
    rows = []
    for (scheme, rate), own in scores.items():
        other = scores.get((base, rate))
        if scheme == base or other is None or len(other) != len(own):
            continue
        difference, n = own - other, len(own)
        mean = float(difference.mean())
        half = float(student_factor(n) * difference.std(ddof=1) / n**0.5) if n > 1 else 0.0
        rows.append({"scheme": scheme, "rate": rate, "mean": mean, "low": mean - half, "high": mean + half, "chips": n})
    return rows


def difference_figure(rows: Sequence[Record], base: str, metric: str, schemes: Sequence[str]) -> Figure:
    """Paired differences (``paired_differences``) against the fault rate; colours as in the accuracy figure."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.4, 3.6), layout="constrained")
        axes = figure.subplots()
        for i, scheme in enumerate(schemes):
            own = sorted((row for row in rows if row["scheme"] == scheme), key=lambda row: row["rate"])
            if not own:
                continue
            mean = np.array([row["mean"] for row in own])
            axes.errorbar(
                [100 * row["rate"] for row in own],
                mean,
                yerr=[mean - [row["low"] for row in own], [row["high"] for row in own] - mean],
                capsize=3,
                label=f"{scheme} minus {base}",
                **look(i),
            )
        axes.axhline(0, color=INK, lw=0.9)
        rate_axis(axes, (100 * row["rate"] for row in rows), 5.5)
        axes.set_ylabel(f"difference of {metric}, points")
        axes.grid(axis="y")
        figure.legend(loc="outside lower center", ncols=3)
    return figure
