"""What a ladder found: points lost, differences on the same chips, what each rung tolerates and costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossvote.sim.array.image import Image
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.system.model import simulate
from crossvote.sim.system.summary import summary
from crossvote.sim.system.workload import Workload
from crossvote.swstack.evaluation.results import Point
from crossvote.swstack.evaluation.statistics import linear_crossing, student_factor
from crossvote.swstack.experiment.ladder.site import Rung
from crossvote.swstack.mapping.cost import mapping_report
from crossvote.swstack.tasks.chance import Chance
from crossvote.swstack.tasks.metrics import lost as points_lost

#: Length of the sequence whose latency and energy are given.
TOKENS = 128


def ladder_tables(
    points: Sequence[Point], metric: str, rungs: Sequence[Rung], chip: ChipConfig, chance: Chance | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows per rung and rate, paired differences, and rows per rung.

    Points are lost against the unprotected mapping of the pruned model without faults and training: the rung
    ``none-column``, or the first one where that is missing. A score at the level of ``chance`` is never a tolerated
    one, so that a model that is at it without faults tolerates nothing.
    """
    by_rung: dict[str, dict[float, Point]] = {}
    for point in points:
        if point.metric == metric:
            by_rung.setdefault(point.scheme, {})[point.rate] = point
    base = "none-column" if "none-column" in by_rung else rungs[0].name
    clean = by_rung[base][0.0].mean
    rates = [
        {
            "rung": rung.name,
            "map known": rung.scheme.knows_faults,
            "rate": rate,
            "mean": point.mean,
            "sd": point.sd,
            "low": point.low,
            "high": point.high,
            "min": point.min,
            "lost": points_lost(metric, clean, point.mean),
            "chips": point.chips,
        }
        for rung in rungs
        for rate, point in sorted(by_rung[rung.name].items())
    ]
    paired = [
        row
        for rung in rungs
        for other in ("none-column", "paper", "best")
        if other in by_rung and other != rung.name
        for row in _paired(by_rung[rung.name], by_rung[other], rung, other)
    ]
    found = {}
    for rung in rungs:
        grid = sorted(by_rung[rung.name])
        means = [by_rung[rung.name][rate].mean for rate in grid]
        lost = [
            math.inf if chance is not None and chance.holds(mean) else points_lost(metric, clean, mean)
            for mean in means
        ]
        found[rung.name] = {
            allowed: linear_crossing(grid, lost, amount) for allowed, amount in (("1 point", 1.0), ("10 %", clean / 10))
        }
    rows = []
    for rung in rungs:
        own = found[rung.name]
        bare = "none-column" if rung.scheme.scale == "column" else "none"
        row: dict[str, Any] = {
            "rung": rung.name,
            "scale": rung.scheme.scale,
            "map known": rung.scheme.knows_faults,
            "clean": by_rung[rung.name][0.0].mean,
            "at chance level": chance is not None and chance.holds(by_rung[rung.name][0.0].mean),
        }
        for allowed, (rate, beyond) in own.items():
            row[f"tolerated, {allowed}"] = rate
            row[f"all rates within {allowed}"] = beyond
            for other in (bare, "paper"):
                reference = found[other][allowed][0] if other in found else 0.0
                row[f"over {'unprotected' if other == bare else other}, {allowed}"] = (
                    rate / reference if reference else None
                )
        heads = getattr(rung.model.config, "num_attention_heads", None)
        rows.append({**row, **costs(rung.image, chip, heads)})
    return rates, paired, rows


def _paired(
    own: Mapping[float, Point], other: Mapping[float, Point], rung: Rung, other_name: str
) -> list[dict[str, Any]]:
    """Mean differences on the same chips with their 95 % intervals."""
    rows = []
    for rate in sorted(own):
        if rate and rate in other:
            difference = np.array(own[rate].scores) - np.array(other[rate].scores)
            n = len(difference)
            half = float(student_factor(n) * difference.std(ddof=1) / n**0.5) if n > 1 else 0.0
            mean = float(difference.mean())
            row = {"rung": rung.name, "map known": rung.scheme.knows_faults, "against": other_name, "rate": rate}
            rows.append({**row, "difference": mean, "low": mean - half, "high": mean + half, "chips": n})
    return rows


def costs(image: Image, chip: ChipConfig, heads: int | None) -> dict[str, Any]:
    """What an image takes: crossbars, bit lines, conducting cells, conversions of a token vector; time, energy, area.

    The last three are those of one sequence of ``TOKENS`` tokens, without contention (``resolution = "analytic"``), and
    None for a model that the system model does not know.
    """
    report = mapping_report(image)
    crossbars, dense = sum(g.crossbars for g in report), sum(g.dense_crossbars for g in report)
    lines = conversions = conducting = weights = 0
    for group in image.groups:
        used = int(group.column_map.read.sum())
        lines += used
        conversions += 2 * used * group.row_blocks * image.input_bits
        kept = np.unique(group.column_map.output[group.column_map.used]).size
        weights += kept * int(group.kept_inputs.sum())
        for block in range(group.row_blocks):
            span = group.kept_inputs[block * group.rows : (block + 1) * group.rows]
            cells = group.block_cells(block)[:, : len(span)][:, span][:, :, group.column_map.read]
            conducting += int((cells > 0).sum())
    return {
        "extra crossbars": crossbars - dense,
        "zero space": all(g.zero_space for g in report),
        "bit lines": lines,
        "conducting cells per weight": conducting / max(1, weights),
        "conversions per token": conversions,
        **_system_costs(image, chip, heads),
    }


def _system_costs(image: Image, chip: ChipConfig, heads: int | None) -> dict[str, float | None]:
    names = {"latency, us": "latency_us", "energy, uJ": "energy_uj_per_sequence", "area, mm2": "area_mm2"}
    try:
        if heads is None:
            raise UserError("the model does not say how many attention heads it has.")
        found = summary(simulate(Workload.from_image(image, chip, heads, TOKENS), chip, resolution="analytic"))
    except UserError:
        return dict.fromkeys(names)
    return {name: found[key] for name, key in names.items()}
