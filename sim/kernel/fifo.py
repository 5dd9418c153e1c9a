"""Bounded queues with back-pressure."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Any

from simpy.events import Event, Process

from crossvote.sim.kernel.simulation import Key, Measurement, Module, Over, Resume, Simulation, Wait, Worker

#: What ``take`` answers when there is no item.
NOTHING = object()


class Fifo(Module):
    """A queue with ``capacity`` places between modules.

    A writer puts an item, or reserves a place first and delivers the item later (the item is on its way: credit-based
    flow control). A reader gets items in the order of delivery; it may keep the place and free it later. Every call
    is O(1). ``put``, ``reserve`` and ``get`` return an event to ``yield``; where nothing has to be waited for it is
    already over and costs no trip through the event queue.

    Raises:
        ValueError: a capacity below 1.
    """

    counters = ("arrivals", "departures", "level_time", "waited_ps")

    def __init__(self, parent: Module | Simulation, name: str, capacity: int) -> None:
        super().__init__(parent, name)
        if capacity < 1:
            raise ValueError(f"{self.path}: a FIFO needs a capacity of at least 1, not {capacity}.")
        self.capacity = capacity
        self._env: Any = self.simulation.env  # whose time is an integer here
        self.taken = self.peak_taken = 0
        self.arrivals = self.departures = 0
        self.level_time = self.waited_ps = 0
        self._last_change = 0
        self._items: deque[tuple[Any, int]] = deque()
        self._getters: deque[tuple[Event, bool]] = deque()
        self._reservers: deque[tuple[Event, Any]] = deque()
        self.writers: set[Process | Worker] = set()
        self.readers: set[Process | Worker] = set()

    def progress(self) -> int:
        return self.arrivals + self.departures

    def snapshot(self) -> dict[str, int]:
        self._count(self.simulation.now)
        return super().snapshot()

    def state(self, key: Key) -> Hashable:
        now, name = self.simulation.now, self.simulation.waiting
        return (
            self.taken,
            tuple((key(item), now - since) for item, since in self._items),
            tuple((name(event), keep) for event, keep in self._getters),
            tuple((name(event), key(item)) for event, item in self._reservers),
        )

    def __len__(self) -> int:
        """Items that wait to be taken."""
        return len(self._items)

    @property
    def head(self) -> Any:
        """The item that ``get`` would return now, or None."""
        return self._items[0][0] if self._items else None

    def reserve(self) -> Event:
        """Wait for a place and take it; ``deliver`` fills it."""
        return self._place(NOTHING)

    def put(self, item: Any) -> Event:
        """Wait for a place and deliver ``item`` into it."""
        return self._place(item)

    def deliver(self, item: Any) -> None:
        """Fill a reserved place."""
        self.arrivals += 1
        if self._getters:
            event, keep = self._getters.popleft()
            self.departures += 1
            if not keep:
                self.taken -= 1
                if self._reservers:
                    self._admit()
            event.succeed(item)
            return
        now = self._env._now
        items = self._items
        self.level_time += len(items) * (now - self._last_change)
        self._last_change = now
        items.append((item, now))
        if self.simulation.trace is not None:
            self.simulation.trace.counter(self.path, now, len(self._items))

    def get(self, keep_place: bool = False) -> Event:
        """Wait for the next item; the event's value is the item."""
        env = self.simulation.env
        if env._active_proc is not None:
            self.readers.add(env._active_proc)
        if not self._items:
            event = Wait(env, self._empty, lambda: self.writers)
            self._getters.append((event, keep_place))
            return event
        return Over(env, self._pop(keep_place))

    def _pop(self, keep_place: bool) -> Any:
        now, items = self._env._now, self._items
        self.level_time += len(items) * (now - self._last_change)
        self._last_change = now
        item, since = items.popleft()
        self.waited_ps += now - since
        self.departures += 1
        if self.simulation.trace is not None:
            self.simulation.trace.counter(self.path, now, len(items))
        if not keep_place:
            self.taken -= 1
            if self._reservers:
                self._admit()
        return item

    def take(self, resume: Resume, keep_place: bool = False) -> Any:
        """As ``get`` for a worker: the next item, or ``NOTHING``, and ``resume`` brings it later."""
        if not self._items:
            resume.wait(self._empty, self._writing)
            self._getters.append((resume, keep_place))
            return NOTHING
        return self._pop(keep_place)

    def claim(self, resume: Resume) -> bool:
        """As ``reserve`` for a worker: whether there was a place; otherwise ``resume`` tells when there is."""
        if self.taken >= self.capacity:
            resume.wait(self._full, self._reading)
            self._reservers.append((resume, NOTHING))
            return False
        self._take()
        return True

    def free(self, places: int = 1) -> None:
        """Give back places whose items were taken with ``keep_place``."""
        self.taken -= places
        self._admit()

    def _admit(self) -> None:
        while self._reservers and self.taken < self.capacity:
            event, item = self._reservers.popleft()
            self._take()
            if item is not NOTHING:
                self.deliver(item)
            event.succeed()

    def _place(self, item: Any) -> Event:
        env = self.simulation.env
        if env._active_proc is not None:
            self.writers.add(env._active_proc)
        if self.taken >= self.capacity:
            event = Wait(env, self._full, lambda: self.readers)
            self._reservers.append((event, item))
            return event
        self._take()
        if item is not NOTHING:
            self.deliver(item)
        return self.simulation.over

    def _take(self) -> None:
        self.taken += 1
        if self.taken > self.peak_taken:
            self.peak_taken = self.taken

    def _count(self, now: int) -> None:
        self.level_time += len(self._items) * (now - self._last_change)
        self._last_change = now

    def _writing(self) -> set[Process | Worker]:
        return self.writers

    def _reading(self) -> set[Process | Worker]:
        return self.readers

    def _empty(self) -> str:
        return f"an item of {self.path} (empty)"

    def _full(self) -> str:
        return f"a place in {self.path} ({self.taken} of {self.capacity} taken)"

    def measurements(self) -> dict[str, Measurement]:
        self._count(self.simulation.now)
        return {
            "items": Measurement(self.departures, "items", "items taken"),
            "peak": Measurement(self.peak_taken, "places", f"most places taken at once, of {self.capacity}"),
            "level": Measurement(
                self.level_time / max(1, self.simulation.now), "items", "mean number of waiting items, from the level"
            ),
            "wait": Measurement(
                self.waited_ps / max(1, self.departures), "ps", "mean wait of an item, from its two timestamps"
            ),
        }
