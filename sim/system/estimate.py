"""Closed forms: times without contention between layers, a lower bound that needs no simulation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crossvote.sim.kernel import Simulation
from crossvote.sim.system.actions import size_bytes
from crossvote.sim.system.network import Network
from crossvote.sim.system.placement import Placement
from crossvote.sim.system.result import SystemResult, Usage
from crossvote.sim.system.steps import Step, layer_steps, scoped_actions
from crossvote.sim.system.workload import Workload


@dataclass(frozen=True)
class _Span:
    """When the first and the last token enter and leave a layer, and when its attention begins, ps."""

    first_in: int
    last_in: int
    barrier: int
    first_out: int
    last_out: int


def _latest(steps: Sequence[Step], tokens: int, first: int, last: int) -> int:
    """When at the earliest the last of ``tokens`` tokens is out of ``steps``, entered between ``first`` and ``last``,
    ps.

    Three bounds: the last token takes the latency of all steps; the slowest step takes all tokens one by one; and so
    does a unit that several steps share, for all of them together, between the first time it is used and what follows
    it.
    """
    through = sum(s.latency_ps for s in steps)
    found = max(last, first + (tokens - 1) * max(s.interval_ps for s in steps)) + through
    for unit in {s.unit for s in steps}:
        own = [n for n, s in enumerate(steps) if s.unit == unit]
        before = sum(s.latency_ps for s in steps[: own[0]])
        behind = sum(s.latency_ps for s in steps[own[-1] :]) - steps[own[-1]].interval_ps
        found = max(found, first + before + tokens * sum(steps[n].interval_ps for n in own) + behind)
    return found


def _layer_span(steps: Sequence[Step], tokens: int, first: int, last: int, causal: bool) -> _Span:
    """One layer whose tokens arrive between ``first`` and ``last``, without contention between layers."""
    before, after = steps[:2], steps[2:]
    arrived = first + sum(s.latency_ps for s in before)
    barrier = arrived if causal else _latest(before, tokens, first, last)
    first_out = barrier + sum(s.latency_ps for s in after)
    if causal:
        return _Span(first, last, barrier, first_out, _latest(steps, tokens, first, last))
    return _Span(first, last, barrier, first_out, _latest(after, tokens, barrier, barrier))


def estimate(workload: Workload, placement: Placement, sequences: int, started: float) -> SystemResult:
    """Times without contention between layers: a lower bound (``_latest``), exact where nothing waits.

    The next sequence follows after as long as the busiest unit or link needs for a sequence.
    """
    chip, tokens = placement.chip, workload.tokens
    network = Network(Simulation(), "network", chip, placement.tiles)
    steps = [layer_steps(layer, i, placement, network, workload) for i, layer in enumerate(workload.layers)]
    host = size_bytes(workload.layers[0].hidden, chip.opc.input_bits) * chip.package.link_byte_ps
    found: list[_Span] = []
    slowest = max(host, network.load_ps())
    first, last = host, tokens * host
    for layer in steps:
        found.append(_layer_span(layer, tokens, first, last, workload.causal))
        first, last = found[-1].first_out, found[-1].last_out
        shared = {unit: sum(s.interval_ps for s in layer if s.unit == unit) for unit in {s.unit for s in layer}}
        slowest = max(slowest, *shared.values(), *(s.interval_ps for s in layer))
    spans = [(span.first_in, span.last_out) for span in found]
    elapsed = spans[-1][1] + (sequences - 1) * tokens * slowest
    passed = tokens * sequences
    actions: dict[str, dict[str, int]] = {}
    usage = []
    for work, own in zip(workload.layers, steps, strict=True):
        actions.update(scoped_actions(work, own, [passed] * len(own)))
        usage += [Usage(f"{work.name}.{s.name}", s.unit, 1, passed, passed * s.interval_ps, 0.0, elapsed) for s in own]
    return SystemResult(
        chip=chip,
        workload=workload,
        placement=placement,
        resolution="analytic",
        sequence_ps=tuple((n * tokens * slowest, spans[-1][1] + n * tokens * slowest) for n in range(sequences)),
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
