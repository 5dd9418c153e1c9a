"""What a run of the system model leaves: tables, JSON, CSV and pictures, all from the result alone."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crossvote.sim.chip.config import ChipConfig, load_chip
from crossvote.sim.common.csv_rows import to_csv
from crossvote.sim.common.files import write_bytes_atomic, write_text_atomic
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.common.schema import build, to_mapping
from crossvote.sim.kernel import Trace
from crossvote.sim.system import energy
from crossvote.sim.system.diagram import diagram
from crossvote.sim.system.figures import energy_bars, occupancy, utilisation_bars
from crossvote.sim.system.model import SystemResult, Usage, simulate
from crossvote.sim.system.stages import GroupTiming
from crossvote.sim.system.workload import Workload

FORMAT = "crossvote-system"
FORMAT_VERSION = 1


def summary(result: SystemResult) -> dict[str, Any]:
    """The figures of a run in plain JSON values; units are in the keys."""
    chip, placement = result.chip, result.placement
    sequences = len(result.sequence_ps)
    static_w = energy.static_power_w(chip, placement.chips)
    whole = energy.levels(chip)
    return {
        "chip": chip.name,
        "workload": result.workload.name,
        "layers": len(result.workload.layers),
        "tokens": result.workload.tokens,
        "sequences": sequences,
        "resolution": result.resolution,
        "latency_us": result.latency_ps / 1e6,
        "elapsed_us": result.elapsed_ps / 1e6,
        "sequences_per_s": result.sequences_per_s,
        "tops": result.tops,
        "crossbars": placement.crossbars,
        "tiles": placement.tiles,
        "chips": placement.chips,
        "energy_uj_per_sequence": result.dynamic_energy_pj / sequences / 1e6,
        "static_power_w": static_w,
        "static_energy_uj": result.static_energy_pj / 1e6,
        "tops_per_w_dynamic": 2 * result.workload.macs * sequences / result.dynamic_energy_pj,
        "area_mm2": whole["tile"].area_mm2 * placement.tiles,
        "area_chips_mm2": whole["chip"].area_mm2 * placement.chips,
        "energy_uj_by_part": {
            part: value / sequences / 1e6 for part, value in energy.energy_by_part_pj(chip, result.actions).items()
        },
        "layer_us": [[start / 1e6, end / 1e6] for start, end in result.layer_ps],
        "bound_by": bottlenecks(result)[0].kind if result.usage else "",
        "kernel_events": result.events,
    }


def bottlenecks(result: SystemResult) -> tuple[Usage, ...]:
    """All units, the busiest first."""
    return tuple(sorted(result.usage, key=lambda u: (-u.utilisation, u.unit)))


def bottleneck_table(result: SystemResult, most: int = 8) -> list[list[str]]:
    """The busiest units, header first: busy share and what is left of it, mean wait of an operation."""
    rows = [["unit", "kind", "servers", "busy", "slack", "mean wait, us"]]
    for unit in bottlenecks(result)[:most]:
        share = unit.utilisation
        rows.append(
            [unit.unit, unit.kind, str(unit.servers), f"{share:.1%}", f"{1 - share:.1%}", f"{unit.wait_ps / 1e6:.3f}"]
        )
    return rows


#: Rows of the side-by-side table: key of ``summary`` and what it is called.
COMPARED: dict[str, str] = {
    "crossbars": "crossbars in use",
    "tiles": "tiles",
    "chips": "chips",
    "area_mm2": "area of the tiles, mm2",
    "latency_us": "latency of a sequence, us",
    "sequences_per_s": "throughput, sequences/s",
    "tops": "throughput, TOPS",
    "energy_uj_per_sequence": "dynamic energy per sequence, uJ",
    "tops_per_w_dynamic": "TOPS/W, dynamic",
}


def compare(results: Mapping[str, SystemResult]) -> list[list[str]]:
    """Side-by-side table, header first: one column per result, the others also relative to the first."""
    summaries = {name: summary(result) for name, result in results.items()}
    first = next(iter(summaries.values()))
    parts = sorted({part for s in summaries.values() for part in s["energy_uj_by_part"]})
    rows = [["", *results]]

    def row(title: str, values: list[float], base: float) -> list[str]:
        cells = [f"{values[0]:,.6g}"]
        cells += [f"{value:,.6g} ({value / base - 1:+.1%})" if base else f"{value:,.6g}" for value in values[1:]]
        return [title, *cells]

    for key, title in COMPARED.items():
        rows.append(row(title, [s[key] for s in summaries.values()], first[key]))
    for part in parts:
        values = [s["energy_uj_by_part"].get(part, 0.0) for s in summaries.values()]
        rows.append(row(f"energy of {part}, uJ", values, values[0]))
    rows.append(["bound by", *(s["bound_by"] for s in summaries.values())])
    return rows


#: Resources of the what-if table: name and the overrides that double it.
def _doubled(chip: ChipConfig) -> dict[str, dict[str, Any]]:
    return {
        "crossbar reads twice as fast": {"crossbar": {"read_ps": max(1, chip.crossbar.read_ps // 2)}},
        "twice the ADCs": {"adc": {"per_crossbar": 2 * chip.adc.per_crossbar}},
        "twice the OPC clock": {"opc": {"clock_ps": max(1, chip.opc.clock_ps // 2)}},
        "twice the link width": {"network": {"flit_bits": 2 * chip.network.flit_bits}},
        "twice the attention MACs": {"digital": {"macs_per_tile": 2 * chip.digital.macs_per_tile}},
        "twice the vector lanes": {"digital": {"lanes_per_tile": 2 * chip.digital.lanes_per_tile}},
        "twice the queues": {"tile": {"queue_vectors": 2 * chip.tile.queue_vectors}},
    }


def what_if(
    workload: Workload, chip: ChipConfig, sequences: int = 1, progress: Progress = no_progress
) -> list[tuple[str, float, float]]:
    """(change, latency, throughput) relative to the chip as it is, when one resource at a time is doubled.

    Runs the model once per row, at resolution "matrix"; the workload's placement stays the same.
    """
    base = simulate(workload, chip, resolution="matrix", sequences=sequences)
    rows = []
    changes = _doubled(chip)
    for done, (name, override) in enumerate(changes.items(), 1):
        data = to_mapping(chip)
        for table, values in override.items():
            data[table] = {**data[table], **values}
        changed = simulate(workload, build(ChipConfig, data, name), resolution="matrix", sequences=sequences)
        latency, rate = changed.latency_ps / base.latency_ps, changed.sequences_per_s / base.sequences_per_s
        rows.append((name, latency, rate))
        progress("what if", done, len(changes))
    return rows


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
            for tile, converted in zip(place.block_tile.tolist(), lines, strict=True):
                for sign in range(chip.signs):
                    slot = slots[tile] = slots.get(tile, -1) + 1
                    share = converted if sign == 0 or chip.digitised == 2 else 0
                    rows.append(
                        {
                            "crossbar": placement.crossbar_name(tile, slot),
                            "group": place.group.name,
                            "tokens": tokens,
                            "reads": tokens * chip.reads,
                            "conversions": tokens * chip.reads * share,
                            "utilisation": f"{busy:.4f}",
                        }
                    )
    return rows


def _unit_rows(results: Mapping[str, SystemResult]) -> list[dict[str, Any]]:
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


def _energy_rows(results: Mapping[str, SystemResult]) -> list[dict[str, Any]]:
    return [
        {
            "result": key,
            "scope": scope,
            "action": action,
            "count": count,
            "energy_pj": count * getattr(result.chip.energy_pj, action),
        }
        for key, result in results.items()
        for scope, counts in result.actions.items()
        for action, count in counts.items()
    ]


def _tile_rows(result: SystemResult) -> list[dict[str, Any]]:
    chip = result.chip
    blocks = chip.crossbars_per_tile // chip.signs
    return [
        {"tile": tile, "chip": tile // chip.package.tiles, "blocks_used": int(used), "blocks": blocks}
        for tile, used in enumerate(result.placement.blocks_used)
    ]


def write_report(folder: Path, results: Mapping[str, SystemResult], trace: Trace | None = None) -> list[Path]:
    """Write everything about one or several runs of the same chip into ``folder``; returns the files.

    ``system.json`` holds the summaries, the counts of actions and the chip, from which ``read_energy`` computes the
    energy again; the pictures show the last result.
    """
    name, shown = list(results.items())[-1]
    compared = compare(results)
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "chip": to_mapping(shown.chip),
        "results": {
            key: {"summary": summary(result), "actions": result.actions, "statistics": _statistics(result)}
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
        "occupancy.svg": occupancy(shown.placement),
        "diagram.svg": diagram(shown.chip),
    }
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
    return {key: energy.total_energy_pj(table, value["actions"]) for key, value in document["results"].items()}


def _statistics(result: SystemResult) -> dict[str, dict[str, Any]]:
    return {
        path: {name: {"value": m.value, "unit": m.unit, "text": m.text} for name, m in values.items()}
        for path, values in result.statistics.items()
    }
