"""The picture of an exploration: what candidates cost and lose, and which of them nobody beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from crossvote.sim.common.plot_style import GRID, MUTED, STYLE, look

Record = Mapping[str, Any]


def pareto_figure(
    candidates: Sequence[Record],
    front: Sequence[Record],
    axes_of: Sequence[str],
    group: str | None,
    limit: float | None,
) -> Figure:
    """One panel for each two neighbouring quantities of ``axes_of``; the front in colour with its numbers.

    Args:
        candidates, front: rows with ``candidate`` (a number), the quantities, and ``group``.
        group: column whose values have a colour and a mark each; None: all alike.
        limit: points that may be lost, drawn as a line where "points lost" is an axis.
    """
    pairs = list(pairwise(axes_of)) or [("candidate", axes_of[0])]
    kinds = list(dict.fromkeys(str(row[group]) if group else "front" for row in front))
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(3.7 * max(len(pairs), 2), 3.6), layout="constrained")
        for panel, (x, y) in zip(figure.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
            every = [row[x] for row in candidates], [row[y] for row in candidates]
            panel.plot(*every, ls="", marker=".", color=MUTED, alpha=0.5, label="beaten, or loses too much")
            for number, kind in enumerate(kinds):
                own = [row for row in front if not group or str(row[group]) == kind]
                panel.plot([row[x] for row in own], [row[y] for row in own], ls="", ms=7, label=kind, **look(number))
                for row in own:
                    panel.annotate(
                        f"{row['candidate']}", (row[x], row[y]), xytext=(5, 4), textcoords="offset points", fontsize=8
                    )
            for name, draw in ((x, panel.axvline), (y, panel.axhline)):
                if limit is not None and name == "points lost":
                    draw(limit, color=MUTED, ls="--", lw=1)
            panel.set_xlabel(x.replace(" uJ", " µJ").replace(" us", " µs"))
            panel.set_ylabel(y.replace(" uJ", " µJ").replace(" us", " µs"))
            panel.margins(0.12)
            panel.grid(color=GRID)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure
