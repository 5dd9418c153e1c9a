"""The report's tables as plain rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from typing import Any

from crossvote.sim.peripheral import backend_kind
from crossvote.sim.system.cost_tables import COMPARED
from crossvote.swstack.evaluation import statistics
from crossvote.swstack.report import claims
from crossvote.swstack.tasks.chance import Chance
from crossvote.swstack.tasks.metrics import goodness

Record = Mapping[str, Any]
#: Schemes that are compared with each other: words for a caption, and their names.
Parts = Sequence[tuple[str, Set[str]]]


def accuracy_rows(points: Sequence[Record]) -> list[dict[str, Any]]:
    """The points of the accuracy figure without the single chips' scores."""
    return [{key: value for key, value in point.items() if key != "scores"} for point in points]


def reference_rows(reference: Sequence[Record], points: Sequence[Record]) -> list[dict[str, Any]]:
    """Points of somebody else with the columns of ``accuracy_rows``; what is not known stays empty."""
    columns = accuracy_rows(points)[0]
    return [{key: point.get(key) for key in columns} for point in reference]


def crossbar_rows(mapping: Record) -> list[dict[str, Any]]:
    """One row per scheme and word-line group: crossbars, the dense count and the zero-space verdict."""
    return [{"scheme": scheme["name"], **group} for scheme in mapping["schemes"] for group in scheme["groups"]]


def scheme_parts(protections: Mapping[str, Mapping[str, Any]]) -> Parts:
    """Those schemes that know the stuck cells of each chip stand apart from those that do not.

    protections: of each scheme, as images have it.
    """
    knowing = frozenset(name for name, own in protections.items() if own.get("knows_faults"))
    parts = [
        ("", frozenset(protections) - knowing),
        (", programmed around the known stuck cells of each chip", knowing),
    ]
    return [part for part in parts if part[1]]


def accuracy_table(accuracy: Record, parts: Parts = ()) -> dict[str, dict[float, Record]]:
    """Points by scheme, then by rate; of each rate the best mean of each part is marked, unless at chance level."""
    points, chance = accuracy["points"], claims.chance_of(accuracy)
    part = {name: number for number, (_, names) in enumerate(parts) for name in names}
    among = [(point["rate"], part.get(point["scheme"], 0)) for point in points]
    good = [goodness(accuracy["metric"], point["mean"]) for point in points]
    best: dict[tuple[float, int], float] = {}
    for place, own in zip(among, good, strict=True):
        best[place] = max(best.get(place, float("-inf")), own)  # what is no number is never more
    table: dict[str, dict[float, Record]] = {}
    for point, place, own in zip(points, among, good, strict=True):
        lucky = chance is not None and chance.holds(point["mean"])
        marked = {**point, "best": point["rate"] > 0 and own == best[place] and not lucky}
        table.setdefault(point["scheme"], {})[point["rate"]] = marked
    return table


def further_metrics(accuracy: Record) -> dict[str, dict[str, dict[float, Record]]]:
    """Points of the metrics that are not the reported one: by metric, scheme and rate."""
    found: dict[str, dict[str, dict[float, Record]]] = {}
    for point in accuracy.get("all_points", ()):
        if point["metric"] != accuracy["metric"]:
            found.setdefault(point["metric"], {}).setdefault(point["scheme"], {})[point["rate"]] = point
    return found


def overview(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per scheme: what it keeps (score at the telling rate, tolerated rate) and what it costs."""
    accuracy, costs = results["eval"], claims.relative_costs(results["simulate"])
    points, chance, rate = accuracy["points"], claims.chance_of(accuracy), claims.telling_rate(accuracy["points"])
    dense, rows = results["map"]["dense_crossbars"], []
    for scheme in results["map"]["schemes"]:
        name = scheme["name"]
        score = next((point["mean"] for point in points if (point["scheme"], point["rate"]) == (name, rate)), None)
        fault_free = accuracy["fault_free"]["pruned"]
        kept = 0.0 if claims.at_chance(accuracy) else claims.highest_rate_within(points, name, fault_free, chance)
        rows.append(
            {
                "scheme": name,
                "score": "" if score is None else claims.score_text(score, accuracy["metric"], 2),
                "tolerated": f"{100 * kept:g} %" if kept else "none measured",
                "interpolated": interpolated(points, name, fault_free, chance) if kept else "",
                "crossbars": f"{scheme['crossbars']:,} ({100 * (scheme['crossbars'] / dense - 1):+z.1f} %)",
                "costs": costs.get(name, {}),
            }
        )
    return rows


def interpolated(points: Sequence[Record], scheme: str, fault_free: float, chance: Chance | None) -> str:
    """The rate at which a scheme loses ``claims.ALLOWED_LOSS``, between measured rates, with its 95 % interval.

    The interval is over chips. Empty where rates were measured on different numbers of chips, or with one chip only.
    A rate whose mean is at chance level or no number ends the curve that is looked at, and counts as lost.
    """
    own = sorted((p for p in points if p["scheme"] == scheme and p["rate"] > 0), key=lambda p: p["rate"])
    chips, metric = {len(point["scores"]) for point in own}, claims.metric_of(points)
    if len(chips) != 1 or chips == {1}:
        return ""
    scores: dict[float, dict[int, float]] = {}
    for point in own:
        lucky = math.isnan(point["mean"]) or (chance is not None and chance.holds(point["mean"]))
        values = [0.0 if lucky else goodness(metric, score) for score in point["scores"]]
        scores[point["rate"]] = dict(enumerate(values))
        if lucky:
            break
    found = statistics.tolerated_rate(scores, goodness(metric, fault_free), claims.ALLOWED_LOSS)
    ends = [f"{100 * value:.2g} %" if value else "below" for value in (found.value, found.low, found.high)]
    return f"{'at least ' if found.value == max(scores) else ''}{ends[0]} ({ends[1]} to {ends[2]})"


def cost_rows(system: Record) -> list[dict[str, Any]]:
    """Rows of the table of simulated costs, one value per scheme; what no scheme has is left out."""
    summaries = list(system["schemes"].values())
    rows = [
        {"title": _units(title), "values": [_number(summary.get(key)) for summary in summaries]}
        for key, title in COMPARED.items()
        if any(summary.get(key) is not None for summary in summaries)
    ]
    return [*rows, {"title": "bound by", "values": [summary["bound_by"] for summary in summaries]}] if rows else []


def _units(title: str) -> str:
    """Units as a page writes them."""
    return title.replace("uJ us", "µJ µs").replace(", uJ", ", µJ").replace(", us", ", µs").replace("mm2", "mm²")


def _number(value: float | None) -> str:
    """Five digits, without an exponent."""
    if value is None:
        return "not measured"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:,.5g}"


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


def _arrows(scores: Sequence[float], metric: str) -> str:
    """Scores in the order in which they came about, the last one with its unit."""
    numbers = [claims.score_number(score, metric, 1) for score in scores[:-1]]
    return " → ".join([*numbers, claims.score_text(scores[-1], metric)])


def cards(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """The four or five numbers to see first."""
    accuracy = results["eval"]
    groups = results["prune"]["groups"]
    lowest = min(group["column_sparsity"] for group in groups)
    found = [
        {
            "value": _arrows(tuple(accuracy["fault_free"].values()), accuracy["metric"]),
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


def synthesis_rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What synthesis counted of every variant of the output peripheral, at the chip's lanes where those were counted.

    ``schemes`` names the simulated schemes that need the variant.
    """
    opc, schemes = results["opc"], results["simulate"]["schemes"]
    counted = [row for row in opc["rows"] if row["lanes"] == opc["lanes"]] or opc["rows"]
    users: dict[str, list[str]] = {}
    for name, own in schemes.items():
        users.setdefault(own.get("opc_variant", ""), []).append(name)
    return [{**row, "schemes": "; ".join(users.get(row["variant"], ()))} for row in counted]
