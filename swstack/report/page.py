"""The report of a run: one self-contained HTML page, and beside it each table as CSV and each figure as SVG and PNG."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image
from crossvote.sim.common.csv_rows import to_csv, write_csv
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.peripheral import backend_kind
from crossvote.sim.system.report import COMPARED
from crossvote.swstack.mapping.mapping import has_replicas
from crossvote.swstack.report import charts, claims, explorer, figures

PAGE = "report/index.html"

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Picture:
    """A figure in the page: SVG text, its data as a data: address, and what it shows for who cannot see it."""

    svg: str
    csv: str
    title: str


def write_report(run: Path, results: Mapping[str, Any], images: Mapping[str, Image], chip: FaultMap) -> list[str]:
    """Write ``report/`` inside the run directory ``run`` and return the folder's name.

    Equal results give equal bytes: the page holds no times.

    ``results`` holds the JSON artefacts of the earlier stages under their stage names, and ``config`` (TOML text),
    ``changes`` (key, default, value), ``stages`` (records), ``versions`` and ``occupancy`` (rate and chip number).
    ``images`` are the schemes' images, ``chip`` the fault map that the occupancy picture shows.
    """
    folder = run / "report"
    pictures = write_pictures(folder, results, images, chip)
    write_csv(folder / "crossbars.csv", crossbar_rows(results["map"]))
    write_csv(folder / "cosimulation.csv", results["cosim"]["matrices"])
    write_text_atomic(run / PAGE, page(results, pictures, images, chip))
    return ["report"]


def page(
    results: Mapping[str, Any],
    pictures: Mapping[str, Picture | None],
    images: Mapping[str, Image],
    chip: FaultMap,
) -> str:
    """The HTML text of ``write_report`` around the pictures of ``write_pictures``."""
    accuracy, system = results["eval"], results["simulate"]
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            **results,
            figures=pictures,
            explorer=explorer.explorer_data(images, chip),
            occupancy_group=figures.representative_group(list(images.values())),
            occupancy_scheme=next(iter(protected(images))),
            backends=[backend_kind(name) for name in dict.fromkeys(m["backend"] for m in results["cosim"]["matrices"])],
            chance=claims.chance_of(accuracy),
            at_chance=claims.at_chance(accuracy),
            allowed_loss=claims.ALLOWED_LOSS,
            verdict=claims.verdict(results),
            cards=cards(results),
            rate=claims.telling_rate(accuracy["points"]),
            base_scheme=next(iter(images)),
            overview=overview(results),
            cost_titles=list(claims.COSTS) if system["schemes"] else [],
            cost_rows=cost_rows(system),
            groups=group_rows(results),
            rates=sorted({point["rate"] for point in accuracy["points"]}),
            table=accuracy_table(accuracy),
        )
    )


def environment() -> jinja2.Environment:
    """Templates of the report, with style sheet and script as ``style`` and ``script``."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("crossvote.swstack.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["percent"] = lambda value, digits=1: f"{100 * value:.{digits}f} %"
    found.filters["rate"] = lambda value: f"{100 * value:g} %"
    package = resources.files("crossvote.swstack.report")
    for name, file in {"style": "style.css", "script": "report.js"}.items():
        found.globals[name] = package.joinpath(file).read_text(encoding="utf-8")
    return found


def add_picture(folder: Path, name: str, figure: Figure, rows: Sequence[Record], title: str) -> Picture:
    """Write a figure as SVG and PNG and its data as CSV into ``folder``, and return it for the page."""
    svg = figures.save_figure(figure, folder, name)
    write_csv(folder / f"{name}.csv", rows)
    data = base64.b64encode(to_csv(rows).encode()).decode()
    return Picture(figures.inline_svg(svg, name, title), f"data:text/csv;base64,{data}", title)


def protected(images: Mapping[str, Image]) -> dict[str, Image]:
    """The images with replicas; all of them where none has any."""
    return {name: image for name, image in images.items() if has_replicas(image)} or dict(images)


def write_pictures(
    folder: Path, results: Mapping[str, Any], images: Mapping[str, Image], chip: FaultMap
) -> dict[str, Picture | None]:
    """Every figure of the report by name, written into ``folder``; ``None`` where there is nothing to draw."""
    group, images = figures.representative_group(list(images.values())), protected(images)
    accuracy, system = results["eval"], results["simulate"]
    points, metric = accuracy["points"], accuracy["metric"]
    schemes = list(dict.fromkeys(point["scheme"] for point in points))
    chance = claims.chance_of(accuracy)
    rates = [100 * rate for rate in sorted({point["rate"] for point in points if point["rate"] > 0})]
    span = f"from {rates[0]:g} to {rates[-1]:g} % of the cells stuck" if rates else "without faults"
    found: dict[str, Picture | None] = {
        "accuracy": add_picture(
            folder,
            "accuracy",
            figures.accuracy_figure(
                points, metric, accuracy["fault_free"]["pruned"], None if chance is None else chance.score
            ),
            accuracy_rows(points),
            f"Line chart: mean {metric} of the schemes {', '.join(schemes)} {span}; the values are in the table below",
        ),
        "occupancy": add_picture(
            folder,
            "occupancy",
            figures.occupancy_figure([(name, image, chip) for name, image in images.items()], group),
            [row for name, image in images.items() for row in _stuck_rows(name, image, chip, group)],
            f"Picture of the cells of one crossbar of {group} under {', '.join(images)}, with its stuck cells",
        ),
        "sparsity": add_picture(
            folder,
            "sparsity",
            charts.sparsity_figure(results["prune"]["matrices"]),
            [*results["prune"]["groups"], *results["prune"]["matrices"]],
            f"Chart of the pruned columns, rows and weights of {len(results['prune']['matrices'])} matrices",
        ),
        "difference": None,
        "cost": None,
        "energy": None,
    }
    differences = charts.paired_differences(points, schemes[0])
    if differences:
        figure = charts.difference_figure(differences, schemes[0], metric, schemes)
        title = f"Chart of the difference of {metric} to {schemes[0]} on the same chips {span}"
        found["difference"] = add_picture(folder, "difference", figure, differences, title)
    costs, rate = claims.relative_costs(system), claims.telling_rate(points)
    kept = {point["scheme"]: point["mean"] for point in points if point["rate"] == rate}
    costs = {scheme: own for scheme, own in costs.items() if scheme in kept}
    if costs and rate is not None:
        what = f"{metric}, % ({100 * rate:g} % stuck)"
        rows = [{"scheme": scheme, "kept": kept[scheme], **own} for scheme, own in costs.items()]
        title = f"Scatter charts of {', '.join(claims.COSTS)} against {what}, one mark for every scheme"
        found["cost"] = add_picture(folder, "cost", charts.cost_figure(costs, kept, what), rows, title)
        parts = {name: own["energy_uj_by_part"] for name, own in system["schemes"].items()}
        rows = [
            {"scheme": name, "part": part, "uj": value} for name, own in parts.items() for part, value in own.items()
        ]
        figure = charts.breakdown_figure(parts, "dynamic energy of a sequence, µJ")
        title = f"Stacked bars of the energy of {', '.join(parts)} by part of the chip"
        found["energy"] = add_picture(folder, "energy", figure, rows, title)
    return found


def _stuck_rows(scheme: str, image: Image, chip: FaultMap, group: str) -> list[dict[str, Any]]:
    found = figures.fault_effects(image.group(group), chip)
    return [
        {"scheme": scheme, "group": group, "word_line": int(w), "bit_line": int(b), "effect": str(effect)}
        for w, b, effect in zip(*found, strict=True)
    ]


def accuracy_rows(points: Sequence[Record]) -> list[dict[str, Any]]:
    """The points of the accuracy figure without the single chips' scores."""
    return [{key: value for key, value in point.items() if key != "scores"} for point in points]


def crossbar_rows(mapping: Record) -> list[dict[str, Any]]:
    """One row per scheme and word-line group: crossbars, the dense count and the zero-space verdict."""
    return [{"scheme": scheme["name"], **group} for scheme in mapping["schemes"] for group in scheme["groups"]]


def accuracy_table(accuracy: Record) -> dict[str, dict[float, Record]]:
    """Points by scheme, then by rate; the best mean of each rate is marked unless it is at chance level."""
    points, chance = accuracy["points"], claims.chance_of(accuracy)
    best: dict[float, float] = {}
    for point in points:
        best[point["rate"]] = max(best.get(point["rate"], float("-inf")), point["mean"])
    table: dict[str, dict[float, Record]] = {}
    for point in points:
        lucky = chance is not None and chance.holds(point["mean"])
        marked = {**point, "best": point["rate"] > 0 and point["mean"] == best[point["rate"]] and not lucky}
        table.setdefault(point["scheme"], {})[point["rate"]] = marked
    return table


def overview(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per scheme: what it keeps (score at the telling rate, tolerated rate) and what it costs."""
    accuracy, costs = results["eval"], claims.relative_costs(results["simulate"])
    points, chance, rate = accuracy["points"], claims.chance_of(accuracy), claims.telling_rate(accuracy["points"])
    dense, rows = results["map"]["dense_crossbars"], []
    for scheme in results["map"]["schemes"]:
        name = scheme["name"]
        score = next((point["mean"] for point in points if (point["scheme"], point["rate"]) == (name, rate)), None)
        kept = (
            0.0
            if claims.at_chance(accuracy)
            else claims.tolerated_rate(points, name, accuracy["fault_free"]["pruned"], chance)
        )
        rows.append(
            {
                "scheme": name,
                "score": "" if score is None else f"{score:.2f} %",
                "tolerated": f"{100 * kept:g} %" if kept else "none measured",
                "crossbars": f"{scheme['crossbars']:,} ({100 * (scheme['crossbars'] / dense - 1):+z.1f} %)",
                "costs": costs.get(name, {}),
            }
        )
    return rows


def cost_rows(system: Record) -> list[dict[str, Any]]:
    """Rows of the table of simulated costs, one value per scheme."""
    summaries = list(system["schemes"].values())
    rows = [
        {"title": title, "values": [_number(summary.get(key)) for summary in summaries]}
        for key, title in COMPARED.items()
        if summaries
    ]
    return [*rows, {"title": "bound by", "values": [summary["bound_by"] for summary in summaries]}] if rows else []


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:,.5g}"


def group_rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Crossbars by word-line group; groups that agree in everything but their name share a row."""
    schemes = results["map"]["schemes"]
    rows: dict[tuple[Any, ...], list[str]] = {}
    for index, group in enumerate(results["prune"]["groups"]):
        own = [scheme["groups"][index] for scheme in schemes]
        shares = (f"{100 * group['column_sparsity']:.1f} %", f"{100 * group['row_sparsity']:.1f} %")
        counts = tuple((entry["crossbars"], entry["crossbars"] - entry["dense_crossbars"]) for entry in own)
        rows.setdefault((*shares, own[0]["dense_crossbars"], counts), []).append(group["name"])
    return [
        {
            "name": names[0] if len(names) == 1 else f"{len(names)} groups: {names[0]} … {names[-1]}",
            "columns": columns,
            "rows": pruned_rows,
            "dense": dense,
            "schemes": [{"crossbars": crossbars, "extra": extra} for crossbars, extra in counts],
        }
        for (columns, pruned_rows, dense, counts), names in rows.items()
    ]


#: Models without faults, in the order in which they come about.
_MODELS = {"dense": "dense", "pruned": "pruned", "trained": "trained for faults"}


def cards(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """The four or five numbers to see first."""
    accuracy = results["eval"]
    groups = results["prune"]["groups"]
    lowest = min(group["column_sparsity"] for group in groups)
    found = [
        {
            "value": f"{' → '.join(f'{score:.1f}' for score in accuracy['fault_free'].values())} %",
            "label": f"{accuracy['metric']}, {' → '.join(_MODELS[name] for name in accuracy['fault_free'])}, "
            "floating point",
        },
        {
            "value": f"{100 * lowest:.1f} %",
            "label": f"of the columns pruned, at least, in each of {len(groups)} word-line groups",
        },
        {"value": f"{results['map']['dense_crossbars']:,}", "label": "crossbars of the dense, unprotected mapping"},
    ]
    if results["simulate"]["schemes"]:
        dense = results["simulate"]["schemes"][results["simulate"]["baseline"]]
        found.append(
            {
                "value": f"{dense['latency_us']:,.1f} µs",
                "label": f"latency of a dense sequence of {results['simulate']['tokens']} tokens on the simulated chip",
            }
        )
    return [*found, *_cosimulation_cards(results["cosim"]["matrices"])]


def _cosimulation_cards(records: Sequence[Record]) -> list[dict[str, str]]:
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
