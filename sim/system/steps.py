"""The stages that a token passes in one layer: what each occupies, for how long, and what it does to the hardware."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.kernel import Booking, Module, Simulation
from crossvote.sim.system.actions import group_actions, size_bytes
from crossvote.sim.system.attention import Attention, plan_attention
from crossvote.sim.system.computed import ComputedCrossbars
from crossvote.sim.system.cosim import CosimRequest
from crossvote.sim.system.network import Network
from crossvote.sim.system.placement import GroupPlace, Placement
from crossvote.sim.system.token_stages import Crossbars, Digital, GroupTiming, Transfer
from crossvote.sim.system.workload import LayerWork, Role, Workload


@dataclass(frozen=True, eq=False)
class Step:
    """One stage of a layer's pipeline before it is built.

    Attributes:
        name: of the stage. unit: what it occupies; stages of a layer may share a unit.
        interval_ps, latency_ps: without contention. actions: counts of one token.
        links: (link, how long a token takes it, ps).
    """

    name: str
    unit: str
    interval_ps: int
    latency_ps: int
    actions: dict[str, int]
    make: Callable[[Module, Units, str], Crossbars | Transfer | Digital]
    links: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, eq=False)
class Units:
    """What the stages of a layer share."""

    network: Network
    attention: Booking
    vector: Booking
    computed: Mapping[str, CosimRequest]


def layer_steps(layer: LayerWork, index: int, placement: Placement, network: Network, workload: Workload) -> list[Step]:
    """The stages a token passes in one layer, in order; attention waits for the whole sequence at "qk"."""
    chip = placement.chip
    groups = placement.groups[index]
    tiles = placement.layer_tiles[index]
    width = chip.opc.input_bits
    intermediate = size_bytes(layer.intermediate, width)
    before = placement.groups[index - 1]["ffn2"].home if index else tiles[0]
    attention = plan_attention(chip, layer, tiles, workload.heads, workload.keys, workload.held)

    def crossbars(
        role: Role,
        home: int,
        size: int,
        sources: Sequence[tuple[int, int]],
        exchanged: Sequence[tuple[int, int, int]] = (),
    ) -> Step:
        return _crossbars(role, groups[role], chip, network, home, size, sources, exchanged)

    def collect(role: Role, attention: Attention | None = None) -> Step:
        return _collect(role, groups[role], network, attention)

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
        return digital(name, "attention", attention.occupied_ps, d.attention_ps, attention.actions[name])

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


@dataclass(frozen=True, eq=False)
class HeadSteps:
    """What follows the last layer: for every token, or for one vector of a sequence when its last token is done.

    Attributes:
        each: stages that every token passes. once: stages that one vector of a sequence passes, in a pause of all
            other traffic that is too short to matter; they take ``latency_ps``.
    """

    each: list[Step]
    once: list[Step]

    @property
    def latency_ps(self) -> int:
        """Time of the one vector."""
        return sum(step.latency_ps for step in self.once)

    def actions(self, sequences: int) -> dict[str, dict[str, int]]:
        """Counts of ``once`` by scope."""
        return {f"head.{step.name}": {name: n * sequences for name, n in step.actions.items()} for step in self.once}


def head_steps(placement: Placement, network: Network, workload: Workload) -> HeadSteps:
    """The groups of the head, one after the other."""
    if workload.head_every:
        return HeadSteps(_head_steps(placement, network), [])
    # The links of its own network, so that one vector is not taken for the load of every token.
    apart = Network(Simulation(), "head", placement.chip, placement.tiles)
    return HeadSteps([], _head_steps(placement, apart))


def _head_steps(placement: Placement, network: Network) -> list[Step]:
    home = placement.groups[-1]["ffn2"].home
    steps: list[Step] = []
    for number, group in enumerate(placement.head):
        size = size_bytes(group.group.inputs, placement.chip.opc.input_bits)
        steps += [
            _crossbars(f"head{number}", group, placement.chip, network, home, size, []),
            _collect(f"head{number}", group, network),
        ]
        home = group.home
    return steps


def _crossbars(
    name: str,
    group: GroupPlace,
    chip: ChipConfig,
    network: Network,
    home: int,
    size: int,
    sources: Sequence[tuple[int, int]],
    exchanged: Sequence[tuple[int, int, int]] = (),
) -> Step:
    """A group's crossbars, with the way of a vector of ``size`` bytes from ``home`` to them."""
    route = network.build(sources, home, group.tiles.tolist(), size, exchanged=exchanged)
    timing = GroupTiming(chip, group.group)

    def make(parent: Module, units: Units, resolution: str) -> Crossbars:
        real = units.computed.get(group.group.name)
        if real is None:
            return Crossbars(parent, "crossbars", group, timing, units.network, route, resolution)
        return ComputedCrossbars(parent, "crossbars", group, timing, units.network, route, resolution, real)

    return Step(
        name,
        f"{name} crossbars",
        # The next token is sent when this one has started, so its way counts, too.
        max(timing.interval_ps, route.interval_ps, route.latency_ps),
        route.latency_ps + timing.latency_ps,
        {**group_actions(chip, group), "flit_hop": route.flits},
        make,
        route.links,
    )


def _collect(name: str, group: GroupPlace, network: Network, attention: Attention | None = None) -> Step:
    """The way of a group's results to where they are collected."""
    scattered, shared = (attention.scattered, attention.queries) if attention else ((), ())
    route = network.build(_sources(group), group.home, [], 0, scattered, shared=shared)
    return Step(
        f"{name}_collect",
        f"{name} links",
        route.interval_ps,
        route.latency_ps,
        {"flit_hop": route.flits},
        lambda parent, units, resolution: Transfer(parent, "transfer", units.network, route),
        route.links,
    )


def _sources(group: GroupPlace) -> list[tuple[int, int]]:
    return list(zip(group.tiles.tolist(), group.output_bytes.tolist(), strict=True))


def lookups(workload: Workload, chip: ChipConfig, sequences: int) -> dict[str, dict[str, int]]:
    """Counts of looking tokens up in a table that lies in crossbars; none without one."""
    if workload.table is None:
        return {}
    times = workload.tokens * sequences
    return {"embeddings.lookup": {name: n * times for name, n in workload.table.actions(chip).items()}}


def scoped_actions(layer: LayerWork, steps: list[Step], counts: list[int]) -> dict[str, dict[str, int]]:
    return {
        f"{layer.name}.{step.name}": {name: n * count for name, n in step.actions.items()}
        for step, count in zip(steps, counts, strict=True)
    }
