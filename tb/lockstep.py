"""A system of SimPy processes in lock-step with the simulator that runs this bench: the simulator keeps the time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from cocotb.handle import HierarchyObject
from cocotb.triggers import RisingEdge
from simpy.events import Event

from crossvote.sim.kernel import Fifo, Module, Simulation
from crossvote.sim.kernel.clocked import offered, transfer


class Surroundings:
    """A producer and a consumer at odd times around a component, with two small FIFOs and a log of what happens when.

    Args:
        items: what the producer puts. outputs: how many the consumer takes. seed: of their pauses, ps.
    """

    def __init__(self, items: Iterable[int], outputs: int, pause_ps: int, seed: int) -> None:
        self.simulation = Simulation()
        self.source, self.sink = Fifo(self.simulation, "source", 2), Fifo(self.simulation, "sink", 1)
        self.log: list[tuple[int, str, int]] = []
        rng = np.random.default_rng(seed)
        sends, takes = (np.random.default_rng(s) for s in rng.integers(0, 1 << 32, 2))
        self.done: Event = self.simulation.start(
            Module(self.simulation, "consumer"), self._consume(outputs, pause_ps, takes)
        )
        self.simulation.start(Module(self.simulation, "producer"), self._produce(items, pause_ps, sends))

    def _produce(self, items: Iterable[int], pause_ps: int, rng: np.random.Generator):  # type: ignore[no-untyped-def]
        for item in items:
            # Now and then a burst, so that the component also holds the producer back.
            yield self.simulation.delay(int(rng.integers(0, pause_ps)) if rng.random() < 0.3 else 0)
            yield self.source.put(item)
            self.log.append((self.simulation.now, "put", item))

    def _consume(self, outputs: int, pause_ps: int, rng: np.random.Generator):  # type: ignore[no-untyped-def]
        for _ in range(outputs):
            yield self.simulation.delay(int(rng.integers(0, 2 * pause_ps)))
            item = yield self.sink.get()
            self.log.append((self.simulation.now, "got", item))


async def lockstep(dut: HierarchyObject, around: Surroundings, period_ps: int, patience: int) -> None:
    """Run until the consumer is done. Call right after an edge, which is time 0; the clock must run.

    Raises:
        AssertionError: the consumer is not done after ``patience`` cycles.
    """
    simulation, now = around.simulation, 0
    for _ in range(patience):
        simulation.advance(now + period_ps - 1)
        if around.done.triggered:
            return
        item, room = offered(around.source, around.sink)
        dut.i__valid.value, dut.o__ready.value = item is not None, room
        dut.i__payload.value = item or 0
        await RisingEdge(dut.clk)
        now += period_ps
        simulation.env._now = now
        accepted = item is not None and bool(dut.i__ready.value)
        output = int(dut.o__payload.value) if room and bool(dut.o__valid.value) else None
        transfer(around.source, around.sink, accepted, output)
    raise AssertionError(f"the consumer is not done after {patience} cycles.")
