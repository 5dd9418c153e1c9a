"""Charts of the chip: cost against accuracy kept, where energy and area go, and when the units are busy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from crossvote.sim.common.plot_style import MUTED, PALETTE, STYLE, filling, look

Record = Mapping[str, Any]
Parts = Mapping[str, Mapping[str, float]]


def cost_figure(costs: Parts, kept: Mapping[str, float], what: str) -> Figure:
    """One panel per cost: its change in percent (x) against the metric kept (y, ``what``), a marker per scheme.

    costs: scheme -> cost -> change as a fraction. kept: scheme -> metric.
    """
    titles = list(dict.fromkeys(title for own in costs.values() for title in own))
    with rc_context(STYLE):
        figure = Figure(figsize=(7.4, 3.0), layout="constrained")
        grid = figure.subplots(1, len(titles), sharey=True, squeeze=False)
        panels = grid[0]
        for axes, title in zip(panels, titles, strict=True):
            for i, (scheme, changes) in enumerate(costs.items()):
                if title in changes:
                    label = scheme if axes is panels[0] else None
                    # With an outline in the colour of the paper, so that one mark on another is seen.
                    mark = {"ls": "", "ms": 8.5, "mec": "#ffffff", "mew": 0.8, **look(i)}
                    axes.plot([100 * changes[title]], [kept[scheme]], label=label, **mark)
            axes.axvline(0, color=MUTED, lw=0.9, ls="--", zorder=1)  # under the marks
            axes.set_title(title, fontsize=9.5)
            axes.set_xlabel("change, %", fontsize=8.5)
            axes.tick_params(labelsize=8.5)
            axes.margins(0.25)
            # Changes that are all but 0 would otherwise fill the panel with rounding.
            low, high = axes.get_xlim()
            axes.set_xlim(min(low, -2.0), max(high, 2.0))
            axes.grid()
        panels[0].set_ylabel(what)
        figure.legend(loc="outside lower center", ncols=4)
    return figure


def breakdown_figure(panels: Mapping[str, Parts]) -> Figure:
    """Stacked bars, one per scheme, of what each part contributes; a panel for each quantity.

    panels: what the axis measures -> scheme -> part -> value. A part has one colour in all panels.
    """
    rows = len(next(iter(panels.values())))
    largest: dict[str, float] = {}
    for parts in panels.values():
        total = max(sum(own.values()) for own in parts.values()) or 1.0
        for own in parts.values():
            for part, value in own.items():
                largest[part] = max(largest.get(part, 0.0), value / total)
    names = sorted((part for part in largest if largest[part] > 0), key=lambda part: (-largest[part], part))
    with rc_context(STYLE):
        figure = Figure(figsize=(7.4, 0.42 * rows + 1.9), layout="constrained")
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)
        for axes, (what, parts) in zip(grid[0], panels.items(), strict=True):
            _stack(axes, parts, names)
            axes.set_xlabel(what)
        handles = [Rectangle((0, 0), 1, 1, **filling(i)) for i in range(len(names))]
        figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=8.5)
    return figure


def _stack(axes: Axes, parts: Parts, names: Sequence[str]) -> None:
    """A bar for each of ``parts`` from the top down; the pieces of one name are one object, which is drawn sooner."""
    left: NDArray[np.float64] = np.zeros(len(parts))
    top, bottom = (np.arange(len(parts)) + half for half in (-0.31, 0.31))
    for i, part in enumerate(names):
        right = left + [own.get(part, 0.0) for own in parts.values()]
        corners = np.stack([left, top, right, top, right, bottom, left, bottom], axis=1).reshape(-1, 4, 2)
        axes.add_collection(PolyCollection(list(corners[right > left]), **filling(i)))
        left = right
    axes.set_xlim(0, 1.05 * left.max() or 1.0)
    axes.set_ylim(len(parts) - 0.5, -0.5)
    axes.set_yticks(range(len(parts)), list(parts))
    axes.grid(axis="x")


def timeline_figure(rows: Sequence[Record]) -> Figure:
    """When every unit of the first layer is busy: rows of ``unit``, ``start_us``, ``end_us`` in order of first work."""
    units = list(dict.fromkeys(row["unit"] for row in rows))
    kinds = list(dict.fromkeys(_kind(unit) for unit in units))
    with rc_context(STYLE):
        figure = Figure(figsize=(7.4, 0.9 + 0.24 * len(units)), layout="constrained")
        axes = figure.subplots()
        for y, unit in enumerate(units):
            spans = [(row["start_us"], row["end_us"] - row["start_us"]) for row in rows if row["unit"] == unit]
            colour = PALETTE[(kinds.index(_kind(unit)) + 1) % len(PALETTE)]
            # With an outline, because many transfers are shorter than the line of a pixel.
            axes.broken_barh(spans, (y - 0.36, 0.72), facecolor=colour, edgecolor=colour, lw=0.9)
        axes.set_yticks(range(len(units)), [unit.replace(".crossbars.", " ") for unit in units], fontsize=8)
        axes.set_ylim(len(units) - 0.4, -0.6)
        axes.set_xlabel("time, µs")
        axes.grid(axis="x")
    return figure


def _kind(unit: str) -> str:
    return unit.rpartition(".")[2]
