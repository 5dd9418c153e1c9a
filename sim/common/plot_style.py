"""The one style sheet of all pictures: colours, marks and settings of Matplotlib. Loads no library."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The colour-blind-safe palette of Okabe and Ito (2008), https://jfly.uni-koeln.de/color/, and a grey. Black is not
# quite black: an SVG leaves out black, which is what it draws anyway, and a dark page could not turn it into its ink.
PALETTE = ("#D55E00", "#0072B2", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#010101", "#999999")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
#: For more parts than the palette has colours, they come again with a hatch.
HATCHES = ("", "///", "...")
INK, MUTED, GRID = "#1f2933", "#5b6770", "#dde3e8"
#: For what lies on a picture whose own colours are the same in both themes of a page: no colours that a theme changes.
FIXED_INK, FIXED_PAPER = "#111111", "#fefefe"

STYLE: dict[Any, Any] = {
    # Without it ids in an SVG are random, and equal results would not give equal bytes.
    "svg.hashsalt": "crossvote",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": GRID,
    # Inches of paper around everything, so that nothing touches the edge of its file.
    "figure.constrained_layout.h_pad": 0.07,
    "figure.constrained_layout.w_pad": 0.07,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


def look(number: int) -> dict[str, Any]:
    """Colour and mark of the curve with that number; they repeat after eight."""
    return {"color": PALETTE[number % len(PALETTE)], "marker": MARKERS[number % len(MARKERS)]}


def filling(number: int) -> dict[str, Any]:
    """Colour and hatch of the filled part with that number."""
    hatch = HATCHES[number // len(PALETTE) % len(HATCHES)]
    return {"facecolor": PALETTE[number % len(PALETTE)], "hatch": hatch, "edgecolor": "#ffffff", "linewidth": 0.6}


def rate_axis(axes: Axes, rates: Iterable[float], inches: float, others: Iterable[float] = ()) -> None:
    """A logarithmic axis of about that length with a tick at each rate, in percent.

    Numbers that would touch the one before them are left out. Where ``others`` reach beyond the rates, round numbers
    stand.
    """
    own, others = sorted(set(rates)), list(others)
    low, high = min(others, default=math.inf), max(others, default=-math.inf)
    beyond = [
        tick
        for tick in (digit * 10.0**power for power in range(-8, 3) for digit in (1, 3))
        if 0.999 * low <= tick <= 1.001 * high and not 0.999 * own[0] <= tick <= 1.001 * own[-1]
    ]
    ticks = sorted([*own, *beyond])
    labels, end = [], -math.inf
    for tick in ticks:
        span = math.log(ticks[-1] / ticks[0]) or 1.0
        place, half = inches * math.log(tick / ticks[0]) / span, 0.045 * len(f"{tick:g}")
        labels.append(f"{tick:g}" if place - half > end else "")
        end = place + half + 0.05 if labels[-1] else end
    axes.set_xscale("log")
    axes.set_xticks(ticks, labels)
    axes.minorticks_off()
    axes.set_xlabel("cells stuck, %  (log scale)")
