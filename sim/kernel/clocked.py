"""A clocked component, such as RTL, between two FIFOs, cycle by cycle.

Two hosts give identical logs: here SimPy keeps the time and calls the RTL at every edge; in ``tb.lockstep`` a Verilog
simulator keeps it and lets the simulation catch up. In both, an edge sees the FIFOs as they are before anything else
of its instant happens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simpy.events import URGENT, Event

from crossvote.sim.kernel.fifo import Fifo
from crossvote.sim.kernel.simulation import Behaviour, Simulation

#: One clock cycle: (offered input or None, output is taken) to (input accepted, output or None).
Step = Callable[[Any, bool], tuple[bool, Any]]


def edge(simulation: Simulation, period_ps: int) -> Event:
    """The next clock edge; it comes before ordinary events of its instant."""
    event = Event(simulation.env)
    event._ok, event._value = True, None
    simulation.env.schedule(event, URGENT, period_ps)
    return event


def offered(source: Fifo, sink: Fifo) -> tuple[Any, bool]:
    """What an edge sees: the oldest waiting item or None, and whether there is room behind the component."""
    return source.head, sink.taken < sink.capacity


def transfer(source: Fifo, sink: Fifo, accepted: bool, output: Any) -> None:
    """What an edge does: take the offered item, deliver an output."""
    if accepted:
        source.get()
    if output is not None:
        sink.put(output)


def clocked(simulation: Simulation, period_ps: int, step: Step, source: Fifo, sink: Fifo) -> Behaviour:
    """Process of a component that is stepped once per period: SimPy is the host."""
    while True:
        yield edge(simulation, period_ps)
        transfer(source, sink, *step(*offered(source, sink)))
