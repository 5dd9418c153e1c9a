"""Charts of the model: what pruning took from matrices and heads, how weights are spread, which parts are sensitive."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from crossvote.sim.common.plot_style import FIXED_INK, FIXED_PAPER, INK, MUTED, PALETTE, STYLE, look
from crossvote.swstack.report.weights import plane_shares

Record = Mapping[str, Any]


def sparsity_figure(matrices: Sequence[Record]) -> Figure:
    """Pruned columns, pruned rows and zero weights of every matrix, in percent; few names, because they repeat."""
    kinds = {"column_sparsity": "columns", "row_sparsity": "rows", "element_sparsity": "weights"}
    with rc_context(STYLE):
        figure = Figure(figsize=(7.4, 3.0), layout="constrained")
        axes = figure.subplots()
        for i, (key, title) in enumerate(kinds.items()):
            values = [100 * matrix[key] for matrix in matrices]
            axes.plot(range(len(matrices)), values, ms=3.5, lw=1, label=f"{title} that are zero", **look(i))
        step = max(1, len(matrices) // 12)
        shown = range(0, len(matrices), step)
        axes.set_xticks(shown, [short(matrices[i]["name"]) for i in shown])
        axes.tick_params(axis="x", labelrotation=40, labelsize=8)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
        axes.set_ylabel("pruned, %")
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def short(name: str) -> str:
    """The last parts of a module path, from the layer's number on."""
    parts = name.split(".")
    numbers = [i for i, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[numbers[0] :]) if numbers else name


def head_figure(rows: Sequence[Record]) -> Figure:
    """Pruned columns of every head (x) of every matrix (y), ``weights.head_sparsity``, as a shaded table in percent."""
    matrices = list(dict.fromkeys(row["matrix"] for row in rows))
    heads = max(row["head"] for row in rows) + 1
    shares = np.full((len(matrices), heads), np.nan)
    for row in rows:
        shares[matrices.index(row["matrix"]), row["head"]] = 100 * row["pruned"]
    with rc_context(STYLE):
        figure = Figure(figsize=(7.4, 1.3 + min(0.23 * len(matrices), 9.0)), layout="constrained")
        axes = figure.subplots()
        top = max(float(np.nanmax(shares)), 1.0)
        picture = axes.imshow(shares, aspect="auto", cmap="Blues", vmin=0, vmax=top)
        if heads <= 16 and len(matrices) <= 40:
            for colour, chosen in ((FIXED_INK, shares <= 0.7 * top), (FIXED_PAPER, shares > 0.7 * top)):
                _write_numbers(axes, np.where(chosen, np.round(shares), np.nan), colour)
        axes.set_xticks(range(heads))
        axes.set_yticks(range(len(matrices)), [short(name) for name in matrices])
        axes.tick_params(labelsize=7.5)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("head")
        bar = figure.colorbar(picture, ax=axes, label="pruned columns, %", aspect=30)
        bar.outline.set_visible(False)
    return figure


def _write_numbers(axes: Axes, values: NDArray[np.float64], colour: str) -> None:
    """Every value in the middle of its cell; NaN: nothing. Equal ones are one shape in many places.

    As hundreds of texts, each laid out by itself, they would take longer than the rest of the picture.
    """
    to_pixels = Affine2D().scale(1 / 72) + axes.figure.dpi_scale_trans
    for value in np.unique(values[~np.isnan(values)]):
        written = TextPath((0, 0), f"{value:.0f}", size=7)
        ends = written.get_extents()
        shape = written.transformed(Affine2D().translate(-(ends.x0 + ends.x1) / 2, -(ends.y0 + ends.y1) / 2))
        places = np.argwhere(values == value)[:, ::-1]
        number = PathCollection([shape], offsets=places, offset_transform=axes.transData, fc=colour, lw=0)
        number.set(transform=to_pixels, label=f"{value:.0f}", in_layout=False)  # inside the axes
        axes.add_collection(number, autolim=False)


def weight_figure(counts: Mapping[str, NDArray[np.int64]]) -> Figure:
    """Left: how many weights have which magnitude; right: in how many each bit is 1. counts: scale -> int64[2^B]."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.4, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for i, (name, own) in enumerate(counts.items()):
            edges = np.arange(len(own) + 1) - 0.5
            shares = 100 * own / max(own.sum(), 1)
            left.stairs(shares, edges, color=PALETTE[i], lw=1.4, label=name)
            bits = 100 * plane_shares(own)
            right.plot(range(len(bits)), np.where(bits > 0, bits, np.nan), lw=1.4, ms=5, **look(i))
        planes = int(len(own) - 1).bit_length()
        left.axvline(2 ** (planes - 1) - 0.5, color=INK, ls=(0, (5, 4)), lw=1)
        left.set_xlabel("magnitude  (right of the line the MSB is 1)")
        left.set_ylabel("weights, %  (log scale)")
        ends = {0: "0\nLSB", planes - 1: f"{planes - 1}\nMSB"}
        right.set_xticks(range(planes), [ends.get(plane, f"{plane}") for plane in range(planes)])
        right.set_xlabel("bit plane")
        right.set_ylabel("bit is 1, % of weights  (log scale)")
        for axes in (left, right):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.minorticks_off()
            axes.grid(axis="y")
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def sensitivity_figure(rows: Sequence[Record], metric: str) -> Figure:
    """Points lost with the faults of one part alone (``crossvote sensitivity``), a panel for each kind of part."""
    kinds: dict[str, list[Record]] = {}
    for row in rows:
        if row["part"] != "all":
            kinds.setdefault(row["part"].partition(".")[0], []).append(row)
    whole = next((row for row in rows if row["part"] == "all"), None)
    most = max(len(own) for own in kinds.values())
    with rc_context(STYLE):
        figure = Figure(figsize=(7.4, 1.4 + 0.24 * most), layout="constrained")
        panels = figure.subplots(1, len(kinds), squeeze=False, sharex=True)
        for i, (axes, (kind, own)) in enumerate(zip(panels[0], kinds.items(), strict=True)):
            own = sorted(own, key=lambda row: _natural(row["part"]))
            lost = np.array([row["points lost"] for row in own])
            reach = [lost - [row["low"] for row in own], [row["high"] for row in own] - lost]
            axes.barh(range(len(own)), lost, color=PALETTE[(i + 1) % len(PALETTE)], height=0.66)
            axes.errorbar(lost, range(len(own)), xerr=np.maximum(reach, 0), fmt="none", ecolor=INK, lw=1, capsize=2)
            axes.set_yticks(range(len(own)), [row["part"].partition(".")[2] for row in own], fontsize=8)
            axes.set_ylim(most - 0.4, -0.6)
            axes.set_title(f"one {kind} alone")
            axes.set_xlabel(f"{metric} lost, points", fontsize=8.5)
            axes.axvline(0, color=INK, lw=0.8)
            if whole is not None:
                axes.axvline(whole["points lost"], color=MUTED, lw=1, ls="--")
            axes.grid(axis="x")
    return figure


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts numbers inside of names by their value."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
