"""Time, the module hierarchy, processes, statistics and the deadlock report."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, ClassVar

import simpy
from simpy.events import NORMAL, Event, Process, Timeout

from crossvote.sim.common.errors import UserError
from crossvote.sim.kernel.trace import Trace

#: What a process is written as: a generator that yields the events it waits for.
Behaviour = Generator[Event, Any, None]


#: What makes of an item (a token, for example) what matters of it relative to now; see ``Simulation.state``.
Key = Callable[[Any], Hashable]
#: Events without any item put into or taken from a FIFO after which a run is given up.
PATIENCE = 1 << 18


class DeadlockError(UserError):
    """Nothing can happen any more although the work is not done; the message names who waits for whom."""


@dataclass(frozen=True)
class Measurement:
    """A statistic: ``value`` in ``unit``; ``text`` says what it is."""

    value: float
    unit: str
    text: str


class Wait(Event):
    """An event that can say, while nobody has triggered it, what is waited for and who could bring it.

    Args:
        reason: called for the report, for example "a place in chip.b.queue (2 of 2 taken)".
        blockers: called for the report, the processes that could end the wait.
    """

    def __init__(
        self, env: simpy.Environment, reason: Callable[[], str], blockers: Callable[[], Iterable[Process | Worker]]
    ) -> None:
        super().__init__(env)
        self.reason, self.blockers = reason, blockers


class Over(Event):
    """An event that has already happened: SimPy resumes a process that yields it at once."""

    def __init__(self, env: simpy.Environment, value: Any) -> None:
        self.env, self.callbacks, self._value, self._ok = env, None, value, True  # type: ignore[assignment]


class Resume(Wait):
    """What a part that works by calls instead of a process waits with; it can be used again and again.

    Like a process, the part goes on when its turn comes, not at once: events of one instant keep their order.

    Args:
        callback: what goes on, told what was waited for.
    """

    def __init__(self, simulation: Simulation, callback: Callable[[Any], None]) -> None:
        super().__init__(simulation.env, _nothing, tuple)
        self._callback, self._soon = callback, simulation.soon
        self.callbacks = [callback]
        self.waiting = False

    def wait(self, reason: Callable[[], str], blockers: Callable[[], Iterable[Process | Worker]]) -> None:
        """From now on something is waited for."""
        self.reason, self.blockers, self.waiting = reason, blockers, True

    def succeed(self, value: Any = None) -> Resume:
        """It is there."""
        self.waiting = False
        env = self.env
        self._soon.append((env._now, NORMAL, next(env._eid), self._callback, value))
        return self


def _nothing() -> str:
    return "nothing"


#: What stands in the event queues: (ps, priority, number, event), or (ps, priority, number, callback, value) where only
#: ``callback(value)`` is to be called.
Entry = tuple[Any, ...]


class Module:
    """A named part of the design; ``path`` is its place in the hierarchy, for example ``chip.tile3.ima2.xb5``.

    Raises:
        ValueError: the parent already has a part of this name.
    """

    def __init__(self, parent: Module | Simulation, name: str) -> None:
        self.simulation: Simulation = parent if isinstance(parent, Simulation) else parent.simulation
        self.path: str = name if isinstance(parent, Simulation) else f"{parent.path}.{name}"
        if self.path in self.simulation.modules:
            raise ValueError(f"there are two modules called {self.path}.")
        self.simulation.modules[self.path] = self

    #: Attributes that only grow, by equal amounts in equal times; see ``extend``.
    counters: ClassVar[tuple[str, ...]] = ()

    def measurements(self) -> dict[str, Measurement]:
        """Statistics of this module; subclasses override it."""
        return {}

    def state(self, key: Key) -> Hashable:
        """All that decides what this module does from now on, relative to now; subclasses override it."""
        return ()

    def progress(self) -> int:
        """A number that changes when something got through; subclasses override it."""
        return 0

    def snapshot(self) -> dict[str, int]:
        """The counters now."""
        return {name: getattr(self, name) for name in self.counters}

    def extend(self, gained: dict[str, int], times: int) -> None:
        """Add ``times`` what a snapshot gained over another: time that was skipped because it repeats itself."""
        for name, value in gained.items():
            setattr(self, name, getattr(self, name) + times * value)


class Worker(Module):
    """A module that behaves like a process, but by calls that it schedules: cheaper, for what runs most often.

    Its ``state`` must tell, as that of a module, what it has in hand.
    """

    @property
    def awaited(self) -> Wait | None:
        """What it waits for, for the deadlock report; subclasses override it."""
        return None

    def employ(self) -> None:
        """Make it known to the simulation."""
        self.simulation.names[self] = self.path


class Simulation:
    """One run: SimPy's clock in integer picoseconds, the modules by path and the processes by name.

    Deterministic: events of one instant happen in the order in which they were scheduled.
    """

    def __init__(self, trace: Trace | None = None) -> None:
        self.env = simpy.Environment()
        self._queue: list[Any] = self.env._queue
        self._numbers = self.env._eid
        #: What happens in this instant, in order, behind what SimPy's queue has for it with lower numbers: cheaper than
        #: a place in that queue.
        self.soon: deque[Entry] = deque()
        self.trace = trace
        self.modules: dict[str, Module] = {}
        self.events = 0
        #: An event that has happened, for calls that turn out to have nothing to wait for.
        self.over = Over(self.env, None)
        #: Processes and workers, by the name that reports give them.
        self.names: dict[Process | Worker, str] = {}

    @property
    def now(self) -> int:
        """Time, ps."""
        return self.env._now  # type: ignore[return-value]  # integer, because every delay is

    def start(self, module: Module, behaviour: Behaviour, role: str = "") -> Process:
        """Run ``behaviour`` as a process of ``module``."""
        process = self.env.process(behaviour)
        self.names[process] = f"{module.path}.{role}" if role else module.path
        return process

    @property
    def processes(self) -> int:
        """Number of processes and workers started."""
        return len(self.names)

    def delay(self, ps: int) -> Timeout:
        """The event ``ps`` picoseconds from now."""
        return Timeout(self.env, ps)

    def call_at(self, time_ps: int, callback: Callable[[Any], None], value: Any = None) -> None:
        """Call ``callback(value)`` at ``time_ps``: cheaper than a process."""
        heappush(self._queue, (time_ps, NORMAL, next(self._numbers), callback, value))

    def run(self, done: Event) -> None:
        """Let time pass until ``done`` happens.

        Raises:
            DeadlockError: no event is left, but ``done`` has not happened; or events go on (a clock, for example), but
                no item has moved for ``PATIENCE`` of them.
        """
        env, queue, soon = self.env, self.env._queue, self.soon
        events, moved = 0, -1
        while done.callbacks is not None:
            # What ``_step`` does, without the call.
            if soon and (not queue or soon[0] < queue[0]):
                entry: Entry = soon.popleft()
            elif queue:
                entry = heappop(queue)
            else:
                raise DeadlockError(self.deadlock_report())
            env._now = entry[0]
            if len(entry) == 5:
                entry[3](entry[4])
            else:
                _happen(entry[3])
            events += 1
            if not events % PATIENCE:
                before, moved = moved, sum(module.progress() for module in self.modules.values())
                if moved == before:
                    raise DeadlockError(f"nothing has moved for {PATIENCE} events: {self.deadlock_report()}")
        self.events += events

    def advance(self, until_ps: int) -> None:
        """Let everything up to and including ``until_ps`` happen: the time is kept by somebody else."""
        queue = self.env._queue
        while self.soon or (queue and queue[0][0] <= until_ps):
            self._step()
        self.env._now = until_ps

    def _step(self) -> None:
        """Let the next thing happen."""
        queue, soon = self.env._queue, self.soon
        entry: Entry = soon.popleft() if soon and (not queue or soon[0] < queue[0]) else heappop(queue)
        self.env._now = entry[0]
        if len(entry) == 5:
            entry[3](entry[4])
        else:
            _happen(entry[3])

    def state(self, key: Key) -> bytes:
        """Digest of all that decides what happens from now on, with times relative to now.

        Two instants with equal states are followed by the same events, as long as the outside behaves the same. The
        state is that of all modules, of the pending events in their order, and of the processes: where each stands and
        which items its local variables hold. ``key`` says what matters of an item and gives None for all else, so a
        process must not keep in numbers of its own what decides about later. The process that asks is left out.
        """
        now = self.now
        asking = self.env.active_process
        modules = [(path, module.state(key)) for path, module in self.modules.items()]
        pending = [
            (time - now, priority, type(what[0]).__name__, *self._told(what, key))
            for time, priority, _, *what in sorted([*self.env._queue, *self.soon], key=lambda entry: entry[:3])
        ]
        processes = []
        for process, name in self.names.items():
            if isinstance(process, Worker):  # its state is that of a module
                continue
            frame = getattr(process._generator, "gi_frame", None)
            if process is asking or frame is None:
                continue
            held = [(local, key(value)) for local, value in frame.f_locals.items()]
            processes.append((name, frame.f_lasti, [entry for entry in held if entry[1] is not None]))
        return hashlib.blake2b(repr((modules, pending, processes)).encode(), digest_size=16).digest()

    def waiting(self, event: Event) -> list[str]:
        """Who is told when ``event`` happens, by name."""
        return [self._callback(callback) for callback in event.callbacks or ()]

    def _told(self, what: list[Any], key: Key) -> tuple[Any, Hashable]:
        """Of what stands in a queue: who is told, and what matters of the value."""
        if len(what) == 2:
            return self._callback(what[0]), key(what[1])
        return self.waiting(what[0]), key(what[0]._value)

    def _callback(self, callback: Any) -> str:
        owner = getattr(callback, "__self__", None)
        if isinstance(owner, Process):
            return self.names.get(owner, "?")
        return f"{getattr(owner, 'path', '')}.{callback.__qualname__}"

    def deadlock_report(self) -> str:
        """Who waits for whom: the circle of waiting processes, or all of them where there is no circle."""
        waiting = {p: wait for p in self.names if (wait := _awaited(p)) is not None}
        chain = _circle({p: [b for b in wait.blockers() if b in waiting] for p, wait in waiting.items()})
        sentences = []
        for process in chain or list(waiting):
            wait = waiting[process]
            others = ", ".join(sorted(self.names.get(b, "?") for b in wait.blockers())) or "nobody"
            sentences.append(f"{self.names[process]} waits for {wait.reason()}, which depends on {others}")
        return f"the design deadlocks at {self.now} ps: {'; '.join(sentences) or 'no process is left'}."

    def statistics(self) -> dict[str, dict[str, Measurement]]:
        """Measurements of every module that has some, by path."""
        found = {path: module.measurements() for path, module in sorted(self.modules.items())}
        return {path: values for path, values in found.items() if values}


def _happen(event: Event) -> None:
    """Tell everybody who waits for an event of SimPy, as ``Environment.step`` does."""
    callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment]
    for callback in callbacks:
        callback(event)
    if not event._ok and not hasattr(event, "_defused"):
        raise event._value


def _awaited(who: Process | Worker) -> Wait | None:
    if isinstance(who, Worker):
        return who.awaited
    return who.target if who.is_alive and isinstance(who.target, Wait) else None


def _circle(edges: dict[Process | Worker, list[Process | Worker]]) -> list[Process | Worker]:
    """The first circle in the wait-for graph, by depth-first search; empty where there is none."""
    finished: set[Process | Worker] = set()
    for root in edges:
        path: list[Process | Worker] = []
        stack = [(root, iter(edges[root]))]
        while stack:
            node, following = stack[-1]
            if node not in path:
                path.append(node)
            after = next((n for n in following if n not in finished), None)
            if after is None:
                finished.add(node)
                path.remove(node)
                stack.pop()
            elif after in path:
                return path[path.index(after) :]
            else:
                stack.append((after, iter(edges[after])))
    return []
