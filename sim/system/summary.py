"""The figures of a run of the system model, as plain values under names that say the unit."""

from __future__ import annotations

from typing import Any

from crossvote.rtl.march_elements import SelfTest
from crossvote.sim.system import energy
from crossvote.sim.system.load import full_load_power_w
from crossvote.sim.system.programming import programming
from crossvote.sim.system.result import SystemResult, Usage
from crossvote.sim.system.self_test_cost import self_test_cost


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
        "conducting_cells": round(sum(group.conducting for group in result.workload.groups)),
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
