"""What a run of the system model leaves: tables, JSON, CSV and pictures, all from the result alone."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from crossvote.rtl.march_elements import SelfTest
from crossvote.sim.chip.bill import prices
from crossvote.sim.chip.config import ChipConfig, load_chip
from crossvote.sim.common.csv_rows import to_csv
from crossvote.sim.common.files import write_bytes_atomic, write_text_atomic
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.common.schema import build, to_mapping
from crossvote.sim.kernel import Trace
from crossvote.sim.system import energy
from crossvote.sim.system.diagram import diagram
from crossvote.sim.system.figures import energy_bars, energy_by_stage, occupancy, utilisation_bars
from crossvote.sim.system.load import full_load_power_w
from crossvote.sim.system.model import simulate
from crossvote.sim.system.programming import programming
from crossvote.sim.system.result import SystemResult, Usage
from crossvote.sim.system.self_test import self_test_cost
from crossvote.sim.system.stages import GroupTiming
from crossvote.sim.system.workload import Workload

FORMAT = "crossvote-system"
FORMAT_VERSION = 2


def summary(result: SystemResult, stream: SystemResult | None = None) -> dict[str, Any]:
    """The figures of a run in plain JSON values; units are in the keys.

    Args:
        stream: the same workload as a stream, which measures throughput; ``result`` itself when it is one.
    """
    chip, placement, powered = result.chip, result.placement, result.powered
    sequences = len(result.sequence_ps)
    full = stream or (result if result.interval_ps else None)
    interval = full.interval_ps if full else None
    dynamic = result.dynamic_energy_pj / sequences / 1e6
    still_w = {
        "static": energy.static_w(chip, powered),
        **{f"leakage_gating_{m}": sum(energy.leakage_w(chip, powered, m).values()) for m in ("none", "unused", "idle")},
    }
    idle_w = still_w["static"] + still_w[f"leakage_gating_{chip.power.gating}"]
    total = result.total_energy_pj / sequences / 1e6
    streamed = dynamic + idle_w * interval / 1e6 if interval else None
    write = programming(result)
    pairs = int(placement.blocks_used.max())
    march, fast = (self_test_cost(chip, placement.crossbars, pairs, test) for test in SelfTest)
    return {
        "chip": chip.name,
        "workload": result.workload.name,
        "layers": len(result.workload.layers),
        "tokens": result.workload.tokens,
        "sequences": sequences,
        "resolution": result.resolution,
        "attention": chip.digital.attention,
        "latency_us": result.latency_ps / 1e6,
        "elapsed_us": result.elapsed_ps / 1e6,
        "interval_us": interval / 1e6 if interval else None,
        "sequences_per_s": 1e12 / interval if interval else None,
        "tops": result.operations / interval if interval else None,
        "tops_of_one_sequence": result.operations / result.latency_ps,
        "crossbars": placement.crossbars,
        "opcs": powered.opcs,
        "opc_variant": powered.variant,
        "tiles": placement.tiles,
        "chips": placement.chips,
        "area_mm2": result.area_mm2,
        "area_chips_mm2": energy.levels(chip)["chip"].area_mm2 * placement.chips,
        "gating": chip.power.gating,
        "energy_uj_per_sequence": total,
        "dynamic_uj_per_sequence": dynamic,
        "leakage_uj_per_sequence": result.leakage_energy_pj() / sequences / 1e6,
        "static_uj_per_sequence": result.static_energy_pj / sequences / 1e6,
        "energy_uj_per_sequence_streamed": streamed,
        "edp_uj_us": total * result.latency_ps / 1e6,
        "average_power_w": result.average_power_w,
        "full_load_power_w": full_load_power_w(chip, powered),
        "power_at_rest_w": still_w,
        "leakage_w_by_component": energy.leakage_w(chip, powered),
        "tops_per_w_total": result.operations / total / 1e6,
        "tops_per_w_total_streamed": result.operations / streamed / 1e6 if streamed else None,
        "tops_per_w_dynamic": result.operations / dynamic / 1e6,
        "energy_uj_by_part": {
            part: value / sequences / 1e6 for part, value in energy.energy_by_part_pj(chip, result.actions).items()
        },
        "conducting_cells": round(sum(g.conducting for layer in result.workload.layers for g in layer.groups.values())),
        "programming_uj": write.energy_uj,
        "programming_us": write.time_us,
        "self_test_us": march.time_us,
        "self_test_uj": march.energy_uj,
        "self_test_reads": march.reads * placement.crossbars,
        "self_test_writes": march.writes * placement.crossbars,
        "fast_self_test_us": fast.time_us,
        "fast_self_test_uj": fast.energy_uj,
        "map_words": write.map_words,
        "lifetime_days": write.lifetime_days(interval),
        "layer_us": [[start / 1e6, end / 1e6] for start, end in result.layer_ps],
        "bound_by": bottlenecks(result)[0].kind if result.usage else "",
        "kernel_events": result.events,
    }


def bottlenecks(result: SystemResult) -> tuple[Usage, ...]:
    """All units, the busiest first."""
    return tuple(sorted(result.usage, key=lambda u: (-u.utilisation, u.unit)))


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
    out. Layers overlap, so the columns do not add up to the latency; "alone" is the time in which only this one works.
    """
    rows = [["layer", "first in, us", "barrier opens, us", "last out, us", "fill, us", "drain, us", "alone, us"]]
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
    "full_load_power_w": "power at full load, W",
    "tops_per_w_total": "TOPS/W of total energy, alone",
    "tops_per_w_total_streamed": "TOPS/W of total energy, full pipeline",
    "tops_per_w_dynamic": "TOPS/W of dynamic energy only",
    "lifetime_days": "lifetime of cells written for attention, days",
}
#: Rows that are left out where no result has them.
OPTIONAL = ("lifetime_days",)

Results = Mapping[str, SystemResult]


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
    "scale": "energy of requantisation, uJ",
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


#: Resources of the what-if table: name and the overrides that double it.
def _doubled(chip: ChipConfig) -> dict[str, dict[str, Any]]:
    return {
        "reads twice as fast": {"crossbar": {"read_ps": max(1, chip.crossbar.read_ps // 2)}},
        "twice the ADCs": {"adc": {"per_crossbar": 2 * chip.adc.per_crossbar}},
        "twice the OPC clock": {"opc": {"clock_ps": max(1, chip.opc.clock_ps // 2)}},
        "twice the link width": {"network": {"flit_bits": 2 * chip.network.flit_bits}},
        "twice the attention MACs": {"digital": {"macs_per_tile": 2 * chip.digital.macs_per_tile}},
        "twice the buffer ports": {"tile": {"buffer_ports": min(16, 2 * chip.tile.buffer_ports)}},
        "twice the vector lanes": {"digital": {"lanes_per_tile": 2 * chip.digital.lanes_per_tile}},
        "twice the queues": {"tile": {"queue_vectors": 2 * chip.tile.queue_vectors}},
    }


def _changed(chip: ChipConfig, overrides: tuple[dict[str, Any], ...], name: str) -> ChipConfig:
    data = to_mapping(chip)
    for override in overrides:
        for table, values in override.items():
            data[table] = {**data[table], **values}
    return build(ChipConfig, data, name)


def what_if(
    workload: Workload, chip: ChipConfig, sequences: int = 8, progress: Progress = no_progress
) -> list[tuple[str, float, float]]:
    """(change, latency, time per sequence in a full pipeline) over the chip as it is, when resources are doubled.

    One at a time, then in pairs: where two are equally short, neither helps alone. A pair is shown when it brings more
    than both of its parts. Runs the model once per row with a sequence, and times the stream without contention, which
    is what the placement stays the same for.
    """
    base = simulate(workload, chip, resolution="matrix")
    pace = _pace(workload, chip, sequences)
    singles = _doubled(chip)
    changes: dict[tuple[str, ...], tuple[dict[str, Any], ...]] = {
        (name,): (override,) for name, override in singles.items()
    }
    changes |= {(a, b): (singles[a], singles[b]) for a, b in combinations(singles, 2)}
    rows: list[tuple[str, float, float]] = []
    found: dict[tuple[str, ...], tuple[float, float]] = {}
    for done, (names, overrides) in enumerate(changes.items(), 1):
        changed = _changed(chip, overrides, " and ".join(names))
        interval = _pace(workload, changed, sequences) / pace
        if len(names) == 1:
            latency = simulate(workload, changed, resolution="matrix").latency_ps / base.latency_ps
        else:
            latency = _quick_latency(workload, changed) / _quick_latency(workload, chip)
            one, two = (found[name,] for name in names)
            gain = min(one[1], two[1]) - interval > 0.005 or min(one[0], two[0]) - latency > 0.005
            # Where a pair seems to bring more, the latency is simulated.
            if gain:
                latency = simulate(workload, changed, resolution="matrix").latency_ps / base.latency_ps
            if min(one[1], two[1]) - interval <= 0.005 and min(one[0], two[0]) - latency <= 0.005:
                progress("what if", done, len(changes))
                continue
        found[names] = (latency, interval)
        rows.append((" and ".join(names), latency, interval))
        progress("what if", done, len(changes))
    return rows


def _pace(workload: Workload, chip: ChipConfig, sequences: int) -> float:
    """Time per sequence of a stream whose units wait for nothing but themselves, ps."""
    found = simulate(workload, chip, resolution="analytic", sequences=max(2, sequences)).interval_ps
    assert found is not None
    return found


def _quick_latency(workload: Workload, chip: ChipConfig) -> int:
    return simulate(workload, chip, resolution="analytic").latency_ps


def crossbar_rows(result: SystemResult) -> list[dict[str, Any]]:
    """Every crossbar that holds weights: its name in the hierarchy, what it holds and what it did."""
    chip, placement = result.chip, result.placement
    rows: list[dict[str, Any]] = []
    tokens = result.workload.tokens * len(result.sequence_ps)
    for groups in placement.groups:
        slots: dict[int, int] = {}
        for place in groups.values():
            busy = tokens * GroupTiming(chip, place.group).interval_ps / result.elapsed_ps
            lines = np.repeat(place.group.lines, place.group.row_blocks).tolist()
            driven = np.tile(place.group.driven > 0, place.group.column_blocks).tolist()
            for tile, converted, read in zip(place.block_tile.tolist(), lines, driven, strict=True):
                for sign in range(chip.signs):
                    slot = slots[tile] = slots.get(tile, -1) + 1
                    share = converted if read and (sign == 0 or chip.digitised == 2) else 0
                    rows.append(
                        {
                            "crossbar": placement.crossbar_name(tile, slot),
                            "group": place.group.name,
                            "tokens": tokens,
                            "reads": tokens * chip.reads if read and converted else 0,
                            "conversions": tokens * chip.reads * share,
                            "utilisation": f"{busy:.4f}",
                        }
                    )
    return rows


def _unit_rows(results: Results) -> list[dict[str, Any]]:
    return [
        {
            "result": key,
            "unit": u.unit,
            "kind": u.kind,
            "servers": u.servers,
            "operations": u.operations,
            "busy_ps": u.busy_ps,
            "utilisation": f"{u.utilisation:.6f}",
            "mean_wait_ps": f"{u.wait_ps:.0f}",
        }
        for key, result in results.items()
        for u in bottlenecks(result)
    ]


def _energy_rows(results: Results) -> list[dict[str, Any]]:
    """Energy by scope and action, then leakage by component and static energy, so that the rows add up to the total."""
    rows: list[dict[str, Any]] = []
    for key, result in results.items():
        table = prices(result.chip)
        for scope, counts in result.actions.items():
            for action, count in counts.items():
                row = {"kind": "dynamic", "scope": scope, "action": action, "count": count}
                rows.append({"result": key, **row, "energy_pj": count * table[action]})
        still = {**energy.leakage_w(result.chip, result.powered)}
        for name, watts in still.items():
            row = {"kind": "leakage", "scope": name, "action": "", "count": ""}
            rows.append({"result": key, **row, "energy_pj": watts * result.elapsed_ps})
        row = {"kind": "static", "scope": "", "action": "", "count": ""}
        rows.append({"result": key, **row, "energy_pj": result.static_energy_pj})
    return rows


def _tile_rows(result: SystemResult) -> list[dict[str, Any]]:
    chip = result.chip
    blocks = chip.crossbars_per_tile // chip.signs
    return [
        {"tile": tile, "chip": tile // chip.package.tiles, "blocks_used": int(used), "blocks": blocks}
        for tile, used in enumerate(result.placement.blocks_used)
    ]


def write_report(
    folder: Path,
    results: Results,
    trace: Trace | None = None,
    streams: Results | None = None,
    baselines: tuple[str, str] | None = None,
) -> list[Path]:
    """Write everything about one or several runs of the same chip into ``folder``; returns the files.

    ``system.json`` holds the summaries, the counts of actions and the chip, from which ``read_energy`` computes the
    energy again; the pictures of one result show the last one.

    Args:
        streams: the same workloads as streams, by name. baselines: names of the dense and of the pruned unprotected
            result, for the ledger of what protection costs.
    """
    name, shown = list(results.items())[-1]
    compared = compare(results, streams)
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "chip": to_mapping(shown.chip),
        "results": {
            key: {
                "summary": summary(result, (streams or {}).get(key)),
                "actions": result.actions,
                "statistics": _statistics(result),
            }
            for key, result in results.items()
        },
    }
    files = {
        "system.json": json.dumps(document, indent=1) + "\n",
        "compare.csv": to_csv([dict(zip(compared[0], row, strict=True)) for row in compared[1:]]),
        "units.csv": to_csv(_unit_rows(results)),
        "energy.csv": to_csv(_energy_rows(results)),
        "tiles.csv": to_csv(_tile_rows(shown)),
        "utilisation.svg": utilisation_bars(bottlenecks(shown), name),
        "energy.svg": energy_bars(results),
        "energy-by-stage.svg": energy_by_stage(results),
        "occupancy.svg": occupancy(shown.placement),
        "diagram.svg": diagram(shown.chip),
    }
    if baselines is not None:
        table = ledger(results, *baselines, streams)
        files["ledger.csv"] = to_csv([dict(zip(table[0], row, strict=True)) for row in table[1:]])
    for file, text in files.items():
        write_text_atomic(folder / file, text)
    write_bytes_atomic(folder / "crossbars.csv.gz", gzip.compress(to_csv(crossbar_rows(shown)).encode(), mtime=0))
    written = [*(folder / file for file in files), folder / "crossbars.csv.gz"]
    if trace is not None:
        trace.write(folder / "trace.json.gz")
        written.append(folder / "trace.json.gz")
    return written


def read_energy(path: Path, chip: str | None = None) -> dict[str, float]:
    """Dynamic energy (pJ) of every result in a ``system.json``, computed from its counts.

    Args:
        chip: preset or TOML file whose energy table is used instead of the one in the file.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    table = load_chip(chip) if chip else build(ChipConfig, document["chip"], str(path))
    return {key: energy.dynamic_energy_pj(table, value["actions"]) for key, value in document["results"].items()}


def _statistics(result: SystemResult) -> dict[str, dict[str, Any]]:
    return {
        path: {name: {"value": m.value, "unit": m.unit, "text": m.text} for name, m in values.items()}
        for path, values in result.statistics.items()
    }
