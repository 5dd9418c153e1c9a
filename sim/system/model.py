"""Runs a workload on a chip: builds the pipeline of stages, streams tokens through it, counts actions."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from simpy.events import Event

from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.kernel import (
    Booking,
    DeadlockError,
    Measurement,
    Module,
    Period,
    Repetition,
    Simulation,
    Trace,
)
from crossvote.sim.kernel.simulation import Behaviour
from crossvote.sim.system import energy
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
        layer_ps: (first token in, last token out) of every layer, first sequence.
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
    def sequences_per_s(self) -> float:
        """Throughput behind the last crossbars, from the first to the last sequence; one over the latency of one."""
        if len(self.passed_ps) == 1:
            return 1e12 / self.latency_ps
        return 1e12 * (len(self.passed_ps) - 1) / (self.passed_ps[-1] - self.passed_ps[0])

    @property
    def tops(self) -> float:
        """Unpruned operations per second, 1e12: two per multiply-accumulate."""
        return 2 * self.workload.macs * self.sequences_per_s * 1e-12

    @cached_property
    def dynamic_energy_pj(self) -> float:
        """Energy of all actions, pJ."""
        return energy.total_energy_pj(self.chip, self.actions)

    @property
    def static_energy_pj(self) -> float:
        """Static power times the length of the run, pJ."""
        return energy.static_power_w(self.chip, self.placement.chips) * self.elapsed_ps


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
        UserError: the workload does not fit onto the chip.
        DeadlockError: the tile buffers cannot hold a sequence.
    """
    start = time.perf_counter()
    if sequences < 1:
        raise UserError(f"sequences = {sequences} must be at least 1.")
    placement = place(workload, chip)
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
    chip, tokens = placement.chip, workload.tokens
    groups = placement.groups[index]
    tiles = len(placement.layer_tiles[index])
    width = chip.opc.input_bits
    hidden = _bytes(layer.hidden, width)
    intermediate = _bytes(layer.intermediate, width)
    before = placement.groups[index - 1]["ffn2"].home if index else placement.layer_tiles[0][0]

    def crossbars(role: Role, home: int, size: int, sources: list[tuple[int, int]]) -> Step:
        group = groups[role]
        route = network.build(sources, home, group.tiles.tolist(), size)
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

    def collect(role: Role) -> Step:
        group = groups[role]
        route = network.build(_sources(group), group.home, [], 0)
        return Step(
            f"{role}_collect",
            f"{role} links",
            route.interval_ps,
            route.latency_ps,
            {"flit_hop": route.flits},
            lambda parent, units, resolution: Transfer(parent, "transfer", units.network, route),
        )

    def digital(name: str, work: int, unit: str, least_ps: int) -> Step:
        d = chip.digital
        rate = tiles * (d.macs_per_tile if unit == "attention" else d.lanes_per_tile)
        occupied = -(-work // rate) * d.clock_ps
        return Step(
            name,
            f"{unit} unit",
            occupied,
            max(occupied, least_ps),
            {"mac" if unit == "attention" else "vector_op": work},
            lambda parent, units, resolution: Digital(parent, "operation", getattr(units, unit), occupied, least_ps),
        )

    d = chip.digital
    norm = layer.hidden * (d.layer_norm_ops + d.residual_ops)
    return [
        crossbars("qkv", before, hidden, []),
        collect("qkv"),
        digital("qk", layer.hidden * tokens, "attention", d.attention_ps),
        digital("softmax", workload.heads * tokens * d.softmax_ops, "vector", d.softmax_ps),
        digital("av", layer.hidden * tokens, "attention", d.attention_ps),
        crossbars("o", groups["qkv"].home, hidden, []),
        collect("o"),
        digital("norm1", norm, "vector", d.layer_norm_ps),
        crossbars("ffn1", groups["o"].home, hidden, []),
        digital("gelu", layer.intermediate * d.gelu_ops, "vector", d.gelu_ps),
        crossbars("ffn2", groups["ffn1"].home, intermediate, _sources(groups["ffn1"])),
        collect("ffn2"),
        digital("norm2", norm, "vector", d.layer_norm_ps),
    ]


def group_actions(chip: ChipConfig, place: GroupPlace) -> dict[str, int]:
    """Actions of one token vector in the crossbars of a group, network apart.

    Unused bit lines are neither held nor converted, pruned inputs are not driven, unused crossbars are not read.
    """
    group = place.group
    lines, driven = int(group.lines.sum()), int(group.driven.sum())
    codes = lines * group.row_blocks * chip.reads
    votes_per = 1 if group.vote == "output" else group.row_blocks
    mapped = chip.pipeline.peripheral == "rtl"
    vector = _bytes(group.inputs, chip.opc.input_bits)
    tiles = len(place.tiles)
    return {
        "crossbar_read": group.blocks * chip.signs * chip.reads,
        "row_drive": driven * group.column_blocks * chip.signs * chip.reads,
        "sample_hold": codes * chip.signs,
        "conversion": codes * chip.digitised,
        # Every code is accumulated; every voted column sum is added to its output.
        "shift_add": codes * chip.digitised + group.sums * votes_per,
        "vote": group.votes * votes_per,
        "map_lookup": lines * votes_per if mapped else 0,
        "input_byte": _bytes(driven, chip.opc.input_bits) * group.column_blocks,
        "output_byte": 3 * group.outputs * group.row_blocks,
        # Inputs are written to and read from the buffer of every tile, outputs are written and read once.
        "buffer_byte": 2 * vector * tiles + 2 * int(place.output_bytes.sum()),
        "bus_byte": vector * tiles + int(place.output_bytes.sum()),
    }


def _bytes(values: int, bits: int) -> int:
    return -(-values * bits // 8)


def _sources(group: GroupPlace) -> list[tuple[int, int]]:
    return list(zip(group.tiles.tolist(), group.output_bytes.tolist(), strict=True))


def _scoped_actions(layer: LayerWork, steps: list[Step], counts: list[int]) -> dict[str, dict[str, int]]:
    return {
        f"{layer.name}.{step.name}": {name: n * count for name, n in step.actions.items()}
        for step, count in zip(steps, counts, strict=True)
    }


def kv_places(layer_tiles: range, layer: LayerWork, chip: ChipConfig) -> int:
    """Tokens whose Q, K and V fit into the share of the layer's tile buffers that is meant for them; at least 1."""
    token = _bytes(3 * layer.hidden, chip.opc.input_bits)
    return max(1, int(len(layer_tiles) * chip.tile.buffer_bytes * chip.tile.kv_share) // token)


def _estimate(workload: Workload, placement: Placement, sequences: int, started: float) -> SystemResult:
    """Times without contention: within a layer, tokens follow each other at the pace of the slowest stage.

    One sequence: T = sum over layers of ((S - 1) max(pace before, pace up to the barrier) + latencies of all stages)
    + (S - 1) pace of the last layer; the next sequence follows S times the pace of the busiest unit or link later.
    """
    chip, tokens = placement.chip, workload.tokens
    network = Network(Simulation(), "network", chip, placement.tiles)
    steps = [layer_steps(layer, i, placement, network, workload) for i, layer in enumerate(workload.layers)]
    pace = host = _bytes(workload.layers[0].hidden, chip.opc.input_bits) * chip.package.link_byte_ps
    now, spans = host, []
    slowest = max(host, network.load_ps())
    for layer in steps:
        before, after = layer[:2], layer[2:]
        barrier = now + (tokens - 1) * max(pace, *(s.interval_ps for s in before)) + sum(s.latency_ps for s in before)
        first_out = barrier + sum(s.latency_ps for s in after)
        pace = max(s.interval_ps for s in after)
        spans.append((now, first_out + (tokens - 1) * pace))
        now = first_out
        shared = {unit: sum(s.interval_ps for s in layer if s.unit == unit) for unit in {s.unit for s in layer}}
        slowest = max(slowest, *shared.values(), *(s.interval_ps for s in layer))
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
        size = _bytes(self.workload.layers[0].hidden, self.placement.chip.opc.input_bits)
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
        try:
            self.simulation.run(self.done)
            self.repetition.finish()
        except DeadlockError as error:
            places = min(stage.queue.capacity for stages, _, _ in self.layers for stage in stages if stage.keep_places)
            if places >= self.workload.tokens:
                raise
            raise DeadlockError(
                f"{error} The tile buffers of a layer hold Q, K and V of {places} tokens, but a sequence has "
                f"{self.workload.tokens}: raise tile.buffer_bytes or tile.kv_share, or shorten the sequence."
            ) from None

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
