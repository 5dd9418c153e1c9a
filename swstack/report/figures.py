"""The pictures of the report: vector graphics that are equal for equal numbers, each drawn with its data beside it."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from crossvote.sim.array.crossbar import stuck_cells
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import GroupImage, Image
from crossvote.sim.common.files import write_together
from crossvote.sim.common.plot_style import FIXED_INK, FIXED_PAPER, GRID, INK, MARKERS, MUTED, PALETTE, STYLE, rate_axis
from crossvote.swstack.report.claims import metric_title
from crossvote.swstack.tasks.metrics import METRICS, in_percent

#: Fixed colours of a picture in a file, and what takes their place in a page that has a light and a dark theme.
THEMED = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    PALETTE[6]: "var(--ink)",
    "#ffffff": "var(--paper)",
}

#: Dots per inch of PNG files.
_DPI = 160


def save_figure(figure: Figure, folder: Path, name: str) -> str:
    """Write ``name.svg`` and ``name.png`` and return the SVG text, ready to stand inside an HTML page."""
    svg, png = io.BytesIO(), io.BytesIO()
    with rc_context(STYLE):
        frame = _laid_out(figure)
        # Without a date the same numbers give the same bytes, so reports can be compared with diff.
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches=frame)
        # Packed at level 3, which takes half as long as the default and a twentieth more room.
        packed = {"compress_level": 3}
        figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None}, pil_kwargs=packed, bbox_inches=frame)
    text = svg.getvalue().decode()
    write_together({folder / f"{name}.svg": svg.getvalue(), folder / f"{name}.png": png.getvalue()})
    return text[text.index("<svg") :]


def _laid_out(figure: Figure) -> Bbox:
    """Put everything in its place for good, and return what it takes, in inches: the figure, or more.

    Left to Matplotlib, every file would be laid out and drawn twice: to find its margins, and to write it. Its engine
    makes room for all but long legends, and titles and labels that are longer than their axes; only these are measured.
    """
    figure.set_dpi(_DPI)  # letters take another share of an inch at another
    engine = figure.get_layout_engine()
    assert engine is not None, "what has no layout engine may be cut off"
    engine.execute(figure)
    figure.set_layout_engine(None)  # "none" would leave one that does nothing, for which all is drawn once more
    across: list[Artist] = [*figure.legends]
    for axes in figure.axes:
        across += [axes.xaxis.label, *(child for child in axes.get_children() if isinstance(child, Text))]
    widths = [box for one in across if (box := one.get_window_extent()).width]
    heights = [box for axes in figure.axes if (box := axes.yaxis.label.get_window_extent()).height]
    (left, bottom), (right, top), margin = figure.bbox.min, figure.bbox.max, 0.05 * _DPI
    left = min([left, *(box.x0 - margin for box in widths)])
    right = max([right, *(box.x1 + margin for box in widths)])
    bottom = min([bottom, *(box.y0 - margin for box in heights)])
    top = max([top, *(box.y1 + margin for box in heights)])
    return Bbox.from_extents(left, bottom, right, top).transformed(figure.dpi_scale_trans.inverted())


def inline_svg(svg: str, name: str, text: str) -> str:
    """An SVG picture as part of a page: ids of its own, colours of the page's theme, ``text`` for who cannot see it."""
    for colour, variable in THEMED.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r'(\bid=")', rf"\g<1>{name}-", svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    label = html.escape(text, quote=True)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def loss_figure(points: Sequence[Mapping[str, Any]], metric: str) -> Figure:
    """Loss of the task metric against the share of pruned columns, one line per method, the spread over seeds as a bar.

    ``points`` carry ``method``, ``target`` (a fraction) and ``loss``, ``least``, ``largest`` in points.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.4, 4.0), layout="constrained")
        axes = figure.subplots()
        for i, method in enumerate(dict.fromkeys(point["method"] for point in points)):
            own = sorted((point for point in points if point["method"] == method), key=lambda point: point["target"])
            loss = np.array([point["loss"] for point in own])
            bars = [loss - [point["least"] for point in own], [point["largest"] for point in own] - loss]
            axes.errorbar(
                [100 * point["target"] for point in own],
                loss,
                yerr=bars,
                color=PALETTE[i % len(PALETTE)],
                marker=MARKERS[i % len(MARKERS)],
                markersize=5,
                capsize=3,
                label=method,
            )
        axes.axhline(0, color=MUTED, lw=0.8)
        axes.axhline(1, color=MUTED, lw=0.8, linestyle="--")
        axes.set_xlabel("pruned columns of every word-line group, %")
        axes.set_ylabel(f"loss of {metric} against dense, points")
        axes.invert_yaxis()
        axes.grid(axis="y", color=GRID)
        axes.legend()
    return figure


def accuracy_figure(
    points: Sequence[Mapping[str, Any]],
    metric: str,
    fault_free: float,
    chance: float | None = None,
    reference: Sequence[Mapping[str, Any]] = (),
) -> Figure:
    """Task metric against fault rate, one line per scheme, with the 95 % interval of the mean over chips as a band.

    ``points`` carry ``scheme``, ``rate`` (a fraction) and ``mean``, ``low``, ``high`` as ``metric`` has them;
    ``fault_free`` is that of the pruned model in floating point, drawn dashed, and ``chance`` that of one answer.
    ``reference`` are points of somebody else, drawn thin and grey.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.4, 4.2), layout="constrained")
        axes = figure.subplots()
        schemes = list(dict.fromkeys(point["scheme"] for point in points))
        for i, scheme in enumerate(schemes):
            own = sorted((p for p in points if p["scheme"] == scheme and p["rate"] > 0), key=lambda p: p["rate"])
            if not own:
                continue
            rate = [100 * p["rate"] for p in own]
            colour = PALETTE[i % len(PALETTE)]
            # No metric leaves its range, but an interval by Student's t may.
            bounds = (METRICS[metric].lowest, METRICS[metric].highest) if metric in METRICS else (0, 100)
            low, high = (np.clip([p[end] for p in own], *bounds) for end in ("low", "high"))
            axes.fill_between(rate, low, high, color=colour, alpha=0.16, lw=0)
            axes.plot(
                rate,
                [p["mean"] for p in own],
                color=colour,
                marker=MARKERS[i % len(MARKERS)],
                ms=5.5,
                lw=2,
                label=scheme,
            )
        axes.axhline(fault_free, color=INK, ls=(0, (5, 4)), lw=1.1, label="fault-free, floating point")
        if chance is not None:
            axes.axhline(chance, color=MUTED, ls=":", lw=1.1, label="always one answer")
        for dash, scheme in zip(("-", "--"), dict.fromkeys(point["scheme"] for point in reference), strict=False):
            own = [p for p in reference if p["scheme"] == scheme]
            rate, mean = [100 * p["rate"] for p in own], [p["mean"] for p in own]
            axes.plot(rate, mean, color=MUTED, ls=dash, lw=1, marker="x", ms=3.5, zorder=1.5, label=scheme)
        if in_percent(metric):
            axes.set_ylim(top=min(axes.get_ylim()[1], 102))
        own_rates = (100 * p["rate"] for p in points if p["rate"] > 0)
        rate_axis(axes, own_rates, 5.5, (100 * p["rate"] for p in reference))
        axes.set_ylabel(metric_title(metric))
        axes.grid(axis="y", color=GRID, lw=0.8)
        axes.set_axisbelow(True)
        # Beside the axes, because no place inside is free of curves for every result.
        figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    return figure


def occupancy_figure(panels: Sequence[tuple[str, Image, FaultMap]], group_name: str) -> Figure:
    """What one positive crossbar of a word-line group holds and where its stuck cells are, one panel per scheme."""
    with rc_context(STYLE):
        columns = min(len(panels), 3)
        rows = -(-len(panels) // columns)
        # Higher than the squares need it: where they are as high as the figure lets them, titles would be cut off.
        figure = Figure(figsize=(3.7 * max(columns, 2), 4.0 * rows + 0.75), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, (scheme, image, faults) in zip(grid, panels, strict=False):
            _draw_crossbar(axes, scheme, image.group(group_name), faults)
        for axes in grid[len(panels) :]:
            axes.remove()
        planes = max(image.group(group_name).planes for _, image, _ in panels)
        handles: list[Any] = [
            Patch(color=_plane_colour(planes - 1, planes), label=f"plane {planes - 1} (MSB)"),
            Patch(color=_plane_colour(planes // 2, planes), label=f"plane {planes // 2}"),
            Patch(color=_plane_colour(0, planes), label="plane 0 (LSB)"),
            Patch(color=PALETTE[3], label="replica"),
            Patch(facecolor=FIXED_PAPER, edgecolor=MUTED, label="unused"),
            Line2D([], [], marker="o", ls="", ms=6, color=PALETTE[0], label="stuck, changes a weight"),
            Line2D([], [], marker="o", ls="", ms=6, color=PALETTE[4], label="stuck, but outvoted"),
            Line2D([], [], marker="o", ls="", ms=6, mfc=FIXED_PAPER, mec=FIXED_INK, label="stuck, harmless"),
        ]
        if any(image.group(group_name).column_map.checksums for _, image, _ in panels):
            handles.insert(4, Patch(color=MUTED, label="checksum"))
        figure.legend(handles=handles, ncols=4 if columns > 2 else 3, loc="outside lower center", fontsize=9)
    return figure


def representative_group(images: Sequence[Image]) -> str:
    """The first word-line group in which some image has replicas; the first group where none has."""
    for i, group in enumerate(images[0].groups):
        if any(image.groups[i].column_map.repeats.any() for image in images):
            return group.name
    return images[0].groups[0].name


def _plane_colour(plane: int, planes: int) -> tuple[float, float, float]:
    """Sequential blue: the more significant the plane, the darker."""
    low, high = np.array(to_rgb("#c6dff0")), np.array(to_rgb("#0b4f82"))
    mix = low + (high - low) * (plane / max(planes - 1, 1))
    return float(mix[0]), float(mix[1]), float(mix[2])


def fault_effects(group: GroupImage, faults: FaultMap) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.str_]]:
    """Word line, bit line and effect of the stuck cells in the positive crossbar of block (0, 0).

    The effect is "harmless" where the cell reads what was programmed, lies on an unused bit line or on a word line
    that is never driven; "outvoted" where the replicas with a wrong cell are in the minority at the place of the
    vote (this row block, or all of them); otherwise it "changes a weight".
    """
    blocks = range(group.row_blocks if group.vote == "output" else 1)
    stuck = [_stuck_cells(group, block, faults) for block in blocks]
    wrong_line = np.zeros(len(group.column_map), np.bool_)
    for _, _, line, wrong in stuck:
        wrong_line[line[wrong]] = True
    survives = group.column_map.used.copy()
    for places in group.column_map.vote_groups:
        replicas = places.lines.shape[1]
        outvoted = 2 * wrong_line[places.lines].sum(axis=1) < replicas
        survives[places.lines[outvoted]] = False
    sign, word_line, line, wrong = stuck[0]
    here = (sign == 0) & (line < group.columns)
    word_line, bit_line = word_line[here], line[here]
    changed = wrong[here] & group.column_map.used[bit_line]
    effect = np.where(changed, np.where(survives[bit_line], "changes a weight", "outvoted"), "harmless")
    return word_line, bit_line, effect


def _stuck_cells(
    group: GroupImage, row_block: int, faults: FaultMap
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Sign, word line and bit line of a row block's stuck cells, and whether they lie on a driven word line and do not
    read what was programmed.
    """
    sign, word_line, line, level = stuck_cells(group, row_block, faults)
    kept = group.kept_inputs[row_block * group.rows : (row_block + 1) * group.rows]
    driven = np.zeros(group.rows, np.bool_)
    driven[: len(kept)] = kept
    programmed = group.block_cells(row_block)[sign, word_line, line]
    return sign, word_line, line, driven[word_line] & (level != programmed)


def _draw_crossbar(axes: Axes, scheme: str, group: GroupImage, faults: FaultMap) -> None:
    lines = group.columns
    bits = group.block_cells(0)[0][:, :lines]
    used = group.column_map.read[:lines]
    replica, checksum = group.column_map.repeats[:lines], group.column_map.checksum[:lines] >= 0
    colour = np.array([_plane_colour(int(plane), group.planes) for plane in group.column_map.plane[:lines]])
    colour[replica], colour[checksum] = to_rgb(PALETTE[3]), to_rgb(MUTED)
    picture = np.ones((group.rows, lines, 3))
    # A cell that stores 1 has the full colour of its bit line, a 0 a light tint of it.
    strength = np.where(bits == 1, 1.0, 0.38)[:, :, None]
    picture[:, used] = (1 - strength[:, used]) + strength[:, used] * colour[used]
    idle = np.ones(group.rows, np.bool_)
    idle[: len(group.kept_inputs[: group.rows])] = ~group.kept_inputs[: group.rows]
    picture[idle] = 0.75 + 0.25 * picture[idle]
    axes.imshow(picture, interpolation="nearest", aspect="equal")
    word_line, bit_line, effect = fault_effects(group, faults)
    for name, face in (
        ("harmless", "none"),
        ("outvoted", PALETTE[4]),
        ("changes a weight", PALETTE[0]),
    ):
        chosen = effect == name
        axes.scatter(bit_line[chosen], word_line[chosen], s=20, facecolors=face, edgecolors=FIXED_INK, linewidths=0.8)
    checks = f"\n{int(checksum.sum())} hold checksums" if checksum.any() else ""
    axes.set_title(
        f"{scheme}\n{int(used.sum())} of {lines} bit lines used, {int(replica.sum())} hold replicas{checks}", fontsize=9
    )
    axes.set_xlabel("bit line")
    axes.set_ylabel("word line")
    axes.spines[:].set_visible(True)
