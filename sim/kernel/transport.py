"""One call carries work to a module and comes back annotated with time (the idea of TLM-2.0's blocking transport).

A timing model, a NumPy model and the RTL can all be the ``Target`` behind the same call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from simpy.events import Timeout

from crossvote.sim.kernel.simulation import Simulation


@dataclass(eq=False)
class Transaction:
    """Token vectors on their way through a module.

    Attributes:
        label: what the timeline calls it. vectors: number of token vectors.
        request: int[vectors, K] integers that go in, or None where only time is simulated.
        response: int64[vectors, N] what came out, filled in by a target that computes.
    """

    label: str
    vectors: int = 1
    request: NDArray[np.integer] | None = None
    response: NDArray[np.int64] | None = None


class Target(Protocol):
    """Whatever answers a transport call."""

    def transport(self, transaction: Transaction, arrival_ps: int) -> tuple[int, int]:
        """Do the work of ``transaction``, which arrives at ``arrival_ps``.

        Returns:
            (accepted, finished), ps: when the target is ready to be offered the next one, and when this one is done.
        """
        ...


class LocalTime:
    """A process's own clock, which may run ahead of the simulation by up to a quantum (loose timing).

    ``spend`` advances it without an event; once ``due``, the process yields ``synchronise()``. A quantum of 0 is exact.
    """

    def __init__(self, simulation: Simulation, quantum_ps: int) -> None:
        self.simulation, self.quantum_ps, self.ahead_ps = simulation, quantum_ps, 0

    @property
    def now(self) -> int:
        """Local time, ps."""
        return self.simulation.now + self.ahead_ps

    def spend(self, ps: int) -> None:
        """Let ``ps`` pass locally."""
        self.ahead_ps += ps

    @property
    def due(self) -> bool:
        """True when local time is a quantum or more ahead."""
        return self.ahead_ps > 0 and self.ahead_ps >= self.quantum_ps

    def synchronise(self) -> Timeout:
        """The event at which the simulation has caught up with local time."""
        ahead, self.ahead_ps = self.ahead_ps, 0
        return self.simulation.delay(ahead)
