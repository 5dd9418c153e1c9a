"""One simulation: the pipeline of stages is built, tokens stream through it, counters are read."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping
from functools import partial

import numpy as np

from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.kernel import Booking, Module, Repetition, Simulation, Trace
from crossvote.sim.kernel.simulation import Behaviour
from crossvote.sim.system.actions import offer_ps
from crossvote.sim.system.attention import kv_places
from crossvote.sim.system.computed import ComputedCrossbars
from crossvote.sim.system.cosim import CosimRequest
from crossvote.sim.system.network import Network
from crossvote.sim.system.placement import Placement
from crossvote.sim.system.result import Resolution, SystemResult, Usage
from crossvote.sim.system.steps import Units, head_steps, layer_steps, lookups, scoped_actions
from crossvote.sim.system.token_stages import Barrier, Crossbars, Token, TokenStage
from crossvote.sim.system.workload import LayerWork, Workload


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
        self.head = head_steps(placement, self.network, workload)
        self.steps[-1] += self.head.each
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

    def _layer(self, index: int, layer: LayerWork) -> tuple[list[TokenStage], Booking, Booking]:
        chip, tokens = self.placement.chip, self.workload.tokens
        module = Module(self.simulation, f"layer{index}")
        units = Units(self.network, Booking(module, "attention"), Booking(module, "vector"), self.computed)
        stages = []
        for step in self.steps[index]:
            scope = Module(module, step.name)
            target = step.make(scope, units, self.resolution)
            attends = step.name == "qk"
            places = kv_places(self.placement.layer_tiles[index], layer, chip) if attends else chip.tile.queue_vectors
            stages.append(TokenStage(scope, "stage", target, places, keep_places=attends))
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
        occupied = offer_ps(self.workload, self.placement.chip)
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

    def _offer(self, token: Token) -> None:
        self._offered.deliver(token)

    def go(self) -> None:
        """Run until the last token is done."""
        self.simulation.start(self.host, self._source())
        self.simulation.run(self.done)
        self.repetition.finish()

    def result(self, started: float) -> SystemResult:
        elapsed = self.simulation.now + self.head.latency_ps
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
            actions.update(scoped_actions(layer, steps, counts))
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
        actions.update(self.head.actions(self.sequences))
        actions.update(lookups(self.workload, self.placement.chip, self.sequences))
        return SystemResult(
            chip=self.placement.chip,
            workload=self.workload,
            placement=self.placement,
            resolution=self.resolution,
            sequence_ps=tuple((at["start", s], at["end", s] + self.head.latency_ps) for s in range(self.sequences)),
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
