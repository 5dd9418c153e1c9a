"""The mesh between tiles: routes with dimension-ordered (X first) routing, and links that are contended."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.kernel import Measurement, Module, Simulation
from crossvote.sim.kernel.simulation import Key


@dataclass(frozen=True, eq=False)
class Route:
    """A transfer that is done once per token vector.

    Attributes:
        links: (link, how long it is taken, ps).
        arrival_ps: int64[destinations], time from its start until the last byte is at each destination.
        flits: flits times links. chip_bytes: bytes over links between chips.
    """

    links: tuple[tuple[int, int], ...]
    arrival_ps: NDArray[np.int64]
    flits: int
    chip_bytes: int

    @property
    def latency_ps(self) -> int:
        return int(self.arrival_ps.max())

    @property
    def interval_ps(self) -> int:
        """Time from one such transfer to the next when nothing else uses the links."""
        return max((busy for _, busy in self.links), default=0)


class Network(Module):
    """Links as bookings with virtual cut-through: a busy link delays what passes it, and nothing else.

    Every tile has a port into and out of its router; routers form a mesh per chip; neighbouring chips are joined at
    their first routers. A route's home is a router: vectors are put together and copied there. Link names:
    ("in", tile), ("out", tile), ("mesh", router, router), ("chip", chip, chip).
    """

    counters = ("transfers", "wait_ps")

    def __init__(self, parent: Module | Simulation, name: str, chip: ChipConfig, tiles: int) -> None:
        super().__init__(parent, name)
        self.chip = chip
        self.routers_per_chip = -(-chip.package.tiles // chip.network.tiles_per_router)
        self.width = math.isqrt(self.routers_per_chip - 1) + 1
        self.names: list[tuple[object, ...]] = []
        self._index: dict[tuple[object, ...], int] = {}
        self.transfers = self.wait_ps = 0
        self._uses: dict[Route, int] = {}
        self._free: list[int] = []
        self._routes: list[Route] = []
        self._booked: dict[Route, tuple[tuple[int, int], ...]] = {}
        self._load: dict[tuple[object, ...], int] = {}

    def load_ps(self) -> int:
        """Time that the busiest link needs per token vector when every route is used once."""
        return max(self._load.values(), default=0)

    def build(
        self,
        sources: Iterable[tuple[int, int]],
        home: int,
        destinations: Iterable[int],
        size: int,
        scattered: Iterable[tuple[int, int]] = (),
        exchanged: Iterable[tuple[int, int, int]] = (),
        shared: Iterable[tuple[Sequence[int], int]] = (),
    ) -> Route:
        """A route that collects bytes at the router of tile ``home`` and sends ``size`` bytes from there on.

        Args:
            sources: (tile, bytes) of what is collected; empty when the vector is already at home.
            destinations: tiles that get the vector (a multicast: a shared link carries it once); empty to stop at home.
            scattered: (tile, bytes) of parts that go from home to one tile each.
            shared: (tiles, bytes) of parts that go from home to several tiles each, again as multicasts.
            exchanged: (tile, tile, bytes) of what moves between tiles before anything is collected.
        """
        load: dict[tuple[object, ...], int] = {}
        collected_hops = exchanged_hops = 0
        path: list[tuple[object, ...]]
        for tile, other, sent in exchanged:
            path = [("out", tile), *self._path(tile, other), ("in", other)]
            exchanged_hops = max(exchanged_hops, len(path))
            for link in path:
                load[link] = load.get(link, 0) + sent
        for tile, sent in sources:
            path = [("out", tile), *self._path(tile, home)] if sent else []
            collected_hops = max(collected_hops, len(path))
            for link in path:
                load[link] = load.get(link, 0) + sent
        collect = dict(load)
        hops = []
        dealt_hops = 0
        spread: set[tuple[object, ...]] = set()
        for tile in destinations:
            path = [*self._path(home, tile), ("in", tile)]
            spread.update(path)
            hops.append(len(path))
        dealt: dict[tuple[object, ...], int] = {}
        for tile, sent in scattered:
            path = [*self._path(home, tile), ("in", tile)] if sent else []
            dealt_hops = max(dealt_hops, len(path))
            for link in path:
                dealt[link] = dealt.get(link, 0) + sent
        for tiles, sent in shared:
            ways = [[*self._path(home, tile), ("in", tile)] for tile in tiles]
            dealt_hops = max(dealt_hops, *map(len, ways))
            for link in dict.fromkeys(itertools.chain(*ways)):
                dealt[link] = dealt.get(link, 0) + sent
        for link in sorted(spread, key=str):
            load[link] = load.get(link, 0) + size
        for link, sent in dealt.items():
            load[link] = load.get(link, 0) + sent
        network, package = self.chip.network, self.chip.package
        router = network.router_ps

        def time(link: tuple[object, ...], sent: int) -> int:
            if link[0] == "chip":
                return sent * package.link_byte_ps
            return -(-8 * sent // network.flit_bits) * network.link_ps

        busy = {link: time(link, sent) for link, sent in load.items()}
        for link, taken in busy.items():
            self._load[link] = self._load.get(link, 0) + taken
        collecting = max((time(link, sent) for link, sent in collect.items()), default=0)
        spreading = max(
            (time(link, size * (link in spread) + dealt.get(link, 0)) for link in {*spread, *dealt}), default=0
        )
        # Cut-through: heads pay a router per hop, the body follows at the rate of the slowest link of the whole way.
        body = max(collecting, spreading)
        spread_hops = np.array(hops or [dealt_hops], np.int64)
        arrival = (spread_hops + collected_hops + exchanged_hops) * router + body
        route = Route(
            links=tuple((self._number(link), taken) for link, taken in busy.items()),
            arrival_ps=arrival,
            flits=sum(-(-8 * sent // network.flit_bits) for link, sent in load.items() if link[0] != "chip"),
            chip_bytes=sum(sent for link, sent in load.items() if link[0] == "chip"),
        )
        self._routes.append(route)
        return route

    def settle(self) -> None:
        """All routes are built: forget the links that can never be the last to become free.

        A link that is used by the same routes as another, in each of them for as long at most, is never free later than
        that one, so it decides nothing. ``usage`` counts it all the same.
        """
        users: dict[int, list[tuple[int, int]]] = {}
        for number, route in enumerate(self._routes):
            for link, taken in route.links:
                users.setdefault(link, []).append((number, taken))
        alike: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
        chosen: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
        for link, uses in users.items():
            routes, times = tuple(n for n, _ in uses), tuple(taken for _, taken in uses)
            alike.setdefault(routes, set()).add(times)
            chosen.setdefault((routes, times), link)
        kept = {
            chosen[routes, one]
            for routes, found in alike.items()
            for one in found
            if not any(other != one and all(a >= b for a, b in zip(other, one, strict=True)) for other in found)
        }
        self._booked = {
            route: tuple((link, taken) for link, taken in route.links if link in kept) for route in self._routes
        }

    def start(self, route: Route, arrival_ps: int, label: str = "") -> int:
        """Book a transfer that is offered at ``arrival_ps``; returns when its last link starts, ps. O(links)."""
        self.transfers += 1
        self._uses[route] = self._uses.get(route, 0) + 1
        free, last = self._free, arrival_ps
        booked = self._booked.get(route, route.links)
        trace = self.simulation.trace
        for link, taken in booked:
            start = free[link]
            if start > last:
                last = start
            begin = start if start > arrival_ps else arrival_ps
            free[link] = begin + taken
            if trace is not None and taken:
                trace.span(f"{self.path}.{'-'.join(map(str, self.names[link]))}", 0, label, begin, begin + taken)
        self.wait_ps += last - arrival_ps
        return last

    def state(self, key: Key) -> Hashable:
        now = self.simulation.now
        return tuple(max(0, free - now) for free in self._free)

    def snapshot(self) -> dict[str, int]:
        return {**super().snapshot(), **{f"use {n}": uses for n, uses in enumerate(self._uses.values())}}

    def extend(self, gained: dict[str, int], times: int) -> None:
        super().extend({name: gained[name] for name in self.counters}, times)
        for n, route in enumerate(self._uses):
            self._uses[route] += times * gained.get(f"use {n}", 0)

    def usage(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Transfers and busy time (ps) of every link, int64[links] each."""
        operations, busy = np.zeros(len(self.names), np.int64), np.zeros(len(self.names), np.int64)
        for route, uses in self._uses.items():
            for link, taken in route.links:
                operations[link] += uses
                busy[link] += uses * taken
        return operations, busy

    def measurements(self) -> dict[str, Measurement]:
        _, busy = self.usage()
        elapsed = max(1, self.simulation.now)
        return {
            "transfers": Measurement(self.transfers, "transfers", "vectors sent"),
            "links": Measurement(len(self.names), "links", "links in use"),
            "wait": Measurement(self.wait_ps / max(1, self.transfers), "ps", "mean wait of a transfer for its links"),
            "busiest": Measurement(int(busy.max(initial=0)) / elapsed, "1", "busy share of the busiest link"),
        }

    def _number(self, link: tuple[object, ...]) -> int:
        if link not in self._index:
            self._index[link] = len(self.names)
            self._free.append(0)
            self.names.append(link)
        return self._index[link]

    def _path(self, source: int, target: int) -> list[tuple[object, ...]]:
        """Links from the router of a tile to that of another."""
        per_chip = self.chip.package.tiles
        chip_a, chip_b = source // per_chip, target // per_chip
        a = source % per_chip // self.chip.network.tiles_per_router
        b = target % per_chip // self.chip.network.tiles_per_router
        if chip_a == chip_b:
            return self._mesh(chip_a, a, b)
        step = 1 if chip_b > chip_a else -1
        between: list[tuple[object, ...]] = [("chip", chip, chip + step) for chip in range(chip_a, chip_b, step)]
        return [*self._mesh(chip_a, a, 0), *between, *self._mesh(chip_b, 0, b)]

    def _mesh(self, chip: int, a: int, b: int) -> list[tuple[object, ...]]:
        offset = chip * self.routers_per_chip
        (ya, xa), (yb, xb) = divmod(a, self.width), divmod(b, self.width)
        along = [*range(xa, xb, 1 if xb > xa else -1), xb]
        down = [*range(ya, yb, 1 if yb > ya else -1), yb]
        stops = [offset + ya * self.width + x for x in along] + [offset + y * self.width + xb for y in down[1:]]
        return [("mesh", one, two) for one, two in itertools.pairwise(stops)]
