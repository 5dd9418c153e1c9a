"""What doubling resources of a chip would bring, one at a time and in pairs."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

from crossvote.sim.chip.bill import bill
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.common.schema import build, to_mapping
from crossvote.sim.system.model import simulate
from crossvote.sim.system.workload import Workload


def _doubled(chip: ChipConfig) -> dict[str, dict[str, Any]]:
    """Resources of the table: name and the overrides that double it."""
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
    is what the placement stays the same for. What no component model covers when it is doubled has NaN in both places,
    and is in no pair.
    """
    base = simulate(workload, chip, resolution="matrix")
    pace = _pace(workload, chip, sequences)
    singles = _doubled(chip)
    rows: list[tuple[str, float, float]] = []
    for name, override in list(singles.items()):
        if not _covered(chip, override, name):
            rows.append((name, math.nan, math.nan))
            del singles[name]
    changes: dict[tuple[str, ...], tuple[dict[str, Any], ...]] = {
        (name,): (override,) for name, override in singles.items()
    }
    changes |= {(a, b): (singles[a], singles[b]) for a, b in combinations(singles, 2)}
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


def _covered(chip: ChipConfig, override: dict[str, Any], name: str) -> bool:
    """Whether the component models cover the changed chip."""
    try:
        bill(_changed(chip, (override,), name))
    except UserError:
        return False
    return True


def _pace(workload: Workload, chip: ChipConfig, sequences: int) -> float:
    """Time per sequence of a stream whose units wait for nothing but themselves, ps."""
    found = simulate(workload, chip, resolution="analytic", sequences=max(2, sequences)).interval_ps
    assert found is not None
    return found


def _quick_latency(workload: Workload, chip: ChipConfig) -> int:
    return simulate(workload, chip, resolution="analytic").latency_ps
