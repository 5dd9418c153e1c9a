"""The report of a run: one self-contained HTML page, and beside it each table as CSV and each figure as SVG and PNG."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image
from crossvote.sim.common.csv_rows import write_csv
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.peripheral import backend_kind
from crossvote.swstack.report import claims, explorer, figures, paper, tables
from crossvote.swstack.report.pictures import Drawing, protected, write_pictures

PAGE = "report/index.html"


def write_report(run: Path, results: Mapping[str, Any], images: Mapping[str, Image], chip: FaultMap) -> list[str]:
    """Write ``report/`` inside the run directory ``run`` and return the folder's name.

    Equal results give equal bytes: the page holds no times.

    ``results`` holds the JSON artefacts of the earlier stages under their stage names, and ``config`` (TOML text),
    ``changes`` (key, default, value), ``stages`` (records), ``versions``, ``occupancy`` (rate and chip number),
    ``heads`` (attention heads of queries and of keys), ``sensitivity`` (rows, empty where it was not measured) and
    ``opc`` (what synthesis counted, ``crossvote.sim.chip.components.opc.synthesis``, with the ``lanes`` of the run's
    chip).
    ``images`` are the schemes' images, ``chip`` the fault map that the occupancy picture shows.
    """
    folder = run / "report"
    pictures = write_pictures(folder, results, images, chip)
    write_csv(folder / "crossbars.csv", tables.crossbar_rows(results["map"]))
    write_csv(folder / "cosimulation.csv", results["cosim"]["matrices"])
    write_csv(folder / "synthesis.csv", results["opc"]["rows"])
    write_text_atomic(run / PAGE, page(results, pictures, images, chip))
    return ["report"]


def page(
    results: Mapping[str, Any],
    pictures: Mapping[str, Drawing | None],
    images: Mapping[str, Image],
    chip: FaultMap,
) -> str:
    """The HTML text of ``write_report`` around the pictures of ``write_pictures``."""
    accuracy, system = results["eval"], results["simulate"]
    parts = tables.scheme_parts({name: image.protection for name, image in images.items()})
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
            cards=tables.cards(results),
            rate=claims.telling_rate(accuracy["points"]),
            base_scheme=next(iter(images)),
            overview=tables.overview(results),
            cost_titles=list(claims.COSTS) if system["schemes"] else [],
            cost_rows=tables.cost_rows(system),
            groups=tables.group_rows(results),
            rates=sorted({point["rate"] for point in accuracy["points"]}),
            parts=parts,
            table=tables.accuracy_table(accuracy, parts),
            further=tables.further_metrics(accuracy),
            synthesis=tables.synthesis_rows(results),
            paper_source=paper.SOURCE,
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
    found.filters["score"] = claims.score_number
    found.filters["metric_title"] = claims.metric_title
    found.filters["whole"] = "{:,}".format
    found.filters["written"] = _written
    found.filters["unbroken"] = _unbroken
    found.filters["breakable"] = lambda name: Markup(str(escape(name)).replace(".", ".<wbr>"))
    found.filters["rate"] = lambda value: f"{100 * value:g} %"
    package = resources.files("crossvote.swstack.report")
    for name, file in {"style": "style.css", "script": "report.js"}.items():
        found.globals[name] = package.joinpath(file).read_text(encoding="utf-8")
    return found


def _unbroken(text: str) -> str:
    """Text, or markup, in which no line ends between a number and its sign of percent, or within an interval."""
    return type(text)(re.sub(r"(?<=\d) (?=%)|(?<=%) (?=to )|(?<=% to) ", "\N{NO-BREAK SPACE}", text))


def _written(value: Any) -> str:
    """A value of a configuration as its file has it, but for quotes around a text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
