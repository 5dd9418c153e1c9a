"""The report's charts beside accuracy: paired differences, costs, where energy goes, sparsity, weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from crossvote.swstack.report.figures import GRID, INK, MARKERS, MUTED, PALETTE, STYLE

Record = Mapping[str, Any]

#: For more parts than the palette has colours, they come again with a hatch.
_HATCHES = ("", "///", "...")


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
        half = float(stats.t.ppf(0.975, n - 1) * difference.std(ddof=1) / n**0.5) if n > 1 else 0.0
        rows.append({"scheme": scheme, "rate": rate, "mean": mean, "low": mean - half, "high": mean + half, "chips": n})
    return rows


def difference_figure(rows: Sequence[Record], base: str, metric: str, schemes: Sequence[str]) -> Figure:
    """Paired differences (``paired_differences``) against the fault rate; colours as in the accuracy figure."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.4, 3.6), layout="constrained")
        for i, scheme in enumerate(schemes):
            own = sorted((row for row in rows if row["scheme"] == scheme), key=lambda row: row["rate"])
            if not own:
                continue
            mean = np.array([row["mean"] for row in own])
            axes.errorbar(
                [100 * row["rate"] for row in own],
                mean,
                yerr=[mean - [row["low"] for row in own], [row["high"] for row in own] - mean],
                color=PALETTE[i % len(PALETTE)],
                marker=MARKERS[i % len(MARKERS)],
                capsize=3,
                label=f"{scheme} minus {base}",
            )
        axes.axhline(0, color=INK, lw=0.9)
        axes.set_xscale("log")
        ticks = sorted({100 * row["rate"] for row in rows})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("cells stuck, %  (log scale)")
        axes.set_ylabel(f"difference of {metric}, points")
        axes.grid(axis="y", color=GRID)
        figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    return figure


def cost_figure(costs: Mapping[str, Mapping[str, float]], kept: Mapping[str, float], what: str) -> Figure:
    """One panel per cost: its change in percent (x) against the metric kept (y, ``what``), a marker per scheme.

    costs: scheme -> cost -> change as a fraction. kept: scheme -> metric.
    """
    titles = list(next(iter(costs.values())))
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(1, len(titles), figsize=(7.4, 3.0), sharey=True, layout="constrained")
        for axes, title in zip(np.atleast_1d(panels), titles, strict=True):
            for i, (scheme, changes) in enumerate(costs.items()):
                axes.plot(
                    [100 * changes[title]],
                    [kept[scheme]],
                    ls="",
                    ms=8,
                    marker=MARKERS[i % len(MARKERS)],
                    color=PALETTE[i % len(PALETTE)],
                    label=scheme if axes is np.atleast_1d(panels)[0] else None,
                )
            axes.axvline(0, color=MUTED, lw=0.9, ls="--")
            axes.set_title(title, fontsize=9.5)
            axes.set_xlabel("change, %", fontsize=8.5)
            axes.tick_params(labelsize=8.5)
            axes.margins(0.25)
            axes.grid(color=GRID)
            axes.set_axisbelow(True)
        np.atleast_1d(panels)[0].set_ylabel(what)
        figure.legend(loc="outside lower center", ncols=4, fontsize=9)
    return figure


def breakdown_figure(parts: Mapping[str, Mapping[str, float]], what: str) -> Figure:
    """Stacked bars, one per scheme, of what each part contributes. parts: scheme -> part -> value."""
    names = sorted({part for own in parts.values() for part in own}, key=lambda part: -_largest(parts, part))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.4, 0.62 * len(parts) + 1.6), layout="constrained")
        left: NDArray[np.float64] = np.zeros(len(parts))
        for i, part in enumerate(names):
            values = np.array([own.get(part, 0.0) for own in parts.values()])
            axes.barh(
                list(parts),
                values,
                left=left,
                height=0.62,
                color=PALETTE[i % len(PALETTE)],
                hatch=_HATCHES[i // len(PALETTE) % len(_HATCHES)],
                edgecolor="#ffffff",
                linewidth=0.6,
                label=part,
            )
            left += values
        axes.invert_yaxis()
        axes.set_xlabel(what)
        axes.grid(axis="x", color=GRID)
        axes.set_axisbelow(True)
        figure.legend(loc="outside lower center", ncols=4, fontsize=8.5)
    return figure


def _largest(parts: Mapping[str, Mapping[str, float]], part: str) -> float:
    return max(own.get(part, 0.0) for own in parts.values())


def sparsity_figure(matrices: Sequence[Record]) -> Figure:
    """Pruned columns, pruned rows and zero weights of every matrix, in percent; few names, because they repeat."""
    kinds = {"column_sparsity": "columns", "row_sparsity": "rows", "element_sparsity": "weights"}
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.4, 3.0), layout="constrained")
        for i, (key, title) in enumerate(kinds.items()):
            axes.plot(
                range(len(matrices)),
                [100 * matrix[key] for matrix in matrices],
                color=PALETTE[i],
                marker=MARKERS[i],
                ms=3.5,
                lw=1,
                label=f"{title} that are zero",
            )
        step = max(1, len(matrices) // 12)
        axes.set_xticks(
            range(0, len(matrices), step), [_short(matrices[i]["name"]) for i in range(0, len(matrices), step)]
        )
        axes.tick_params(axis="x", labelrotation=40, labelsize=8)
        plt.setp(axes.get_xticklabels(), ha="right", rotation_mode="anchor")
        axes.set_ylabel("pruned, %")
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=GRID)
        figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    return figure


def _short(name: str) -> str:
    """The last parts of a module path, from the layer's number on."""
    parts = name.split(".")
    numbers = [i for i, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[numbers[0] :]) if numbers else name
