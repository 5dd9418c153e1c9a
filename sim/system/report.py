"""What a run of the system model leaves as files: JSON, CSV and pictures, all from the result alone."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from crossvote.sim.chip.bill import prices
from crossvote.sim.chip.config import ChipConfig, load_chip
from crossvote.sim.common.csv_rows import to_csv
from crossvote.sim.common.files import write_together
from crossvote.sim.common.schema import build, to_mapping
from crossvote.sim.kernel import Trace
from crossvote.sim.system import energy
from crossvote.sim.system.cost_tables import Results, compare, ledger
from crossvote.sim.system.diagram import diagram
from crossvote.sim.system.result import SystemResult
from crossvote.sim.system.run_pictures import energy_bars, energy_by_stage, occupancy, utilisation_bars
from crossvote.sim.system.summary import bottlenecks, summary
from crossvote.sim.system.token_stages import GroupTiming

FORMAT = "crossvote-system"
FORMAT_VERSION = 2


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
    crossbars = gzip.compress(to_csv(crossbar_rows(shown)).encode(), mtime=0)
    documents = {folder / file: text.encode() for file, text in files.items()}
    documents[folder / "crossbars.csv.gz"] = crossbars
    write_together(documents)
    written = list(documents)
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
