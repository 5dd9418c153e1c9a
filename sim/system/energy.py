"""Energy, power and area: counts times a cited table, so that they can be recomputed without simulating again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from crossvote.sim.chip.config import ChipConfig, EnergyConfig

#: Names of the actions, the keys of the energy table.
ACTIONS: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(EnergyConfig))  # type: ignore[arg-type]

#: Which part of the report each action belongs to.
PARTS: dict[str, str] = {
    "crossbar_read": "crossbars",
    "row_drive": "DACs",
    "sample_hold": "ADCs",
    "conversion": "ADCs",
    "shift_add": "output peripheral",
    "vote": "output peripheral",
    "map_lookup": "output peripheral",
    "input_byte": "tile memory",
    "output_byte": "tile memory",
    "buffer_byte": "tile memory",
    "bus_byte": "tile memory",
    "flit_hop": "network",
    "mac": "attention",
    "vector_op": "vector units",
}

#: How often each action happened in each part of the model: {"layer0.qkv": {"conversion": 12, ...}, ...}.
Actions = Mapping[str, Mapping[str, int]]


def action_energy_pj(chip: ChipConfig, actions: Actions) -> dict[str, dict[str, float]]:
    """Energy of every scope and action, pJ: count times ``chip.energy_pj``."""
    table = {name: getattr(chip.energy_pj, name) for name in ACTIONS}
    return {scope: {name: count * table[name] for name, count in counts.items()} for scope, counts in actions.items()}


def total_energy_pj(chip: ChipConfig, actions: Actions) -> float:
    """Energy of all actions together, pJ, without static power.

    Counts are added as integers first, so that the sum does not depend on the order of the scopes.
    """
    counts = total_actions(actions)
    return sum(counts[name] * getattr(chip.energy_pj, name) for name in ACTIONS)


def total_actions(actions: Actions) -> dict[str, int]:
    """Counts of all scopes together, by action."""
    totals = dict.fromkeys(ACTIONS, 0)
    for counts in actions.values():
        for name, count in counts.items():
            totals[name] += count
    return totals


def energy_by_part_pj(chip: ChipConfig, actions: Actions) -> dict[str, float]:
    """Energy by part of the chip, pJ, largest first."""
    parts: dict[str, float] = {}
    for name, count in total_actions(actions).items():
        parts[PARTS[name]] = parts.get(PARTS[name], 0.0) + count * getattr(chip.energy_pj, name)
    return dict(sorted(parts.items(), key=lambda item: -item[1]))


def static_power_w(chip: ChipConfig, chips: int = 1) -> float:
    """Power of the components that draw it all the time, W."""
    return chips * sum(row.power_w for row in roll_up(chip) if chip.components[row.component].static)


def conversions_per_mac(chip: ChipConfig) -> float:
    """ADC conversions per multiply-accumulate of a full matrix: slices x reads x digitised / rows."""
    return chip.slices * chip.reads * chip.digitised / chip.crossbar.rows


@dataclass(frozen=True)
class RollUpRow:
    """A component of one chip: instances, power at full activity (W) and area (mm2) of all of them."""

    component: str
    level: str
    instances: float
    power_w: float
    area_mm2: float


def roll_up(chip: ChipConfig) -> tuple[RollUpRow, ...]:
    """Power at full activity and area of one chip, by component."""
    tiles = chip.package.tiles
    crossbars = tiles * chip.crossbars_per_tile
    units = {
        "row": crossbars * chip.crossbar.rows,
        "column": crossbars * chip.crossbar.columns,
        "crossbar": crossbars,
        "adc": crossbars * chip.adc.per_crossbar / chip.adc.shared_by,
        "opc": crossbars / chip.signs * chip.crossbar.columns / chip.opc.columns,
        "ima": tiles * chip.tile.imas,
        "tile": tiles,
        "router": tiles / chip.network.tiles_per_router,
        "mac": tiles * chip.digital.macs_per_tile,
        "lane": tiles * chip.digital.lanes_per_tile,
        "chip": 1,
    }
    level = {"tile": "tile", "router": "tile", "mac": "tile", "lane": "tile", "chip": "chip"}
    return tuple(
        RollUpRow(
            name,
            level.get(component.per, "ima"),
            units[component.per] * component.count,
            units[component.per] * component.count * component.power_mw * 1e-3,
            units[component.per] * component.count * component.area_um2 * 1e-6,
        )
        for name, component in chip.components.items()
    )


@dataclass(frozen=True)
class Level:
    """Power at full activity (W) and area (mm2) of one IMA, tile or chip, everything inside included."""

    power_w: float
    area_mm2: float


def levels(chip: ChipConfig) -> dict[str, Level]:
    """``ima``, ``tile`` and ``chip``."""
    rows = roll_up(chip)

    def total(names: tuple[str, ...], share: float) -> Level:
        inside = [row for row in rows if row.level in names]
        return Level(sum(r.power_w for r in inside) * share, sum(r.area_mm2 for r in inside) * share)

    tiles = chip.package.tiles
    return {
        "ima": total(("ima",), 1 / (tiles * chip.tile.imas)),
        "tile": total(("ima", "tile"), 1 / tiles),
        "chip": total(("ima", "tile", "chip"), 1),
    }


@dataclass(frozen=True)
class Peak:
    """Figures of merit of one chip, all crossbars busy: ISAAC's CE, PE and SE (ISCA 2016)."""

    gops: float
    gops_per_mm2: float
    gops_per_w: float
    mib_per_mm2: float


def peak(chip: ChipConfig) -> Peak:
    """Peak throughput with two operations per multiply-accumulate of full-precision weights and inputs."""
    crossbars = chip.package.tiles * chip.crossbars_per_tile
    cells = crossbars * chip.crossbar.rows * chip.crossbar.columns
    gops = 2e3 * cells / (chip.slices * chip.signs) / chip.vector_interval_ps
    whole = levels(chip)["chip"]
    storage = cells * chip.crossbar.cell_bits / 8 / 2**20
    return Peak(
        gops,
        gops / whole.area_mm2 if whole.area_mm2 else 0.0,
        gops / whole.power_w if whole.power_w else 0.0,
        storage / whole.area_mm2 if whole.area_mm2 else 0.0,
    )
