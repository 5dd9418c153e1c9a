"""What a chip consists of and what each part costs: component models put together after its structure.

``[override.NAME]`` of the chip file replaces what the model of a component says.
"""

from __future__ import annotations

from dataclasses import dataclass

from crossvote.sim.chip.components.base import COMPONENTS, Action, Component, Estimate, State, Variant
from crossvote.sim.chip.components.opc import own_variant
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.chip.sections import OverrideConfig


def ranked() -> dict[str, Component]:
    """All components, along the way of a token."""
    return dict(sorted(COMPONENTS.items(), key=lambda item: (item[1].rank, item[0])))


#: Every action, and the part of the report that it belongs to.
PARTS: dict[str, str] = {action: kind.part for kind in ranked().values() for action in kind.actions}
ACTIONS: tuple[str, ...] = tuple(PARTS)


@dataclass(frozen=True)
class Part:
    """A component, or a further part, of one chip.

    Attributes:
        name. part: line of the report. level: "ima", "tile" or "chip". instances: of a whole chip. estimate: of one.
        static_mw: of one, drawn all the time on top of leakage. nameplate_mw: of one, where it is not in the actions.
    """

    name: str
    part: str
    level: str
    state: State
    instances: float
    estimate: Estimate
    static_mw: float = 0.0
    nameplate_mw: float = 0.0

    @property
    def peak_w(self) -> float:
        """Power of all instances when each does all it can, W: the sum of what data sheets give."""
        return self.instances * (self.estimate.peak_mw + self.static_mw + self.nameplate_mw) * 1e-3

    @property
    def area_mm2(self) -> float:
        return self.instances * self.estimate.area_um2 * 1e-6


LEVELS: dict[str, str] = {
    "tile": "tile",
    "router": "tile",
    "mac": "tile",
    "lane": "tile",
    "kv_byte": "tile",
    "chip": "chip",
}


def units(chip: ChipConfig) -> dict[str, float]:
    """Instances that one chip has of everything that a component may belong to; OPCs: one behind every block."""
    tiles = chip.package.tiles
    crossbars = tiles * chip.crossbars_per_tile
    return {
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
        "kv_byte": tiles * chip.tile.buffer_bytes * chip.tile.kv_share,
        "chip": 1,
    }


def estimate(chip: ChipConfig, name: str, variant: Variant | None = None) -> Estimate:
    """What one instance of a component costs on this chip, overrides applied.

    Raises:
        UserError: a structure outside the model's range that is not overridden.
    """
    kind, override = COMPONENTS[name], chip.override.get(name, OverrideConfig())
    complete = set(override.energy_pj) == set(kind.actions) and None not in (override.area_um2, override.leakage_mw)
    if complete:
        model = Estimate({action: Action(0.0) for action in kind.actions}, 0.0, 0.0)
    else:
        model = kind.make(chip, variant or own_variant(chip))
    actions = {
        action: Action(
            override.energy_pj.get(action, model.actions[action].energy_pj),
            override.interval_ps.get(action, model.actions[action].interval_ps),
        )
        for action in kind.actions
    }
    area = model.area_um2 if override.area_um2 is None else override.area_um2
    return Estimate(actions, area, model.leakage_mw if override.leakage_mw is None else override.leakage_mw)


def bill(chip: ChipConfig, variant: Variant | None = None, opcs: float | None = None) -> tuple[Part, ...]:
    """All parts of one chip.

    Args:
        variant: of the output peripheral; the chip's own otherwise. opcs: how many there are on the chip; one behind
            every block of crossbars otherwise.

    Raises:
        UserError: a structure that a model does not cover.
    """
    count = units(chip)
    if opcs is not None:
        count["opc"] = opcs
    parts = [
        Part(name, kind.part, LEVELS.get(kind.per, "ima"), kind.state, count[kind.per], estimate(chip, name, variant))
        for name, kind in ranked().items()
        if kind.on(chip)
    ]
    for name, own in chip.further.items():
        parts.append(
            Part(
                name,
                "package" if own.per == "chip" else "further parts",
                LEVELS.get(own.per, "ima"),
                "held",
                count[own.per] * own.count,
                Estimate({}, own.area_um2, 0.0),
                static_mw=own.power_mw if own.static else 0.0,
                nameplate_mw=0.0 if own.static else own.power_mw,
            )
        )
    return tuple(parts)


def prices(chip: ChipConfig) -> dict[str, float]:
    """Dynamic energy of every action that can happen on this chip, pJ."""
    found = {action: a.energy_pj for part in bill(chip) for action, a in part.estimate.actions.items()}
    return {action: found.get(action, 0.0) for action in ACTIONS}


def with_followers(chip: ChipConfig, counts: dict[str, int]) -> dict[str, int]:
    """Counts of actions, those added that accompany others (``Component.follows``)."""
    own: dict[str, int] = {}
    for kind in COMPONENTS.values():
        if kind.on(chip):
            own |= {action: counts[other] for action, other in kind.follows.items() if other in counts}
    return {**counts, **own}
