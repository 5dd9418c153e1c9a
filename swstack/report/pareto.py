"""The picture of an exploration: what candidates cost and lose, and which of them nobody beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox

from crossvote.sim.common.plot_style import GRID, MUTED, STYLE, look

Record = Mapping[str, Any]


def pareto_figure(
    candidates: Sequence[Record],
    front: Sequence[Record],
    axes_of: Sequence[str],
    group: str | None,
    limit: float | None,
) -> Figure:
    """One panel for each two neighbouring quantities of ``axes_of``; the front in colour, numbered where
    there is room.

    Args:
        candidates, front: rows with ``candidate`` (a number), the quantities, and ``group``.
        group: column whose values have a colour and a mark each; None: all alike.
        limit: points that may be lost, drawn as a line where "points lost" is an axis.
    """
    pairs = list(pairwise(axes_of)) or [("candidate", axes_of[0])]
    kinds = list(dict.fromkeys(str(row[group]) if group else "front" for row in front))
    with rc_context(STYLE):
        engine = ConstrainedLayoutEngine()
        figure = Figure(figsize=(3.7 * max(len(pairs), 2), 3.6), layout=engine)
        for panel, (x, y) in zip(figure.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
            every = [row[x] for row in candidates], [row[y] for row in candidates]
            panel.plot(*every, ls="", marker=".", color=MUTED, alpha=0.5, label="beaten, or loses too much")
            for number, kind in enumerate(kinds):
                own = [row for row in front if not group or str(row[group]) == kind]
                panel.plot([row[x] for row in own], [row[y] for row in own], ls="", ms=7, label=kind, **look(number))
            for name, draw in ((x, panel.axvline), (y, panel.axhline)):
                if limit is not None and name == "points lost":
                    draw(limit, color=MUTED, ls="--", lw=1)
            panel.set_xlabel(_written(x))
            panel.set_ylabel(_written(y))
            panel.margins(0.12)
            panel.grid(color=GRID)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        engine.execute(figure)  # only then it is known what lies beside what
        for panel, (x, y) in zip(figure.axes, pairs, strict=True):
            _number(panel, {str(row["candidate"]): (row[x], row[y]) for row in front})
    return figure


def _written(quantity: str) -> str:
    """A column's name with the signs of its unit."""
    for plain, sign in ((" uJ", " µJ"), (" us", " µs"), (" mm2", " mm²")):
        quantity = quantity.replace(plain, sign)
    return quantity


#: Size of the numbers, and how wide a digit of theirs is (0.636 em in DejaVu Sans), in points.
_SIZE, _DIGIT = 8, 5.1


def _number(panel: Axes, places: Mapping[str, tuple[float, float]]) -> None:
    """Write the number beside every place, above or below, right or left; where no side is free, nowhere."""
    points = {name: panel.transData.transform(place) * 72 / panel.figure.dpi for name, place in places.items()}
    taken = [Bbox.from_bounds(x - 3.5, y - 3.5, 7, 7) for x, y in points.values()]
    for name, (x, y) in points.items():
        width = _DIGIT * len(name)
        for across, up in product((5.0, -5.0 - width), (4.0, -4.0 - _SIZE)):
            box = Bbox.from_bounds(x + across, y + up, width, _SIZE)
            if not any(box.overlaps(other) for other in taken):
                taken.append(box)
                panel.annotate(name, places[name], xytext=(across, up), textcoords="offset points", fontsize=_SIZE)
                break
