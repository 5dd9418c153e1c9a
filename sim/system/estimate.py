"""Times without contention between layers, from the recursion of each layer alone."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np

from crossvote.sim.kernel import Simulation
from crossvote.sim.system.actions import offer_ps
from crossvote.sim.system.network import Network
from crossvote.sim.system.placement import Placement
from crossvote.sim.system.result import SystemResult, Usage
from crossvote.sim.system.steps import Step, head_steps, layer_steps, lookups, scoped_actions
from crossvote.sim.system.workload import Workload


def _private(steps: Sequence[Step], arrivals: Sequence[int]) -> list[int]:
    """When tokens that arrive at these times leave ``steps``, each of which has a unit of its own, ps."""
    times = list(arrivals)
    for step in steps:
        interval, latency = step.interval_ps, step.latency_ps
        free = 0
        for n, arrival in enumerate(times):
            start = arrival if arrival > free else free
            free = start + interval
            times[n] = start + latency
    return times


class _Shared:
    """A step whose unit others use, too, and the steps with units of their own between it and the next such step."""

    def __init__(self, step: Step, behind: Sequence[Step], tokens: int) -> None:
        self.unit, self.interval, self.latency = step.unit, step.interval_ps, step.latency_ps
        self.behind = [[other.interval_ps, other.latency_ps, 0] for other in behind]
        self.arrivals: list[int | None] = [None] * tokens
        #: The token that is next, and since when the step could take it.
        self.next, self.ready = 0, 0

    def onwards(self, time: int) -> int:
        """When a token that leaves the unit then is through the steps behind it."""
        for own in self.behind:
            interval, latency, free = own
            start = time if time > free else free
            own[2] = start + interval
            time = start + latency
        return time


def _queued(steps: Sequence[Step], arrivals: Sequence[int]) -> list[int]:
    """When tokens leave ``steps``: units that several of them share serve in the order of arrival.

    Event by event, for those units only; without queues that could be full, and without the links of others.
    """
    times = Counter(step.unit for step in steps)
    shared = [n for n, step in enumerate(steps) if times[step.unit] > 1]
    if not shared:
        return _private(steps, arrivals)
    tokens = len(arrivals)
    parts = [
        _Shared(steps[at], steps[at + 1 : end], tokens)
        for at, end in zip(shared, [*shared[1:], len(steps)], strict=True)
    ]
    first = parts[0]
    first.arrivals = list(_private(steps[: shared[0]], arrivals))
    free = dict.fromkeys(times, 0)
    out = [0] * tokens
    order = itertools.count()
    events = [(first.arrivals[0] or 0, next(order), 0)]
    while events:
        now, _, at = heappop(events)
        part = parts[at]
        token, part.next = part.next, part.next + 1
        start = max(now, free[part.unit])
        free[part.unit] = start + part.interval
        part.ready = start
        if part.next < tokens and (arrived := part.arrivals[part.next]) is not None:
            heappush(events, (max(start, arrived), next(order), at))
        done = part.onwards(start + part.latency)
        if at + 1 == len(parts):
            out[token] = done
            continue
        following = parts[at + 1]
        following.arrivals[token] = done
        if following.next == token:
            heappush(events, (max(done, following.ready), next(order), at + 1))
    return out


def _held_apart(steps: Sequence[Step], arrivals: Sequence[int]) -> list[int]:
    """The arrivals, as far apart as the busiest link that ``steps`` share needs for a token."""
    load: Counter[int] = Counter()
    for step in steps:
        for link, taken in step.links:
            load[link] += taken
    apart = max(load.values(), default=0)
    times, free = [], 0
    for arrival in arrivals:
        times.append(max(arrival, free))
        free = times[-1] + apart
    return times


@dataclass(frozen=True)
class _Span:
    """When the first token enters a layer, when its attention begins, and when every token leaves, ps."""

    entered: int
    barrier: int
    out: list[int]


def _layer_span(steps: Sequence[Step], arrivals: Sequence[int], causal: bool) -> _Span:
    """One layer whose tokens arrive then, without contention between layers."""
    if causal:
        return _Span(arrivals[0], _private(steps[:2], arrivals)[0], _queued(steps, _held_apart(steps, arrivals)))
    barrier = max(_private(steps[:2], _held_apart(steps[:2], arrivals)))
    return _Span(arrivals[0], barrier, _queued(steps[2:], _held_apart(steps[2:], [barrier] * len(arrivals))))


def _usage(layer: str, steps: Sequence[Step], tokens: int, elapsed_ps: int) -> list[Usage]:
    """How busy the units of a layer are; what stages share is one unit, named as in a simulation."""
    users: dict[str, list[Step]] = {}
    for step in steps:
        users.setdefault(step.unit, []).append(step)
    found = []
    for unit, own in users.items():
        name = own[0].name if len(own) == 1 else unit.removesuffix(" unit")
        passed, busy = len(own) * tokens, tokens * sum(step.interval_ps for step in own)
        found.append(Usage(f"{layer}.{name}", unit, 1, passed, busy, 0.0, elapsed_ps))
    return found


def estimate(workload: Workload, placement: Placement, sequences: int, started: float) -> SystemResult:
    """Times without contention between layers or for places in queues, and for links as a pace only.

    Tokens of a layer follow each other no faster than the link that its stages together use most allows; nobody waits
    for a link that is just taken. On links that are always free the estimate is within 5 % of the simulation. On real
    ones it may be too early by more; and late where few tokens use a link at several stages, or where serving in the
    order of arrival is no optimal schedule, so that a delay makes it a better one
    (``test_the_estimate_where_links_are_waited_for``). The next sequence follows after as
    long as the busiest unit or link needs for one.
    """
    chip, tokens = placement.chip, workload.tokens
    network = Network(Simulation(), "network", chip, placement.tiles)
    steps = [layer_steps(layer, i, placement, network, workload) for i, layer in enumerate(workload.layers)]
    head = head_steps(placement, network, workload)
    steps[-1] += head.each
    host = offer_ps(workload, chip)
    found: list[_Span] = []
    slowest = max(host, network.load_ps())
    arrivals = [(n + 1) * host for n in range(tokens)]
    for layer in steps:
        found.append(_layer_span(layer, arrivals, workload.causal))
        arrivals = found[-1].out
        shared = {unit: sum(s.interval_ps for s in layer if s.unit == unit) for unit in {s.unit for s in layer}}
        slowest = max(slowest, *shared.values(), *(s.interval_ps for s in layer))
    spans = [(span.entered, max(span.out)) for span in found]
    done = spans[-1][1] + head.latency_ps
    elapsed = done + (sequences - 1) * tokens * slowest
    passed = tokens * sequences
    actions: dict[str, dict[str, int]] = {}
    usage = []
    for work, own in zip(workload.layers, steps, strict=True):
        actions.update(scoped_actions(work, own, [passed] * len(own)))
        usage += _usage(work.name, own, passed, elapsed)
    actions.update(head.actions(sequences))
    actions.update(lookups(workload, chip, sequences))
    return SystemResult(
        chip=chip,
        workload=workload,
        placement=placement,
        resolution="analytic",
        sequence_ps=tuple((n * tokens * slowest, done + n * tokens * slowest) for n in range(sequences)),
        passed_ps=tuple(spans[-1][1] + n * tokens * slowest for n in range(sequences)),
        layer_ps=tuple(spans),
        barrier_ps=tuple(span.barrier for span in found),
        actions=actions,
        usage=tuple(usage),
        crossbar_operations=np.full(sum(len(layer.groups) for layer in workload.layers), passed, np.int64),
        statistics={},
        computed={},
        events=0,
        wall_seconds=time.perf_counter() - started,
    )
