"""The discrete-event kernel: named modules, bounded FIFOs, bookings and transactions on SimPy's clock.

How to add a component is told in ``docs/system-model.md``.
"""

from crossvote.sim.kernel.booking import Booking, BookingArray
from crossvote.sim.kernel.clocked import clocked
from crossvote.sim.kernel.fifo import NOTHING, Fifo
from crossvote.sim.kernel.repetition import Period, Repetition
from crossvote.sim.kernel.simulation import DeadlockError, Measurement, Module, Resume, Simulation, Wait, Worker
from crossvote.sim.kernel.trace import Trace
from crossvote.sim.kernel.transport import LocalTime, Target, Transaction

__all__ = [
    "NOTHING",
    "Booking",
    "BookingArray",
    "DeadlockError",
    "Fifo",
    "LocalTime",
    "Measurement",
    "Module",
    "Period",
    "Repetition",
    "Resume",
    "Simulation",
    "Target",
    "Trace",
    "Transaction",
    "Wait",
    "Worker",
    "clocked",
]
