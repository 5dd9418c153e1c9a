"""Tables of the system model: runs side by side, what protection costs, what is busiest, where the time goes."""

from __future__ import annotations

from collections.abc import Mapping

from crossvote.sim.chip.bill import prices
from crossvote.sim.system import energy
from crossvote.sim.system.result import SystemResult
from crossvote.sim.system.summary import bottlenecks, summary

#: Runs by the name that tables give them.
Results = Mapping[str, SystemResult]


def bottleneck_table(result: SystemResult, most: int = 8) -> list[list[str]]:
    """The busiest units, header first: time that each needs per sequence, busy share and what is left, mean wait.

    The interval of a unit bounds the time from sequence to sequence, whatever else happens: the longest are next.
    """
    sequences = len(result.sequence_ps)
    rows = [["unit", "kind", "servers", "interval, us", "busy", "slack", "mean wait, us"]]
    for unit in bottlenecks(result)[:most]:
        share, interval = unit.utilisation, unit.busy_ps / unit.servers / sequences / 1e6
        rows.append(
            [
                unit.unit,
                unit.kind,
                str(unit.servers),
                f"{interval:.3f}",
                f"{share:.1%}",
                f"{1 - share:.1%}",
                f"{unit.wait_ps / 1e6:.3f}",
            ]
        )
    return rows


def critical_path(result: SystemResult) -> list[list[str]]:
    """Where the time of the first sequence goes, layer by layer, header first: fill, barrier, drain.

    Fill: from the first token in to the last token at the barrier of attention; drain: from there to the last token
    out. Layers overlap, so these do not add up to the latency; the last column, from the first token in to that of the
    next layer (of the last layer: to the end), does.
    """
    rows = [
        ["layer", "first in, us", "barrier opens, us", "last out, us", "fill, us", "drain, us", "next begins after, us"]
    ]
    for index, ((start, end), barrier) in enumerate(zip(result.layer_ps, result.barrier_ps, strict=True)):
        after = result.layer_ps[index + 1][0] if index + 1 < len(result.layer_ps) else end
        row = [start, barrier, end, barrier - start, end - barrier, after - start]
        rows.append([str(index), *(f"{value / 1e6:.3f}" for value in row)])
    return rows


#: Rows of the side-by-side table: key of ``summary`` and what it is called.
COMPARED: dict[str, str] = {
    "crossbars": "crossbars in use",
    "opcs": "output peripherals in use",
    "tiles": "tiles",
    "chips": "chips",
    "area_mm2": "area of the tiles, mm2",
    "latency_us": "latency of a sequence alone, us",
    "interval_us": "time per sequence in a full pipeline, us",
    "sequences_per_s": "throughput of a full pipeline, sequences/s",
    "tops": "throughput of a full pipeline, TOPS",
    "energy_uj_per_sequence": "TOTAL energy of a sequence alone, uJ",
    "energy_uj_per_sequence_streamed": "TOTAL energy per sequence in a full pipeline, uJ",
    "dynamic_uj_per_sequence": "of it dynamic, uJ",
    "leakage_uj_per_sequence": "of it leakage (alone), uJ",
    "static_uj_per_sequence": "of it static (alone), uJ",
    "edp_uj_us": "energy-delay product, uJ us",
    "average_power_w": "average power, W",
    "full_load_power_w": "power with every crossbar always reading, W",
    "tops_per_w_total": "TOPS/W of total energy, alone",
    "tops_per_w_total_streamed": "TOPS/W of total energy, full pipeline",
    "tops_per_w_dynamic": "TOPS/W of dynamic energy only",
    "lifetime_days": "lifetime of cells written for attention, days",
}
#: Rows that are left out where no result has them.
OPTIONAL = ("lifetime_days",)


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:,.6g}"


def _against(value: float | None, *bases: float | None) -> str:
    """A value and how it stands to others."""
    known = [f"{value / base - 1:+z.1%}" if base else "-" for base in bases] if value is not None else []
    return f"{_number(value)} ({', '.join(known)})" if known else _number(value)


def compare(results: Results, streams: Results | None = None) -> list[list[str]]:
    """Side-by-side table, header first: one column per result, the others also relative to the first."""
    summaries = [summary(result, (streams or {}).get(name)) for name, result in results.items()]
    first = summaries[0]
    rows = [["", *results]]
    for key, title in COMPARED.items():
        if key in OPTIONAL and all(s[key] is None for s in summaries):
            continue
        rows.append([title, _number(first[key]), *(_against(s[key], first[key]) for s in summaries[1:])])
    for part in first["energy_uj_by_part"]:
        values = [s["energy_uj_by_part"][part] for s in summaries]
        rows.append(
            [f"dynamic energy of {part}, uJ", _number(values[0]), *(_against(v, values[0]) for v in values[1:])]
        )
    rows.append(["bound by", *(s["bound_by"] for s in summaries)])
    return rows


#: What protection may cost: key of ``summary``, or action, and what it is called.
LEDGER: dict[str, str] = {
    "crossbars": "crossbars",
    "opcs": "output peripherals",
    "area_mm2": "area, mm2",
    "latency_us": "latency, us",
    "interval_us": "time per sequence in a full pipeline, us",
    "energy_uj_per_sequence": "total energy alone, uJ",
    "energy_uj_per_sequence_streamed": "total energy in a full pipeline, uJ",
    "dynamic_uj_per_sequence": "dynamic energy, uJ",
    "conducting_cells": "conducting cells on driven word lines",
    "cell_read": "energy of conducting cells, uJ",
    "conversion": "energy of conversions, uJ",
    "opc_pair": "energy of accumulating codes, uJ",
    "opc_step": "energy of read-out, uJ",
    "map_lookup": "energy of map look-ups, uJ",
    "vote": "energy of votes, uJ",
    "requantise": "energy of requantisation, uJ",
    "scale": "energy of scaling, uJ",
    "programming_uj": "programming once, uJ",
    "programming_us": "programming once, us",
    "self_test_us": "self-test (March) once, us",
    "self_test_uj": "self-test (March) once, uJ",
    "fast_self_test_us": "fast self-test once, at most, us",
    "fast_self_test_uj": "fast self-test once, at most, uJ",
    "map_words": "words of column maps",
}


def ledger(results: Results, dense: str, pruned: str, streams: Results | None = None) -> list[list[str]]:
    """What protection costs in each currency, header first.

    Every scheme stands against the dense and the pruned model without protection, each with a plain output peripheral:
    the first says what a user of the whole method pays, the second what protection alone does.
    """
    values = {}
    for name, result in results.items():
        counts, table = energy.total_actions(result.actions), prices(result.chip)
        per_sequence = {k: counts[k] * table[k] / len(result.sequence_ps) / 1e6 for k in counts}
        values[name] = {**per_sequence, **summary(result, (streams or {}).get(name))}
    others = [name for name in results if name not in (dense, pruned)]
    rows = [["cost (against dense, against pruned unprotected)", dense, pruned, *others]]
    for key, title in LEDGER.items():
        one, two = values[dense][key], values[pruned][key]
        if any(v[key] for v in values.values()):
            rows.append(
                [title, _number(one), _against(two, one), *(_against(values[n][key], one, two) for n in others)]
            )
    return rows
