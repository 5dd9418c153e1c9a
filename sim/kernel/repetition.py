"""A stream reaches a state that it was in before; from then on everything repeats, and need not be simulated again.

Exact, not an approximation: two instants with equal ``Simulation.state`` are followed by equal events. So the time
between them is a period, whole periods are skipped, and what was counted and logged within one is counted and logged
once more for each.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from crossvote.sim.kernel.simulation import Simulation

#: Instants that are remembered.
MEMORY = 512


@dataclass(frozen=True)
class Period:
    """What repeats: ``items`` of the stream every ``time_ps``; known when item ``first`` was offered."""

    items: int
    time_ps: int
    first: int


@dataclass(frozen=True)
class _Instant:
    index: int
    time_ps: int
    logged: int
    counters: dict[str, dict[str, int]]


class Repetition:
    """Watches a stream of items, each of which is offered at the same place of the same process.

    Args:
        relative: (something, number of the item that is about to be offered) to what matters of it at that instant, or
            None; items are described by their distance from that number.
    """

    def __init__(self, simulation: Simulation, relative: Callable[[Any, int], Hashable], enabled: bool = True) -> None:
        self.simulation, self.relative, self.enabled = simulation, relative, enabled
        self.period: Period | None = None
        self.skipped = 0
        self._seen: dict[bytes, _Instant] = {}
        self._log: list[tuple[str, int, int]] = []
        self._between: tuple[_Instant, _Instant] | None = None

    @property
    def _times(self) -> int:
        return self.skipped // self.period.items if self.period else 0

    def log(self, what: str, index: int, time_ps: int | None = None) -> None:
        """Something happens to item ``index``, now or at a time that is known already."""
        self._log.append((what, index, self.simulation.now if time_ps is None else time_ps))

    def look(self, index: int, total: int) -> int:
        """Item ``index`` of ``total`` is about to be offered; how many need not be, because all would repeat itself."""
        if not self.enabled or self.period:
            return 0
        state = self.simulation.state(lambda item: self.relative(item, index))
        counters = {path: module.snapshot() for path, module in self.simulation.modules.items()}
        now = _Instant(index, self.simulation.now, len(self._log), counters)
        before = self._seen.get(state)
        if before is None:
            if len(self._seen) < MEMORY:
                self._seen[state] = now
            return 0
        self.period = Period(index - before.index, now.time_ps - before.time_ps, index)
        self._between = (before, now)
        self._seen.clear()
        self.skipped = (total - index) // self.period.items * self.period.items
        return self.skipped

    def finish(self) -> None:
        """After the run: count the periods that were skipped, and let their time have passed."""
        if not self._times or self._between is None or self.period is None:
            return
        before, now = self._between
        for path, module in self.simulation.modules.items():
            module.snapshot()
            gained = {name: value - before.counters[path].get(name, 0) for name, value in now.counters[path].items()}
            module.extend(gained, self._times)
        self.simulation.env._now += self._times * self.period.time_ps

    def events(self) -> list[tuple[str, int, int]]:
        """The log (what, item, ps) of the whole stream, what was skipped included."""
        if not self._times or self._between is None or self.period is None:
            return list(self._log)
        first, last = (instant.logged for instant in self._between)
        items, time = self.period.items, self.period.time_ps
        repeated = [
            (what, index + n * items, at + n * time)
            for n in range(1, self._times + 1)
            for what, index, at in self._log[first:last]
        ]
        shift, later = self._times * items, self._times * time
        return [
            *self._log[:last],
            *repeated,
            *((what, index + shift, at + later) for what, index, at in self._log[last:]),
        ]
