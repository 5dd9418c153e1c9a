"""The parts of the pipeline that every token passes: crossbars of a group, transfers, digital units, and stages."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from simpy.events import Event

from crossvote.rtl.parameters import OpcParameters
from crossvote.sim.chip.components.opc import opc_parameters
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.kernel import (
    NOTHING,
    Booking,
    BookingArray,
    Fifo,
    Module,
    Resume,
    Target,
    Trace,
    Transaction,
    Wait,
    Worker,
)
from crossvote.sim.kernel.simulation import Key
from crossvote.sim.system.group_work import GroupWork
from crossvote.sim.system.network import Network, Route
from crossvote.sim.system.placement import GroupPlace


@dataclass(eq=False)
class Token(Transaction):
    """One token vector of one sequence."""

    sequence: int = 0
    position: int = 0


@dataclass(frozen=True)
class GroupTiming:
    """Time of one token vector in the crossbars of a word-line group.

    All crossbars of a group work in step, so the slowest sets the pace. Reads, conversions and the output peripheral
    form a pipeline with one read per cycle; vote = "output" makes one OPC serve all row blocks in turn.

    ``measured`` are clock cycles of the OPC: interval between vectors, and last beat to last output. Without it they
    follow from the RTL's formula for the OPC that serves most bit lines. ``tile`` are those of a whole tile, reads and
    conversions included: interval between vectors, and first activation in to last output out.
    """

    chip: ChipConfig
    group: GroupWork
    measured: tuple[int, int] | None = None
    tile: tuple[int, int] | None = None

    @cached_property
    def read_cycle_ps(self) -> int:
        """Read to read; unused bit lines are not converted."""
        return self.chip.read_cycle_of(int(self.group.lines.max()))

    @property
    def serial_blocks(self) -> int:
        """Row blocks that one OPC serves."""
        return self.group.row_blocks if self.group.vote == "output" else 1

    @property
    def opcs(self) -> int:
        """Output peripherals of the group."""
        return len(self.group.opc_lines) * self.group.row_blocks // self.serial_blocks

    @cached_property
    def _opc(self) -> OpcParameters:
        return opc_parameters(self.chip)

    @property
    def beats(self) -> int:
        """Beats of a vector in its OPC: every code pair of every row block it serves, ``lanes`` at a time."""
        return self._opc.beats(self.serial_blocks)

    @cached_property
    def opc_cycles(self) -> tuple[int, int]:
        """Clock cycles of the OPC: interval between vectors, and last beat to last output."""
        if self.measured is not None:
            return self.measured
        steps = int(self.group.opc_lines.max(initial=0))
        one, two = (self._opc.cycles(vectors, self.serial_blocks, steps) for vectors in (1, 2))
        return two - one, one - self.beats

    @property
    def opc_interval_ps(self) -> int:
        """Initiation interval of an OPC; 0 when the chip has fixed shift-and-add cycles instead."""
        if self.chip.pipeline.peripheral == "cycles":
            return 0
        return self.opc_cycles[0] * self.chip.opc.clock_ps

    @property
    def bus_interval_ps(self) -> int:
        """Time of an input vector on the tile's bus."""
        bits = self.group.inputs * self.chip.opc.input_bits
        return -(-bits // self.chip.tile.bus_bits) * self.chip.tile.bus_ps

    @cached_property
    def interval_ps(self) -> int:
        """Initiation interval: one token vector after the other."""
        if self.tile is not None:
            return max(self.tile[0] * self.chip.opc.clock_ps, self.bus_interval_ps)
        return max(self.chip.reads * self.read_cycle_ps, self.opc_interval_ps, self.bus_interval_ps)

    @property
    def bound_by(self) -> str:
        """What sets the interval."""
        bounds = {
            "crossbar read": self.chip.reads * self.chip.crossbar.read_ps,
            "ADC": self.chip.reads * self.read_cycle_ps,
            "output peripheral": self.opc_interval_ps,
            "tile bus": self.bus_interval_ps,
        }
        return max(bounds, key=lambda name: bounds[name])

    @cached_property
    def latency_ps(self) -> int:
        """Input vector in the tile buffer to output vector in the tile buffer."""
        chip, cycle = self.chip, self.read_cycle_ps
        if self.tile is not None:  # fetched and stored, too
            return self.tile[1] * chip.opc.clock_ps
        around = (chip.pipeline.fetch_cycles + chip.pipeline.store_cycles) * cycle
        if chip.pipeline.peripheral == "cycles":
            return around + (chip.reads + 1 + chip.pipeline.shift_add_cycles) * cycle
        clock = chip.opc.clock_ps
        beats = self.beats // chip.opc.input_bits * clock
        tail = self.opc_cycles[1]
        # First read, its conversion, then the slower of reads and OPC sets the pace; the last read's beats, the tail.
        return around + 2 * cycle + (chip.reads - 1) * max(cycle, beats) + beats + tail * clock


class Crossbars(Module):
    """The crossbars of a word-line group, fed by a multicast over the network.

    ``resolution`` says how many servers stand for them: one ("matrix"), one per tile, or one per crossbar.
    """

    def __init__(
        self,
        parent: Module,
        name: str,
        place: GroupPlace,
        timing: GroupTiming,
        network: Network,
        route: Route,
        resolution: str,
    ) -> None:
        super().__init__(parent, name)
        self.place, self.timing, self.network, self.route = place, timing, network, route
        tiles, blocks = np.unique(place.block_tile, return_counts=True)
        if len(route.arrival_ps) != len(tiles):
            raise ValueError(f"{self.path}: the route has {len(route.arrival_ps)} destinations for {len(tiles)} tiles.")
        self.units: Booking | BookingArray
        if resolution == "matrix":
            self._delay_ps, self.units = route.latency_ps, Booking(self, "units")
        else:
            repeats = np.ones_like(blocks) if resolution == "tile" else blocks * timing.chip.signs
            self._delay_ps, self.units = 0, BookingArray(self, "units", np.repeat(route.arrival_ps, repeats))

    def transport(self, transaction: Transaction, arrival_ps: int) -> tuple[int, int]:
        """Send a token vector through; the next one may come when this one has started."""
        timing, label = self.timing, transaction.label
        started = self.network.start(self.route, arrival_ps, label)
        start, end = self.units.book(started + self._delay_ps, timing.interval_ps, timing.latency_ps, label)
        if self.simulation.trace is not None:
            self._show(self.simulation.trace, label, start)
        return start, end

    def _show(self, trace: Trace, label: str, start_ps: int) -> None:
        """The tile's bus, reads, and conversions a read later, of one token on the timeline."""
        chip, cycle = self.timing.chip, self.timing.read_cycle_ps
        trace.span(f"{self.path}.bus", 0, label, start_ps, start_ps + self.timing.bus_interval_ps)
        for name, begin in (("reads", chip.pipeline.fetch_cycles), ("ADCs", chip.pipeline.fetch_cycles + 1)):
            first = start_ps + begin * cycle
            trace.span(f"{self.path}.{name}", 0, label, first, first + chip.reads * cycle)


class Transfer(Module):
    """Collects a token vector that lies spread over tiles."""

    def __init__(self, parent: Module, name: str, network: Network, route: Route) -> None:
        super().__init__(parent, name)
        self.network, self.route = network, route

    def transport(self, transaction: Transaction, arrival_ps: int) -> tuple[int, int]:
        start = self.network.start(self.route, arrival_ps, transaction.label)
        return start, start + self.route.latency_ps


class Digital(Module):
    """One operation of a token on a digital unit that it may share with other operations."""

    def __init__(self, parent: Module, name: str, unit: Booking, occupied_ps: int, latency_ps: int) -> None:
        super().__init__(parent, name)
        self.unit, self.occupied_ps, self.latency_ps = unit, occupied_ps, max(latency_ps, occupied_ps)

    def transport(self, transaction: Transaction, arrival_ps: int) -> tuple[int, int]:
        return self.unit.book(arrival_ps, self.occupied_ps, self.latency_ps, transaction.label)


class Barrier(Module):
    """Lets the tokens of a sequence pass when all of them have arrived."""

    def __init__(self, parent: Module, name: str, tokens: int, queue: Fifo) -> None:
        super().__init__(parent, name)
        self.tokens, self.queue = tokens, queue
        self._arrived: dict[int, int] = {}
        self._passed: dict[int, int] = {}
        self._events: dict[int, Event] = {}

    def open(self, sequence: int) -> Event:
        """The event at which the sequence is complete."""
        if sequence not in self._events:
            self._events[sequence] = Wait(
                self.simulation.env,
                lambda: (
                    f"the other tokens of sequence {sequence} ({self._arrived.get(sequence, 0)} of {self.tokens} "
                    f"have reached {self.queue.path})"
                ),
                lambda: self.queue.writers,
            )
        return self._events[sequence]

    def arrive(self, token: Token) -> None:
        """A token's Q, K and V are there."""
        count = self._arrived[token.sequence] = self._arrived.get(token.sequence, 0) + 1
        if count == self.tokens:
            self.open(token.sequence).succeed()

    def leave(self, token: Token) -> None:
        """A token needs the others' K and V no more; after the last one the places of all become free."""
        count = self._passed[token.sequence] = self._passed.get(token.sequence, 0) + 1
        if count == self.tokens:
            del self._events[token.sequence], self._arrived[token.sequence], self._passed[token.sequence]
            self.queue.free(self.tokens)

    def state(self, key: Key) -> Hashable:
        def relative(counts: dict[int, int]) -> list[Hashable]:
            return [key(Token("", sequence=s, position=count)) for s, count in sorted(counts.items())]

        opened = {s: int(event.triggered) for s, event in self._events.items()}
        return tuple(map(tuple, (relative(self._arrived), relative(self._passed), relative(opened))))


class TokenStage(Worker):
    """Takes tokens from its queue, has a target do the work, and delivers them to the next queue.

    A place in the next queue is reserved before the work starts (credit-based flow control), so a full queue holds
    the stage back. ``before`` may name an event per token that the stage waits for; ``after`` is told of each token
    that is done. Tokens stay counted in the queue when ``keep_places`` is set. ``first_ps`` is when the first token
    began.
    """

    counters = ("tokens",)

    def __init__(self, parent: Module, name: str, target: Target, places: int, keep_places: bool = False) -> None:
        super().__init__(parent, name)
        self.target, self.keep_places = target, keep_places
        self.queue = Fifo(self, "queue", places)
        self.following: Fifo | None = None
        self.before: Callable[[Token], Event] | None = None
        self.after: Callable[[Token], None] | None = None
        self.tokens = 0
        self.first_ps = 0
        # The token in hand while its turn or a place is waited for, and the event that says that its turn has come.
        self._held: Token | None = None
        self._gate: Event | None = None
        self._item, self._room = Resume(self.simulation, self._taken), Resume(self.simulation, self._claimed)
        # Bound once: they are scheduled for every token.
        self._delivering, self._readying = self._deliver, self._ready

    def start(self) -> None:
        """Begin to work."""
        self.employ()
        self.queue.readers.add(self)
        if self.following is not None:
            self.following.writers.add(self)
        self._proceed(None, _NEW)

    @property
    def awaited(self) -> Wait | None:
        if isinstance(self._gate, Wait):
            return self._gate
        return next((resume for resume in (self._item, self._room) if resume.waiting), None)

    def state(self, key: Key) -> Hashable:
        return None if self._held is None else key(self._held)

    def _taken(self, token: Token) -> None:
        self._proceed(token, _NEW)

    def _opened(self, event: Event) -> None:
        token, self._held, self._gate = self._held, None, None
        self._proceed(token, _ENTERED)

    def _claimed(self, _: None) -> None:
        token, self._held = self._held, None
        self._proceed(token, _RESERVED)

    def _ready(self, _: None) -> None:
        self._proceed(None, _NEW)

    def _proceed(self, token: Token | None, step: int) -> None:
        """Go on with a token, or with the next one, until something has to be waited for."""
        following, now = self.following, self.simulation.now
        transport, call_at = self.target.transport, self.simulation.call_at
        while True:
            if token is None:
                token = self.queue.take(self._item, self.keep_places)
                if token is NOTHING:
                    return
            if step == _NEW and self.before is not None:
                gate = self.before(token)
                if gate.callbacks is not None:
                    self._held, self._gate = token, gate
                    gate.callbacks.append(self._opened)
                    return
            if step != _RESERVED and following is not None and not following.claim(self._room):
                self._held = token
                return
            if not self.tokens:
                self.first_ps = now
            self.tokens += 1
            accepted, finished = transport(token, now)
            call_at(finished, self._delivering, token)
            if accepted > now:
                call_at(accepted, self._readying)
                return
            token, step = None, _NEW

    def _deliver(self, token: Token) -> None:
        if self.after is not None:
            self.after(token)
        if self.following is not None:
            self.following.deliver(token)


#: How far a stage is with a token: just taken, let in by ``before``, sure of a place in the next queue.
_NEW, _ENTERED, _RESERVED = range(3)
