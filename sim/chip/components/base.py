"""What a component model answers, and how it refuses what it does not know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crossvote.sim.common.errors import UserError

#: Feature size that all models stand for, nm.
NODE_NM = 32


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
