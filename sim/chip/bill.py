"""What a chip consists of and what each part costs: component models put together after its structure.

A component has a name, a place in the hierarchy, and the actions that only it performs; ``COMPONENTS`` is the list of
them, and adding one is adding an entry. ``[override.NAME]`` of the chip file replaces what its model says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from crossvote.rtl.parameters import OpcParameters
from crossvote.sim.chip.components.actions import COMPONENT_ACTIONS
from crossvote.sim.chip.components.adc import adc
from crossvote.sim.chip.components.array import array
from crossvote.sim.chip.components.base import Action, Estimate
from crossvote.sim.chip.components.digital import adder, cim_byte, mac_unit, vector_lane
from crossvote.sim.chip.components.driver import driver, sample_hold
from crossvote.sim.chip.components.memory import bus, edram, sram
from crossvote.sim.chip.components.opc import Variant, opc, shift_add, variant_of
from crossvote.sim.chip.components.router import router
from crossvote.sim.chip.config import ChipConfig, OverrideConfig
from crossvote.sim.common.errors import UserError

Per = Literal["row", "column", "crossbar", "adc", "opc", "ima", "tile", "router", "mac", "lane", "kv_byte", "chip"]
#: What may be switched off between two operations, and what must stay on while its tile holds something.
State = Literal["idle", "held"]


@dataclass(frozen=True)
class Component:
    """A kind of component.

    Attributes:
        part: the line of the report that it belongs to. per: what each instance belongs to.
        actions: that it performs. state: "idle" units can be switched off between operations; "held" ones keep data.
        make: the model. on: chips that have it.
    """

    part: str
    per: Per
    actions: tuple[str, ...]
    state: State
    make: Callable[[ChipConfig, Variant], Estimate]
    on: Callable[[ChipConfig], bool] = lambda chip: True


def opc_parameters(chip: ChipConfig) -> OpcParameters:
    """The RTL's parameters for a chip.

    Raises:
        UserError: sizes that the RTL cannot have.
    """
    o = chip.opc
    try:
        return OpcParameters(
            columns=o.columns,
            lanes=o.lanes,
            planes=o.planes,
            input_bits=o.input_bits,
            adc_bits=chip.adc.bits,
            row_blocks=o.row_blocks,
            voter=o.voter,
            column_map=o.column_map,
            scale_bits=o.scale_bits,
        )
    except ValueError as error:
        raise UserError(f"chip '{chip.name}': the output peripheral cannot be built: {error}") from None


def own_variant(chip: ChipConfig) -> Variant:
    """What the chip file says its output peripheral has."""
    return variant_of(opc_parameters(chip)) if _rtl(chip) else "plain"


def _input_bytes(chip: ChipConfig) -> int:
    """One token's inputs of every crossbar of an IMA: ISAAC's 2 KB at 8 crossbars of 128 rows and 16 bits."""
    return chip.tile.crossbars_per_ima * chip.crossbar.rows * -(-chip.opc.input_bits // 8)


def _output_bytes(chip: ChipConfig) -> int:
    """One token's outputs of every crossbar of an IMA: ISAAC's 256 bytes at 8 crossbars of 16 outputs of 16 bits."""
    outputs = max(1, chip.crossbar.columns // chip.slices)
    return max(64, chip.tile.crossbars_per_ima * outputs * -(-chip.opc.input_bits // 8))


def _rtl(chip: ChipConfig) -> bool:
    return chip.pipeline.peripheral == "rtl"


COMPONENTS: dict[str, Component] = {
    "crossbar": Component(
        "crossbars",
        "crossbar",
        COMPONENT_ACTIONS["crossbar"],
        "held",
        lambda c, _: array(c.crossbar.rows, c.crossbar.columns, c.crossbar.read_ps, c.cell.write_pj),
    ),
    "driver": Component(
        "drivers",
        "row",
        COMPONENT_ACTIONS["driver"],
        "idle",
        lambda c, _: driver(c.crossbar.columns, c.dac.bits, c.crossbar.read_ps),
    ),
    "sample_hold": Component(
        "ADCs", "column", COMPONENT_ACTIONS["sample_hold"], "idle", lambda c, _: sample_hold(c.crossbar.read_ps)
    ),
    "adc": Component(
        "ADCs", "adc", COMPONENT_ACTIONS["adc"], "idle", lambda c, _: adc(c.adc.bits, c.adc.conversion_ps)
    ),
    "opc": Component(
        "output peripheral",
        "opc",
        COMPONENT_ACTIONS["opc"],
        "idle",
        lambda c, variant: opc(opc_parameters(c), variant, c.opc.clock_ps),
        _rtl,
    ),
    "shift_add": Component(
        "output peripheral",
        "ima",
        COMPONENT_ACTIONS["shift_add"],
        "idle",
        # ISAAC has four of them for eight converters; here one stands for all of an IMA.
        lambda c, _: _times(
            shift_add(2, c.adc.conversion_ps),
            max(1.0, c.tile.crossbars_per_ima * c.adc.per_crossbar / c.adc.shared_by / 2),
        ),
        lambda c: not _rtl(c),
    ),
    "input_register": Component(
        "tile memory",
        "ima",
        COMPONENT_ACTIONS["input_register"],
        "held",
        lambda c, _: sram(_input_bytes(c), "input_register", "input_byte"),
    ),
    "output_register": Component(
        "tile memory",
        "ima",
        COMPONENT_ACTIONS["output_register"],
        "held",
        lambda c, _: sram(_output_bytes(c), "output_register", "output_byte"),
    ),
    "buffer": Component(
        "tile memory",
        "tile",
        COMPONENT_ACTIONS["buffer"],
        "held",
        lambda c, _: edram(c.tile.buffer_bytes, c.tile.buffer_ps, c.tile.buffer_ports, c.tile.buffer_bits),
    ),
    "bus": Component(
        "tile memory", "tile", COMPONENT_ACTIONS["bus"], "held", lambda c, _: bus(c.tile.bus_bits, c.tile.bus_ps)
    ),
    "router": Component(
        "network",
        "router",
        COMPONENT_ACTIONS["router"],
        "held",
        lambda c, _: router(c.network.tiles_per_router + 4, c.network.flit_bits, c.network.link_ps),
    ),
    "adder": Component(
        "vector units", "tile", COMPONENT_ACTIONS["adder"], "idle", lambda c, _: adder(c.digital.clock_ps)
    ),
    "attention": Component(
        "attention", "mac", COMPONENT_ACTIONS["attention"], "idle", lambda c, _: mac_unit(c.digital.clock_ps)
    ),
    "attention_cim": Component(
        "attention",
        "kv_byte",
        COMPONENT_ACTIONS["attention_cim"],
        "held",
        lambda c, _: cim_byte(),
        lambda c: c.digital.attention == "sram-cim",
    ),
    "vector": Component(
        "vector units", "lane", COMPONENT_ACTIONS["vector"], "idle", lambda c, _: vector_lane(c.digital.clock_ps)
    ),
}

#: Every action, and the part of the report that it belongs to.
PARTS: dict[str, str] = {action: kind.part for kind in COMPONENTS.values() for action in kind.actions}
ACTIONS: tuple[str, ...] = tuple(PARTS)


def _times(one: Estimate, count: float) -> Estimate:
    """``count`` instances that stand for one."""
    actions = {name: Action(a.energy_pj, a.interval_ps / count) for name, a in one.actions.items()}
    return Estimate(actions, one.area_um2 * count, one.leakage_mw * count)


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
        UserError: an override of an unknown component or action, or a structure that a model does not cover.
    """
    unknown = [name for name in chip.override if name not in COMPONENTS]
    if unknown:
        raise UserError(
            f"chip '{chip.name}': there is no component '{unknown[0]}' to override; there are {', '.join(COMPONENTS)}."
        )
    count = units(chip)
    if opcs is not None:
        count["opc"] = opcs
    parts = [
        Part(name, kind.part, LEVELS.get(kind.per, "ima"), kind.state, count[kind.per], estimate(chip, name, variant))
        for name, kind in COMPONENTS.items()
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
