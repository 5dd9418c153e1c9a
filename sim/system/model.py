"""Runs a workload on a chip: builds the pipeline of stages, streams tokens through it, counts actions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from simpy.events import Event

from crossvote.sim.chip.bill import bill, own_variant
from crossvote.sim.chip.components.opc import VARIANTS
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.kernel import (
    Booking,
    Measurement,
    Module,
    Period,
    Repetition,
    Simulation,
    Trace,
)
from crossvote.sim.kernel.simulation import Behaviour
from crossvote.sim.system import energy
from crossvote.sim.system.actions import group_actions, size_bytes
from crossvote.sim.system.attention import Attention, kv_places, plan_attention
from crossvote.sim.system.computed import ComputedCrossbars
from crossvote.sim.system.cosim import CosimRequest, Cosimulation
from crossvote.sim.system.network import Network
from crossvote.sim.system.placement import GroupPlace, Placement, place
from crossvote.sim.system.stages import Barrier, Crossbars, Digital, GroupTiming, Stage, Token, Transfer
from crossvote.sim.system.workload import LayerWork, Role, Workload

Resolution = Literal["analytic", "matrix", "tile", "crossbar"]


@dataclass(frozen=True)
class Usage:
    """How busy a kind of unit was.

    Attributes:
        unit: its name. kind: what it is. servers: how many there are.
        operations: of all servers. busy_ps: of all servers together. wait_ps: mean wait of an operation.
        elapsed_ps: length of the run.
    """

    unit: str
    kind: str
    servers: int
    operations: int
    busy_ps: int
    wait_ps: float
    elapsed_ps: int

    @property
    def utilisation(self) -> float:
        return self.busy_ps / (self.servers * self.elapsed_ps) if self.elapsed_ps and self.servers else 0.0


@dataclass(frozen=True, eq=False)
class SystemResult:
    """What a run of the system model gives.

    Attributes:
        sequence_ps: (first token offered, last token done) of every sequence.
        passed_ps: when the last token of every sequence left the last crossbars.
        layer_ps: (first token in, last token out) of every layer, first sequence. barrier_ps: when its attention began.
        actions: counts by scope ("layer0.qkv") and action; energy follows from them (``crossvote.sim.system.energy``).
        usage: one entry per unit. crossbar_operations: int64[crossbars], token vectors per crossbar at
            resolution = "crossbar", else one entry per coarser unit.
        period: what the stream repeats, once it does. statistics: measurements of every module. computed: what came
        out of the computed groups, by
            name. events: kernel events. wall_seconds: of the whole run.
    """

    chip: ChipConfig
    workload: Workload
    placement: Placement
    resolution: Resolution
    sequence_ps: tuple[tuple[int, int], ...]
    passed_ps: tuple[int, ...]
    layer_ps: tuple[tuple[int, int], ...]
    barrier_ps: tuple[int, ...]
    actions: dict[str, dict[str, int]]
    usage: tuple[Usage, ...]
    crossbar_operations: NDArray[np.int64]
    statistics: dict[str, dict[str, Measurement]]
    computed: dict[str, Cosimulation]
    events: int
    wall_seconds: float
    period: Period | None = None

    @property
    def latency_ps(self) -> int:
        """First sequence: first token offered to last token done."""
        return self.sequence_ps[0][1] - self.sequence_ps[0][0]

    @property
    def elapsed_ps(self) -> int:
        return max(end for _, end in self.sequence_ps)

    @property
    def interval_ps(self) -> float | None:
        """Time from sequence to sequence in a full pipeline, ps; None when it was not measured.

        Exact where the stream repeats itself, else from the later half of the sequences.
        """
        if self.period is not None:
            return self.period.time_ps / self.period.items
        half = len(self.passed_ps) // 2
        if half < 1:
            return None
        return (self.passed_ps[-1] - self.passed_ps[half - 1]) / (len(self.passed_ps) - half)

    @property
    def sequences_per_s(self) -> float | None:
        """Throughput of a full pipeline; None for one sequence, which measures latency."""
        return 1e12 / self.interval_ps if self.interval_ps else None

    @property
    def operations(self) -> int:
        """Unpruned operations of one sequence: two per multiply-accumulate."""
        return 2 * self.workload.macs

    @cached_property
    def powered(self) -> energy.Powered:
        """What of the hardware is used, and how busy it is."""
        groups = [place.group for layer in self.placement.groups for place in layer.values()]
        timings = [GroupTiming(self.chip, group) for group in groups]
        own = own_variant(self.chip)
        needed = max((group.variant for group in groups), key=VARIANTS.index)
        crossbars = _share(self.usage, "crossbars")
        busy = dict.fromkeys(("driver", "sample_hold", "adc", "opc", "shift_add", "adder"), crossbars)
        return energy.Powered(
            chips=self.placement.chips,
            tiles=self.placement.tiles,
            opcs=sum(timing.opcs for timing in timings),
            variant=own if "scale" in own else needed,
            busy={**busy, "attention": _share(self.usage, "attention"), "vector": _share(self.usage, "vector")},
        )

    @cached_property
    def dynamic_energy_pj(self) -> float:
        """Energy of all actions, pJ."""
        return energy.dynamic_energy_pj(self.chip, self.actions)

    def leakage_energy_pj(self, gating: energy.Gating | None = None) -> float:
        """Leakage over the length of the run, pJ; None: gated as the chip is."""
        return sum(energy.leakage_w(self.chip, self.powered, gating).values()) * self.elapsed_ps

    @property
    def static_energy_pj(self) -> float:
        """What is drawn always, over the length of the run, pJ."""
        return energy.static_w(self.chip, self.powered) * self.elapsed_ps

    @property
    def total_energy_pj(self) -> float:
        """Dynamic energy, leakage and static energy, pJ."""
        return self.dynamic_energy_pj + self.leakage_energy_pj() + self.static_energy_pj

    @property
    def average_power_w(self) -> float:
        """Total energy over the length of the run, W."""
        return self.total_energy_pj / self.elapsed_ps

    @property
    def area_mm2(self) -> float:
        """Area of the tiles in use, with the output peripherals that the mapping needs, mm2."""
        return energy.area_mm2(self.chip, self.powered)


def _share(usage: Sequence[Usage], kind: str) -> float:
    """Mean utilisation of all units of a kind."""
    chosen = [u for u in usage if kind in u.kind]
    capacity = sum(u.servers * u.elapsed_ps for u in chosen)
    return sum(u.busy_ps for u in chosen) / capacity if capacity else 0.0


@dataclass(frozen=True, eq=False)
class Step:
    """One stage of a layer's pipeline before it is built.

    Attributes:
        name: of the stage. unit: what it occupies; stages of a layer may share a unit.
        interval_ps, latency_ps: without contention. actions: counts of one token.
    """

    name: str
    unit: str
    interval_ps: int
    latency_ps: int
    actions: dict[str, int]
    make: Callable[[Module, _Units, str], Crossbars | Transfer | Digital]


@dataclass(frozen=True, eq=False)
class _Units:
    """What the stages of a layer share."""

    network: Network
    attention: Booking
    vector: Booking
    computed: Mapping[str, CosimRequest]


def simulate(
    workload: Workload,
    chip: ChipConfig,
    *,
    resolution: Resolution = "crossbar",
    sequences: int = 1,
    computed: Mapping[str, CosimRequest] | None = None,
    trace: Trace | None = None,
    progress: Progress = no_progress,
) -> SystemResult:
    """Stream ``sequences`` sequences through the encoder, one behind the other.

    Args:
        resolution: "matrix", "tile" and "crossbar" simulate with that many servers per word-line group and give equal
            times and energies; "analytic" adds up times without contention (a lower bound, exact when nothing ever
            waits for a shared unit or link) and needs no simulation.
        computed: word-line groups, by name, whose integers are computed with a real output peripheral in the loop;
            their tokens are real, and the peripheral's clock cycles set their time. Not for "analytic".

    Raises:
        UserError: the workload does not fit onto the chip: too few tiles, tile buffers that cannot hold a sequence,
            ADCs that would clip, or a structure that no model covers.
    """
    start = time.perf_counter()
    if sequences < 1:
        raise UserError(f"sequences = {sequences} must be at least 1.")
    bill(chip)  # refuses what no model covers, before anything runs
    placement = place(workload, chip)
    check(workload, placement)
    unknown = set(computed or ()) - {g.name for layer in workload.layers for g in layer.groups.values()}
    if unknown:
        raise UserError(f"{workload.name} has no word-line group '{min(unknown)}' that could be computed.")
    if resolution == "analytic":
        return _estimate(workload, placement, sequences, start)
    run = SystemRun(workload, placement, resolution, sequences, trace, progress, computed or {})
    run.go()
    return run.result(start)


def layer_steps(layer: LayerWork, index: int, placement: Placement, network: Network, workload: Workload) -> list[Step]:
    """The stages a token passes in one layer, in order; attention waits for the whole sequence at "qk"."""
    chip = placement.chip
    groups = placement.groups[index]
    tiles = placement.layer_tiles[index]
    width = chip.opc.input_bits
    intermediate = size_bytes(layer.intermediate, width)
    before = placement.groups[index - 1]["ffn2"].home if index else tiles[0]
    attention = plan_attention(chip, layer, tiles, workload.heads, workload.keys)

    def crossbars(
        role: Role,
        home: int,
        size: int,
        sources: Sequence[tuple[int, int]],
        exchanged: Sequence[tuple[int, int, int]] = (),
    ) -> Step:
        group = groups[role]
        route = network.build(sources, home, group.tiles.tolist(), size, exchanged=exchanged)
        timing = GroupTiming(chip, group.group)

        def make(parent: Module, units: _Units, resolution: str) -> Crossbars:
            real = units.computed.get(group.group.name)
            if real is None:
                return Crossbars(parent, "crossbars", group, timing, units.network, route, resolution)
            return ComputedCrossbars(parent, "crossbars", group, timing, units.network, route, resolution, real)

        return Step(
            role,
            f"{role} crossbars",
            max(timing.interval_ps, route.interval_ps),
            route.latency_ps + timing.latency_ps,
            {**group_actions(chip, group), "flit_hop": route.flits},
            make,
        )

    def collect(role: Role, attention: Attention | None = None) -> Step:
        group = groups[role]
        scattered, shared = (attention.scattered, attention.queries) if attention else ((), ())
        route = network.build(_sources(group), group.home, [], 0, scattered, shared=shared)
        return Step(
            f"{role}_collect",
            f"{role} links",
            route.interval_ps,
            route.latency_ps,
            {"flit_hop": route.flits},
            lambda parent, units, resolution: Transfer(parent, "transfer", units.network, route),
        )

    def digital(name: str, unit: str, occupied: int, least_ps: int, actions: dict[str, int]) -> Step:
        return Step(
            name,
            f"{unit} unit",
            occupied,
            max(occupied, least_ps),
            actions,
            lambda parent, units, resolution: Digital(parent, "operation", getattr(units, unit), occupied, least_ps),
        )

    d = chip.digital

    def vector(name: str, work: int, least_ps: int, moved: int = 0) -> Step:
        occupied = -(-work // (len(tiles) * d.lanes_per_tile)) * d.clock_ps
        return digital(name, "vector", occupied, least_ps, {"vector_op": work, "buffer_byte": 2 * moved})

    def attend(name: str) -> Step:
        return digital(name, "attention", attention.occupied_ps, d.attention_ps, attention.actions)

    norm = layer.hidden * (d.layer_norm_ops + d.residual_ops)
    scores = round(workload.heads * workload.keys)
    hidden, kept = size_bytes(layer.hidden, width), size_bytes(scores, width)
    gate = layer.intermediate if layer.gated else 0
    return [
        crossbars("qkv", before, hidden, []),
        collect("qkv", attention),
        attend("qk"),
        # Scores and the residual are written to a buffer and read again.
        vector("softmax", scores * d.softmax_ops, d.softmax_ps, kept),
        attend("av"),
        crossbars("o", groups["qkv"].home, size_bytes(layer.queries, width), attention.gathered, attention.exchanged),
        collect("o"),
        vector("norm1", norm, d.layer_norm_ps, hidden),
        crossbars("ffn1", groups["o"].home, hidden, []),
        vector("gelu", layer.intermediate * d.gelu_ops + gate, d.gelu_ps),
        crossbars("ffn2", groups["ffn1"].home, intermediate, _sources(groups["ffn1"])),
        collect("ffn2"),
        vector("norm2", norm, d.layer_norm_ps, hidden),
    ]


def _sources(group: GroupPlace) -> list[tuple[int, int]]:
    return list(zip(group.tiles.tolist(), group.output_bytes.tolist(), strict=True))


def check(workload: Workload, placement: Placement) -> None:
    """Refuse what would go wrong after the start.

    Raises:
        UserError: ADCs that clip although they should not, or tile buffers that cannot hold a sequence.
    """
    chip = placement.chip
    driven = max((int(group.driven.max()) for layer in workload.layers for group in layer.groups.values()), default=0)
    largest = driven * ((1 << chip.crossbar.cell_bits) - 1) * ((1 << chip.dac.bits) - 1)
    last = chip.adc.full_scale or (1 << chip.adc.bits) - 1
    if largest > last and not chip.adc.may_clip:
        raise UserError(
            f"{workload.name}: {driven} driven word lines can add up to {largest}, but ADCs of {chip.adc.bits} bits "
            f"end at {last:g} on chip '{chip.name}': set adc.bits = {largest.bit_length()}, or adc.may_clip = true."
        )
    for tiles, layer in zip(placement.layer_tiles, workload.layers, strict=True):
        places = kv_places(tiles, layer, chip)
        if places < workload.held:
            token = size_bytes(layer.queries + 2 * layer.keys, chip.opc.input_bits)
            needed = math.ceil(workload.held * token / len(tiles) / chip.tile.kv_share)
            raise UserError(
                f"{workload.name}: the {len(tiles)} tile buffers of {layer.name} hold Q, K and V of {places} tokens, "
                f"but a sequence has {workload.held}: set tile.buffer_bytes = {needed}, raise tile.kv_share, or "
                "shorten the sequence."
            )


def _scoped_actions(layer: LayerWork, steps: list[Step], counts: list[int]) -> dict[str, dict[str, int]]:
    return {
        f"{layer.name}.{step.name}": {name: n * count for name, n in step.actions.items()}
        for step, count in zip(steps, counts, strict=True)
    }


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


def _estimate(workload: Workload, placement: Placement, sequences: int, started: float) -> SystemResult:
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
        actions.update(_scoped_actions(work, own, [passed] * len(own)))
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


class SystemRun:
    """One run: the built pipeline; ``go`` lets time pass, ``result`` reads the counters."""

    def __init__(
        self,
        workload: Workload,
        placement: Placement,
        resolution: Resolution,
        sequences: int,
        trace: Trace | None = None,
        progress: Progress = no_progress,
        computed: Mapping[str, CosimRequest] | None = None,
    ) -> None:
        self.workload, self.placement, self.resolution = workload, placement, resolution
        self.sequences, self.progress, self.computed = sequences, progress, computed or {}
        chip = placement.chip
        self.simulation = simulation = Simulation(trace)
        self.network = Network(simulation, "network", chip, placement.tiles)
        self.host = Booking(simulation, "host")
        self.steps = [
            layer_steps(layer, i, placement, self.network, workload) for i, layer in enumerate(workload.layers)
        ]
        self.network.settle()
        self.layers = [self._layer(i, layer) for i, layer in enumerate(workload.layers)]
        self.done = simulation.env.event()
        # A trace shows every token, and computed groups compute every one, so nothing is skipped then.
        self.repetition = Repetition(simulation, _relative, enabled=trace is None and not self.computed)
        self._last_token = workload.tokens - 1
        self.layer_ends = [0] * len(workload.layers)
        self._left = workload.tokens * sequences
        self._steps, self._steps_done = self._left * len(workload.layers), 0
        for layer, following in zip(self.layers, [*self.layers[1:], None], strict=True):
            stages = layer[0]
            for stage, after in zip(stages, [*stages[1:], None], strict=True):
                stage.following = after.queue if after else following[0][0].queue if following else None
        last = {step.name: stage for step, stage in zip(self.steps[-1], self.layers[-1][0], strict=True)}
        last["ffn2"].after = self._pass
        for number, (stages, _, _) in enumerate(self.layers):
            stages[-1].after = partial(self._leave, number)
            for stage in stages:
                stage.start()

    def _layer(self, index: int, layer: LayerWork) -> tuple[list[Stage], Booking, Booking]:
        chip, tokens = self.placement.chip, self.workload.tokens
        module = Module(self.simulation, f"layer{index}")
        units = _Units(self.network, Booking(module, "attention"), Booking(module, "vector"), self.computed)
        stages = []
        for step in self.steps[index]:
            scope = Module(module, step.name)
            target = step.make(scope, units, self.resolution)
            attends = step.name == "qk"
            places = kv_places(self.placement.layer_tiles[index], layer, chip) if attends else chip.tile.queue_vectors
            stages.append(Stage(scope, "stage", target, places, keep_places=attends))
        by_name = {step.name: stage for step, stage in zip(self.steps[index], stages, strict=True)}
        barrier = Barrier(module, "barrier", tokens, by_name["qk"].queue)
        by_name["qkv_collect"].after = barrier.arrive
        if not self.workload.causal:
            by_name["qk"].before = lambda token: barrier.open(token.sequence)
        by_name["av"].after = barrier.leave
        return stages, units.attention, units.vector

    def _pass(self, token: Token) -> None:
        """A token has left the last crossbars."""
        if token.position == self._last_token:
            self.repetition.log("passed", token.sequence)

    def _leave(self, number: int, token: Token) -> None:
        """A token has left layer ``number``."""
        if token.sequence == 0:
            self.layer_ends[number] = self.simulation.now
        self._steps_done += 1
        if self._steps_done % 64 == 0 or self._steps_done == self._steps:
            self.progress("system model", self._steps_done, self._steps)
        if number == len(self.layers) - 1:
            if token.position == self._last_token:
                self.repetition.log("end", token.sequence)
            self._left -= 1
            if not self._left:
                self.done.succeed()

    def _source(self) -> Behaviour:
        """Offer the tokens of all sequences in order; the first queue holds it back."""
        size = size_bytes(self.workload.layers[0].hidden, self.placement.chip.opc.input_bits)
        occupied = size * self.placement.chip.package.link_byte_ps
        queue, sequence, total = self.layers[0][0][0].queue, 0, self.sequences
        self._offered = queue
        while sequence < total:
            skipped = self.repetition.look(sequence, total)
            total -= skipped
            self._left -= skipped * self.workload.tokens
            self._steps_done += skipped * self.workload.tokens * len(self.layers)
            if sequence == total:
                break
            for position in range(self.workload.tokens):
                yield queue.reserve()
                start, end = self.host.book(self.simulation.now, occupied)
                if position == 0:
                    self.repetition.log("start", sequence, start)
                token = Token(f"s{sequence} t{position}", sequence=sequence, position=position)
                self.simulation.call_at(end, self._offer, token)
                if end > self.simulation.now:
                    yield self.simulation.delay(end - self.simulation.now)
            sequence += 1

    def _offer(self, event: Event) -> None:
        self._offered.deliver(event.value)

    def go(self) -> None:
        """Run until the last token is done."""
        self.simulation.start(self.host, self._source())
        self.simulation.run(self.done)
        self.repetition.finish()

    def result(self, started: float) -> SystemResult:
        elapsed = self.simulation.now
        at = {(what, sequence): time for what, sequence, time in self.repetition.events()}
        actions: dict[str, dict[str, int]] = {}
        usage = []
        operations = []
        computed = {}

        def use(unit: Booking, kind: str) -> None:
            wait = unit.wait_ps / max(1, unit.operations)
            usage.append(Usage(unit.path, kind, unit.servers, unit.operations, unit.busy_ps, wait, elapsed))

        use(self.host, "host link")
        link_operations, link_busy = self.network.usage()
        if len(link_busy):
            busiest = int(link_busy.argmax())
            usage.append(
                Usage(
                    f"network.{'-'.join(map(str, self.network.names[busiest]))}",
                    "busiest link",
                    1,
                    int(link_operations[busiest]),
                    int(link_busy[busiest]),
                    self.network.wait_ps / self.network.transfers,
                    elapsed,
                )
            )
        for layer, steps, (stages, attention, vector) in zip(
            self.workload.layers, self.steps, self.layers, strict=True
        ):
            counts = [stage.tokens for stage in stages]
            actions.update(_scoped_actions(layer, steps, counts))
            use(attention, "attention unit")
            use(vector, "vector unit")
            for stage in stages:
                if isinstance(stage.target, Crossbars):
                    units = stage.target.units
                    if isinstance(stage.target, ComputedCrossbars):
                        computed[stage.target.place.group.name] = stage.target.cosim.result
                    operations.append(np.full(units.servers, units.operations // units.servers, np.int64))
                    usage.append(
                        Usage(
                            units.path,
                            f"crossbars ({stage.target.timing.bound_by})",
                            units.servers,
                            units.operations,
                            units.busy_ps,
                            stage.queue.waited_ps / max(1, stage.queue.departures),
                            elapsed,
                        )
                    )
        return SystemResult(
            chip=self.placement.chip,
            workload=self.workload,
            placement=self.placement,
            resolution=self.resolution,
            sequence_ps=tuple((at["start", s], at["end", s]) for s in range(self.sequences)),
            passed_ps=tuple(at["passed", s] for s in range(self.sequences)),
            layer_ps=tuple(
                (layer[0][0].first_ps, end) for layer, end in zip(self.layers, self.layer_ends, strict=True)
            ),
            barrier_ps=tuple(next(stage.first_ps for stage in layer[0] if stage.keep_places) for layer in self.layers),
            actions=actions,
            usage=tuple(usage),
            crossbar_operations=np.concatenate(operations),
            statistics=self.simulation.statistics(),
            computed=computed,
            events=self.simulation.events,
            wall_seconds=time.perf_counter() - started,
            period=self.repetition.period,
        )


def _relative(item: object, sequence: int) -> Hashable:
    """What matters of a token when ``sequence`` is about to be offered; None for everything else."""
    return (item.sequence - sequence, item.position) if isinstance(item, Token) else None
