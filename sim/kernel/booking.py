"""Next-free-time arithmetic for FIFO servers: one event per operation instead of three.

Valid for servers that serve in the order of arrival and are booked in that order; then start, wait and end follow
from the times at which the servers become free, without simulating the queue.
"""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapreplace

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.kernel.simulation import Key, Measurement, Module, Simulation

IntArray = NDArray[np.int64]


def _out_of_order(path: str, label: str, arrival_ps: int, last_ps: int) -> str:
    return (
        f"{path}: operation '{label}' arrives at {arrival_ps} ps, before one at {last_ps} ps that is booked already; "
        "book in order of arrival."
    )


class Booking(Module):
    """``servers`` equal servers with one queue, first come, first served. Booking is O(log servers).

    Raises:
        ValueError: fewer than one server; in ``book``, an operation that arrives before one that is booked already,
            for which this arithmetic would be wrong.
    """

    counters = ("operations", "busy_ps", "wait_ps")

    def __init__(self, parent: Module | Simulation, name: str, servers: int = 1) -> None:
        super().__init__(parent, name)
        if servers < 1:
            raise ValueError(f"{self.path}: needs at least one server, not {servers}.")
        self.servers = servers
        self.operations = self.busy_ps = self.wait_ps = 0
        self._free = [(0, slot) for slot in range(servers)]
        self._last_ps = 0

    def book(
        self, arrival_ps: int, occupied_ps: int, latency_ps: int | None = None, label: str = ""
    ) -> tuple[int, int]:
        """Serve an operation that arrives at ``arrival_ps``; returns (start, end) in ps.

        The server that is free first takes it at max(arrival, free), is free again ``occupied_ps`` later (the
        initiation interval), and the result is there ``latency_ps`` after the start (default: ``occupied_ps``).
        """
        if arrival_ps < self._last_ps:
            raise ValueError(_out_of_order(self.path, label, arrival_ps, self._last_ps))
        self._last_ps = arrival_ps
        free, slot = self._free[0]
        start = free if free > arrival_ps else arrival_ps
        if self.servers == 1:
            self._free[0] = (start + occupied_ps, slot)
        else:
            heapreplace(self._free, (start + occupied_ps, slot))
        self.operations += 1
        self.busy_ps += occupied_ps
        self.wait_ps += start - arrival_ps
        end = start + (occupied_ps if latency_ps is None else latency_ps)
        if self.simulation.trace is not None:
            self.simulation.trace.span(self.path, slot, label, start, start + occupied_ps)
        return start, end

    def state(self, key: Key) -> Hashable:
        now = self.simulation.now
        return tuple(sorted(max(0, free - now) for free, _ in self._free))

    def utilisation(self, elapsed_ps: int) -> float:
        """Busy share of all servers over ``elapsed_ps``."""
        return self.busy_ps / (self.servers * elapsed_ps) if elapsed_ps else 0.0

    def measurements(self) -> dict[str, Measurement]:
        return {
            "operations": Measurement(self.operations, "operations", "operations served"),
            "busy": Measurement(self.busy_ps, "ps", f"busy time of {self.servers} server(s) together"),
            "wait": Measurement(self.wait_ps / max(1, self.operations), "ps", "mean wait for a server"),
            "utilisation": Measurement(self.utilisation(self.simulation.now), "1", "busy share of the elapsed time"),
        }


class BookingArray(Module):
    """Many single servers that work in step: every server does a part of each operation, always as much later.

    Part i of an operation that arrives at t reaches server i at t + ``offset_ps[i]``. Then server i always starts
    ``offset_ps[i]`` after a server without an offset would, because start = max(arrival, last start + occupied) holds
    for both; so one next-free time stands for all of them, and booking is O(1), exactly.

    Attributes:
        offset_ps: int64[servers]. busy_ps: busy time of all together.
        served: operations; every server takes part in each.

    Raises:
        ValueError: no server, or an offset below 0; in ``book``, an operation that arrives before one that is booked
            already.
    """

    counters = ("served", "busy_ps")

    def __init__(self, parent: Module | Simulation, name: str, offset_ps: IntArray) -> None:
        super().__init__(parent, name)
        self.offset_ps = np.asarray(offset_ps, np.int64)
        if not len(self.offset_ps) or self.offset_ps.min() < 0:
            raise ValueError(f"{self.path}: needs at least one server, and offsets of at least 0.")
        self.servers, self._latest = len(self.offset_ps), int(self.offset_ps.max())
        self.served = self.busy_ps = 0
        self._free = self._last_ps = 0

    def book(self, arrival_ps: int, occupied_ps: int, latency_ps: int, label: str = "") -> tuple[int, int]:
        """Every server does its part as soon as it can: (latest start, latest end), ps."""
        if arrival_ps < self._last_ps:
            raise ValueError(_out_of_order(self.path, label, arrival_ps, self._last_ps))
        self._last_ps = arrival_ps
        start = self._free if self._free > arrival_ps else arrival_ps
        self._free = start + occupied_ps
        self.served += 1
        self.busy_ps += occupied_ps * self.servers
        last = start + self._latest
        if self.simulation.trace is not None:
            self.simulation.trace.span(self.path, 0, label, last, last + occupied_ps)
        return last, last + latency_ps

    @property
    def free(self) -> IntArray:
        """int64[servers], when each is free, ps."""
        return self._free + self.offset_ps

    def state(self, key: Key) -> Hashable:
        return max(0, self._free - self.simulation.now)

    @property
    def operations(self) -> int:
        """Operations of all servers together."""
        return self.served * self.servers

    def utilisation(self, elapsed_ps: int) -> float:
        """Busy share of all servers over ``elapsed_ps``."""
        return self.busy_ps / (self.servers * elapsed_ps) if elapsed_ps else 0.0

    def measurements(self) -> dict[str, Measurement]:
        return {
            "operations": Measurement(self.operations, "operations", "operations of all servers together"),
            "busy": Measurement(self.busy_ps, "ps", f"busy time of {self.servers} server(s) together"),
            "utilisation": Measurement(self.utilisation(self.simulation.now), "1", "busy share of the elapsed time"),
        }
