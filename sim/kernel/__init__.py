"""The discrete-event kernel: named modules, bounded FIFOs, bookings and transactions on SimPy's clock.

How to add a component is told in ``docs/system-model.md``.
"""

from sim.kernel.booking import Booking, BookingArray
from sim.kernel.clocked import clocked
from sim.kernel.fifo import Fifo
from sim.kernel.simulation import DeadlockError, Measurement, Module, Simulation, Wait
from sim.kernel.trace import Trace
from sim.kernel.transport import LocalTime, Target, Transaction

__all__ = [
    "Booking",
    "BookingArray",
    "DeadlockError",
    "Fifo",
    "LocalTime",
    "Measurement",
    "Module",
    "Simulation",
    "Target",
    "Trace",
    "Transaction",
    "Wait",
    "clocked",
]
