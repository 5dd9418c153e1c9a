"""What a component is, what its model answers, and how it refuses what it does not know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from crossvote.sim.chip.sections import (
    AdcConfig,
    CellConfig,
    CrossbarConfig,
    DacConfig,
    DigitalConfig,
    NetworkConfig,
    OpcConfig,
    PipelineConfig,
    TileConfig,
)
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.registry import Registry

#: Feature size that all models stand for, nm.
NODE_NM = 32
#: Shortest period of clocked logic and memory at this node, ps: published chips run at 1 to 1.2 GHz (PUMA, ISAAC).
FASTEST_CLOCK_PS = 500


@dataclass(frozen=True)
class Action:
    """One kind of action of one instance: dynamic energy (pJ), and least time from one to the next (ps; 0: none)."""

    energy_pj: float
    interval_ps: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """What one instance of a component costs.

    Attributes:
        actions: by name. area_um2. leakage_mw: drawn whenever the instance is powered, working or not.
    """

    actions: Mapping[str, Action]
    area_um2: float
    leakage_mw: float

    @property
    def peak_mw(self) -> float:
        """Power when every action happens as often as the instance can do it: what data sheets call its power."""
        rates = sum(a.energy_pj / a.interval_ps for a in self.actions.values() if a.interval_ps)
        return self.leakage_mw + 1e3 * rates


#: What is built around the shift-and-add: fixed bit lines; a writable map; the median as well; scaling as well.
Variant = Literal["plain", "map", "map + voter", "map + voter + scale"]
Per = Literal["row", "column", "crossbar", "adc", "opc", "ima", "tile", "router", "mac", "lane", "kv_byte", "chip"]
#: What may be switched off between two operations, and what must stay on while its tile holds something.
State = Literal["idle", "held"]


class Structure(Protocol):
    """What component models read of a chip, which ``crossvote.sim.chip.config.ChipConfig`` is."""

    @property
    def name(self) -> str: ...
    @property
    def crossbar(self) -> CrossbarConfig: ...
    @property
    def cell(self) -> CellConfig: ...
    @property
    def dac(self) -> DacConfig: ...
    @property
    def adc(self) -> AdcConfig: ...
    @property
    def opc(self) -> OpcConfig: ...
    @property
    def pipeline(self) -> PipelineConfig: ...
    @property
    def tile(self) -> TileConfig: ...
    @property
    def network(self) -> NetworkConfig: ...
    @property
    def digital(self) -> DigitalConfig: ...
    @property
    def slices(self) -> int: ...


#: The model of a component: what one instance costs on a chip whose output peripheral is of a variant.
Make = Callable[[Structure, Variant], Estimate]


@dataclass(frozen=True)
class Component:
    """A kind of component.

    Attributes:
        part: the line of the report that it belongs to. per: what each instance belongs to.
        actions: that only it performs.
        state: "idle" units can be switched off between operations; "held" ones keep data. make: the model.
        rank: its place in lists, ascending along the way of a token. on: chips that have it.
        follows: own action -> action of another component that it accompanies, one for one; it is counted with that.
    """

    part: str
    per: Per
    actions: tuple[str, ...]
    state: State
    make: Make
    rank: int
    on: Callable[[Structure], bool]
    follows: Mapping[str, str] = field(default_factory=dict)


COMPONENTS: Registry[Component] = Registry("component", "crossvote.sim.chip.components")


def component(
    name: str,
    *,
    part: str,
    per: Per,
    actions: tuple[str, ...],
    state: State,
    rank: int = 1000,
    on: Callable[[Structure], bool] = lambda chip: True,
    follows: Mapping[str, str] | None = None,
) -> Callable[[Make], Make]:
    """Decorator: make a model known as the component ``name``; see ``Component`` for the rest."""

    def add(make: Make) -> Make:
        COMPONENTS.register(name)(Component(part, per, actions, state, make, rank, on, follows or {}))
        return make

    return add


def within(key: str, value: float, low: float, high: float, component: str, source: str) -> None:
    """Refuse a value outside the range of a model.

    Raises:
        UserError: naming the key, the range, where it comes from, and the way out.
    """
    if not low <= value <= high:
        raise UserError(
            f"{key} = {value:g} is outside what the model of '{component}' covers, {low:g} to {high:g} ({source}); "
            f"give measured numbers in [override.{component}]."
        )


def within_clock(key: str, period_ps: float, component: str, published: str) -> None:
    """Refuse a clock above 2 GHz. published: the one that was published, and whose."""
    within(key, period_ps, FASTEST_CLOCK_PS, 1e12, component, f"{published}, extrapolated to 2 GHz")
