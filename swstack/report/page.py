"""The report of a run: one self-contained HTML page, and beside it each table as CSV and each figure as SVG and PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image
from crossvote.sim.common.csv_rows import write_csv
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.peripheral import backend_kind
from crossvote.swstack.report import claims, figures

PAGE = "report/index.html"


def write_report(run: Path, results: Mapping[str, Any], images: Mapping[str, Image], chip: FaultMap) -> list[str]:
    """Write ``report/`` inside the run directory ``run`` and return the folder's name.

    ``results`` holds the JSON artefacts of the earlier stages under their stage names, and ``config`` (TOML text),
    ``stages`` (records) and ``versions``. ``images`` are the schemes' images, ``chip`` the fault map that the
    occupancy picture shows.
    """
    folder = run / "report"
    accuracy = results["eval"]
    group = figures.representative_group(list(images.values()))
    protected = {name: image for name, image in images.items() if has_replicas(image)} or dict(images)
    pictures = {
        "accuracy": figures.accuracy_figure(accuracy["points"], accuracy["metric"], accuracy["fault_free"]["pruned"]),
        "occupancy": figures.occupancy_figure([(name, image, chip) for name, image in protected.items()], group),
    }
    svg = {name: figures.save_figure(figure, folder, name) for name, figure in pictures.items()}
    write_csv(folder / "accuracy.csv", accuracy_rows(accuracy["points"]))
    write_csv(folder / "sparsity.csv", [*results["prune"]["groups"], *results["prune"]["matrices"]])
    write_csv(folder / "crossbars.csv", crossbar_rows(results["map"]))
    write_csv(folder / "cosimulation.csv", results["cosim"]["matrices"])
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("crossvote.swstack.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value, digits=1: f"{100 * value:.{digits}f} %"
    environment.filters["rate"] = lambda value: f"{100 * value:g} %"
    environment.filters["duration"] = duration
    page = environment.get_template("page.html.j2").render(
        **results,
        svg=svg,
        occupancy_group=group,
        backends=[backend_kind(name) for name in dict.fromkeys(m["backend"] for m in results["cosim"]["matrices"])],
        chance=claims.chance_of(accuracy),
        at_chance=claims.at_chance(accuracy),
        verdict=claims.verdict(results),
        cards=cards(results),
        rates=sorted({point["rate"] for point in accuracy["points"]}),
        table=accuracy_table(accuracy),
        style=resources.files("crossvote.swstack.report").joinpath("style.css").read_text(encoding="utf-8"),
    )
    write_text_atomic(run / PAGE, page)
    return ["report"]


def has_replicas(image: Image) -> bool:
    """Whether any plane of the image has more than one line: replicas or summed copies."""
    return any(group.column_map.repeats.any() for group in image.groups)


def duration(seconds: float) -> str:
    """Seconds as a person reads them: '8.4 s', '3 min 20 s', '2 h 05 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
    return f"{int(seconds) // 3600} h {int(seconds) % 3600 // 60:02d} min"


def accuracy_rows(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The points of the accuracy figure without the single chips' scores."""
    return [{key: value for key, value in point.items() if key != "scores"} for point in points]


def crossbar_rows(mapping: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per scheme and word-line group: crossbars, the dense count and the zero-space verdict."""
    return [{"scheme": scheme["name"], **group} for scheme in mapping["schemes"] for group in scheme["groups"]]


def accuracy_table(accuracy: Mapping[str, Any]) -> dict[str, dict[float, Mapping[str, Any]]]:
    """Points by scheme, then by rate; the best mean of each rate is marked unless it is at chance level."""
    points, chance = accuracy["points"], claims.chance_of(accuracy)
    best: dict[float, float] = {}
    for point in points:
        best[point["rate"]] = max(best.get(point["rate"], float("-inf")), point["mean"])
    table: dict[str, dict[float, Mapping[str, Any]]] = {}
    for point in points:
        lucky = chance is not None and chance.holds(point["mean"])
        marked = {**point, "best": point["rate"] > 0 and point["mean"] == best[point["rate"]] and not lucky}
        table.setdefault(point["scheme"], {})[point["rate"]] = marked
    return table


def cards(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """The four or five numbers to see first."""
    accuracy = results["eval"]
    groups = results["prune"]["groups"]
    lowest = min(group["column_sparsity"] for group in groups)
    wall = sum(record["wall_seconds"] for record in results["stages"])
    return [
        {
            "value": f"{accuracy['fault_free']['dense']:.1f} → {accuracy['fault_free']['pruned']:.1f} %",
            "label": f"{accuracy['metric']}, dense → pruned, floating point",
        },
        {
            "value": f"{100 * lowest:.1f} %",
            "label": f"of the columns pruned, at least, in each of {len(groups)} word-line groups",
        },
        {"value": f"{results['map']['dense_crossbars']}", "label": "crossbars of the dense, unprotected mapping"},
        *_cosimulation_cards(results["cosim"]["matrices"]),
        {"value": duration(wall), "label": "wall time of all stages"},
    ]


def _cosimulation_cards(records: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """One card for every back end that ran; cycles only where they were counted."""
    found = []
    for name in dict.fromkeys(record["backend"] for record in records):
        own, kind = [record for record in records if record["backend"] == name], backend_kind(name)
        amount, unit = (
            (sum(record["cycles"] for record in own), "clock cycles")
            if kind.hardware
            else (sum(record["outputs"] for record in own), "integers")
        )
        outcome = "exact" if claims.equal(own) else "NOT exact"
        found.append({"value": f"{amount:,}", "label": f"{unit} of {kind.what}, {outcome}"})
    return found
