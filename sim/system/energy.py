"""Energy, power and area: counts times the prices of a chip, so that they can be recomputed without simulating again.

Three kinds of energy add up to the total: *dynamic*, what actions cost; *leakage*, what components draw for being
powered; *static*, what some parts draw always, whatever is switched off (links to the host, for example).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from crossvote.sim.chip.bill import ACTIONS, PARTS, Part, bill, prices
from crossvote.sim.chip.components.base import Variant
from crossvote.sim.chip.config import ChipConfig

__all__ = ["ACTIONS", "PARTS"]

#: How often each action happened in each part of the model: {"layer0.qkv": {"conversion": 12, ...}, ...}.
Actions = Mapping[str, Mapping[str, int]]
Gating = Literal["none", "unused", "idle"]


def action_energy_pj(chip: ChipConfig, actions: Actions) -> dict[str, dict[str, float]]:
    """Dynamic energy of every scope and action, pJ: count times price."""
    table = prices(chip)
    return {scope: {name: count * table[name] for name, count in counts.items()} for scope, counts in actions.items()}


def dynamic_energy_pj(chip: ChipConfig, actions: Actions) -> float:
    """Energy of all actions together, pJ.

    Counts are added as integers first, so that the sum does not depend on the order of the scopes.
    """
    table = prices(chip)
    return sum(count * table[name] for name, count in total_actions(actions).items())


def total_actions(actions: Actions) -> dict[str, int]:
    """Counts of all scopes together, by action."""
    totals = dict.fromkeys(ACTIONS, 0)
    for counts in actions.values():
        for name, count in counts.items():
            totals[name] += count
    return totals


def energy_by_part_pj(chip: ChipConfig, actions: Actions) -> dict[str, float]:
    """Dynamic energy by part of the chip, pJ, largest first."""
    table, parts = prices(chip), dict.fromkeys(PARTS.values(), 0.0)
    for name, count in total_actions(actions).items():
        parts[PARTS[name]] += count * table[name]
    return dict(sorted(parts.items(), key=lambda item: -item[1]))


@dataclass(frozen=True)
class Powered:
    """What of the hardware a run uses, for its power when nothing happens.

    Attributes:
        chips. tiles: that hold something. opcs: output peripherals that the mapping needs, on all chips together.
        variant: the largest of them. busy: share of the time that units of a component were busy, by name.
    """

    chips: int
    tiles: int
    opcs: int
    variant: Variant
    busy: Mapping[str, float]


def parts_of(chip: ChipConfig, powered: Powered) -> tuple[Part, ...]:
    """The parts of one chip of those in use, with as many output peripherals as are needed."""
    return bill(chip, powered.variant, powered.opcs / powered.chips)


def static_w(chip: ChipConfig, powered: Powered) -> float:
    """Power that is drawn always, W, all chips in use together."""
    return powered.chips * sum(p.instances * p.static_mw for p in parts_of(chip, powered)) * 1e-3


def leakage_w(chip: ChipConfig, powered: Powered, gating: Gating | None = None) -> dict[str, float]:
    """Leakage by component, W, all chips in use together.

    Args:
        gating: "none" leaves everything powered, "unused" switches tiles off that hold nothing, "idle" also units that
            keep no data, between their operations; None is what the chip does. What is off draws ``power.gated_share``.
    """
    mode = gating or chip.power.gating
    off = chip.power.gated_share
    used = powered.tiles / (powered.chips * chip.package.tiles)
    found = {}
    for part in parts_of(chip, powered):
        # Output peripherals are counted where they are used; parts of a chip have no tile.
        in_use = 1.0 if part.level == "chip" or part.name == "opc" else used
        on = 1.0 if mode == "none" else in_use + (1 - in_use) * off
        if mode == "idle" and part.state == "idle":
            busy = powered.busy.get(part.name, 0.0)
            on = in_use * (busy + (1 - busy) * off) + (1 - in_use) * off
        watts = powered.chips * part.instances * part.estimate.leakage_mw * 1e-3 * on
        if watts:
            found[part.name] = watts
    return found


def conversions_per_mac(chip: ChipConfig) -> float:
    """ADC conversions per multiply-accumulate of a full matrix: slices x reads x digitised / rows."""
    return chip.slices * chip.reads * chip.digitised / chip.crossbar.rows


@dataclass(frozen=True)
class Level:
    """Power (W) when each part does all it can, and area (mm2), of one IMA, tile or chip, everything inside
    included."""

    power_w: float
    area_mm2: float


def levels(chip: ChipConfig) -> dict[str, Level]:
    """``ima``, ``tile`` and ``chip``: nameplate powers and areas added up, as published tables do."""
    rows = bill(chip)

    def total(names: tuple[str, ...], share: float) -> Level:
        inside = [row for row in rows if row.level in names]
        return Level(sum(r.peak_w for r in inside) * share, sum(r.area_mm2 for r in inside) * share)

    tiles = chip.package.tiles
    return {
        "ima": total(("ima",), 1 / (tiles * chip.tile.imas)),
        "tile": total(("ima", "tile"), 1 / tiles),
        "chip": total(("ima", "tile", "chip"), 1),
    }


def area_by_part_mm2(chip: ChipConfig, powered: Powered) -> dict[str, float]:
    """Area of the tiles in use by part of the chip, mm2, largest first, with the output peripherals that are needed."""
    found: dict[str, float] = {}
    for part in parts_of(chip, powered):
        if part.level != "chip":
            # Output peripherals are counted where they are used, everything else by tile.
            instances = powered.chips if part.name == "opc" else powered.tiles / chip.package.tiles
            found[part.part] = found.get(part.part, 0.0) + part.area_mm2 * instances
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def area_mm2(chip: ChipConfig, powered: Powered) -> float:
    """Area of the tiles in use, mm2, with the output peripherals that the mapping needs."""
    return sum(area_by_part_mm2(chip, powered).values())


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
