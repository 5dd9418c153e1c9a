"""The report's figures, each written as SVG, PNG and CSV, and handed to the page with a text for who cannot see it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image
from crossvote.sim.common.csv_rows import to_csv, write_csv
from crossvote.swstack.report import chip_charts, claims, differences, figures, model_charts, paper, tables, weights

Record = Mapping[str, Any]
Rows = Sequence[Record]

#: All figures that a report may have, in the order of the page.
NAMES = (
    "accuracy", "difference", "sensitivity", "cost", "breakdown", "timeline", "occupancy", "sparsity", "heads",
    "weights",
)  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A figure in the page: SVG text, its data as a data: address, and what it shows for who cannot see it."""

    svg: str
    csv: str
    title: str


def add_picture(folder: Path, name: str, figure: Figure, rows: Rows, title: str) -> Drawing:
    """Write a figure as SVG and PNG and its data as CSV into ``folder``, and return it for the page."""
    svg = figures.save_figure(figure, folder, name)
    write_csv(folder / f"{name}.csv", rows)
    data = base64.b64encode(to_csv(rows).encode()).decode()
    return Drawing(figures.inline_svg(svg, name, title), f"data:text/csv;base64,{data}", title)


def protected(images: Mapping[str, Image]) -> dict[str, Image]:
    """The images with replicas; all of them where none has any."""
    return {name: image for name, image in images.items() if image.has_replicas} or dict(images)


def write_pictures(
    folder: Path, results: Mapping[str, Any], images: Mapping[str, Image], chip: FaultMap
) -> dict[str, Drawing | None]:
    """Every figure of the report by name, written into ``folder``; ``None`` where there is nothing to draw."""
    drawn: dict[str, tuple[Figure, Rows, str]] = {
        **_of_accuracy(results),
        **_of_chip(results),
        **_of_crossbars(results, images, chip),
        **_of_model(results, images),
    }
    return {name: add_picture(folder, name, *drawn[name]) if name in drawn else None for name in NAMES}


def _of_accuracy(results: Mapping[str, Any]) -> dict[str, tuple[Figure, Rows, str]]:
    accuracy = results["eval"]
    points, metric = accuracy["points"], accuracy["metric"]
    schemes = list(dict.fromkeys(point["scheme"] for point in points))
    chance = claims.chance_of(accuracy)
    rates = [100 * rate for rate in sorted({point["rate"] for point in points if point["rate"] > 0})]
    span = f"from {rates[0]:g} to {rates[-1]:g} % of the cells stuck" if rates else "without faults"
    reference = paper.rows() if rates else []
    drawn: dict[str, tuple[Figure, Rows, str]] = {
        "accuracy": (
            figures.accuracy_figure(
                points,
                metric,
                accuracy["fault_free"]["pruned"],
                None if chance is None else chance.score,
                reference,
            ),
            [*tables.accuracy_rows(points), *tables.reference_rows(reference, points)],
            f"Line chart: mean {metric} of the schemes {', '.join(schemes)} {span}, and the paper's two curves; the "
            "values are in the table below",
        )
    }
    rows = differences.paired_differences(points, schemes[0])
    if rows:
        figure = differences.difference_figure(rows, schemes[0], metric, schemes)
        title = f"Chart of the difference of {metric} to {schemes[0]} on the same chips {span}"
        drawn["difference"] = figure, rows, title
    if results["sensitivity"]:
        figure = model_charts.sensitivity_figure(results["sensitivity"], metric)
        title = f"Bars of the points of {metric} lost with the faults of one part alone"
        drawn["sensitivity"] = figure, results["sensitivity"], title
    return drawn


def _of_chip(results: Mapping[str, Any]) -> dict[str, tuple[Figure, Rows, str]]:
    system, accuracy = results["simulate"], results["eval"]
    drawn: dict[str, tuple[Figure, Rows, str]] = {}
    rate = claims.telling_rate(accuracy["points"])
    kept = {point["scheme"]: point["mean"] for point in accuracy["points"] if point["rate"] == rate}
    costs = {scheme: own for scheme, own in claims.relative_costs(system).items() if scheme in kept}
    if costs and rate is not None:
        what = f"{claims.metric_title(accuracy['metric'])} ({100 * rate:g} % stuck)"
        rows: list[dict[str, Any]] = [{"scheme": scheme, "kept": kept[scheme], **own} for scheme, own in costs.items()]
        title = f"Scatter charts of {', '.join(claims.COSTS)} against {what}, one mark for every scheme"
        drawn["cost"] = chip_charts.cost_figure(costs, kept, what), rows, title
    if system["schemes"]:
        panels = {
            "dynamic energy of a sequence, µJ": {n: own["energy_uj_by_part"] for n, own in system["schemes"].items()},
            "area of the tiles in use, mm²": {n: own["area_mm2_by_part"] for n, own in system["schemes"].items()},
        }
        rows = [
            {"quantity": what, "scheme": name, "part": part, "value": value}
            for what, parts in panels.items()
            for name, own in parts.items()
            for part, value in own.items()
        ]
        title = f"Stacked bars of the energy and the area of {', '.join(system['schemes'])} by part of the chip"
        drawn["breakdown"] = chip_charts.breakdown_figure(panels), rows, title
    timeline = system.get("timeline")
    if timeline:
        title = "Bars over time: when each unit of the first layer is busy with the first tokens of a sequence"
        drawn["timeline"] = chip_charts.timeline_figure(timeline), timeline, title
    return drawn


def _of_crossbars(
    results: Mapping[str, Any], images: Mapping[str, Image], chip: FaultMap
) -> dict[str, tuple[Figure, Rows, str]]:
    group, shown = figures.representative_group(list(images.values())), protected(images)
    return {
        "occupancy": (
            figures.occupancy_figure([(name, image, chip) for name, image in shown.items()], group),
            [row for name, image in shown.items() for row in _stuck_rows(name, image, chip, group)],
            f"Picture of the cells of one crossbar of {group} under {', '.join(shown)}, with its stuck cells",
        )
    }


def _stuck_rows(scheme: str, image: Image, chip: FaultMap, group: str) -> list[dict[str, Any]]:
    found = figures.fault_effects(image.group(group), chip)
    return [
        {"scheme": scheme, "group": group, "word_line": int(w), "bit_line": int(b), "effect": str(effect)}
        for w, b, effect in zip(*found, strict=True)
    ]


def _of_model(results: Mapping[str, Any], images: Mapping[str, Image]) -> dict[str, tuple[Figure, Rows, str]]:
    matrices = results["prune"]["matrices"]
    drawn: dict[str, tuple[Figure, Rows, str]] = {
        "sparsity": (
            model_charts.sparsity_figure(matrices),
            [*results["prune"]["groups"], *matrices],
            f"Chart of the pruned columns, rows and weights of {len(matrices)} matrices",
        )
    }
    heads = weights.head_sparsity(next(iter(images.values())), *results["heads"])
    if heads:
        names = {row["matrix"] for row in heads}
        title = f"Shaded table of the pruned columns of every attention head of {len(names)} matrices"
        drawn["heads"] = model_charts.head_figure(heads), heads, title
    counts = {scale: weights.magnitudes(image)[0] for scale, image in weights.scale_images(images).items()}
    rows = [
        {"scale": scale, "magnitude": magnitude, "weights": int(count)}
        for scale, own in counts.items()
        for magnitude, count in enumerate(own)
    ]
    title = f"Charts of how many weights have which magnitude and which bits, with {' and '.join(counts)}"
    drawn["weights"] = model_charts.weight_figure(counts), rows, title
    return drawn
