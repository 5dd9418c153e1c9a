"""The mesh between tiles: routes with dimension-ordered (X first) routing, and links that are contended."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.kernel import Measurement, Module, Simulation
from crossvote.sim.kernel.simulation import Key


@dataclass(frozen=True, eq=False)
class Route:
    """A transfer that is done once per token vector.

    Attributes:
        number: of the route in its network. links: (link, how long it is taken, ps).
        onwards: where inputs are finite, the same links, each after all links into which it leads: (link, time taken,
            these links).
        arrival_ps: int64[destinations], time from its start until the last byte is at each destination.
        flits: flits times links. chip_bytes: bytes over links between chips.
    """

    number: int
    links: tuple[tuple[int, int], ...]
    onwards: tuple[tuple[int, int, tuple[int, ...]], ...]
    arrival_ps: NDArray[np.int64]
    flits: int
    chip_bytes: int

    @cached_property
    def latency_ps(self) -> int:
        return int(self.arrival_ps.max())

    @property
    def interval_ps(self) -> int:
        """Time from one such transfer to the next when nothing else uses the links."""
        return max((busy for _, busy in self.links), default=0)


class Network(Module):
    """Links as bookings with virtual cut-through: a busy link delays what passes it, and nothing else.

    With ``network.buffer_flits`` the inputs of routers hold so many flits of a transfer and give credits: one that does
    not fit holds every link on its way until all but so many of its flits have left the link after it. Routers that are
    waited for then make others wait that do not even pass them. X before Y makes no circle of links, so nothing
    deadlocks.

    Every tile has a port into and out of its router; routers form a mesh per chip; neighbouring chips are joined at
    their first routers. A route's home is a router: vectors are put together and copied there. Link names:
    ("in", tile), ("out", tile), ("mesh", router, router), ("chip", chip, chip).
    """

    counters = ("transfers", "wait_ps", "held_ps")

    def __init__(self, parent: Module | Simulation, name: str, chip: ChipConfig, tiles: int) -> None:
        super().__init__(parent, name)
        self.chip = chip
        self.routers_per_chip = -(-chip.package.tiles // chip.network.tiles_per_router)
        self.width = math.isqrt(self.routers_per_chip - 1) + 1
        self.several_chips = tiles > chip.package.tiles
        #: The router of every tile; those of a chip are numbered on from those of the chip before.
        self._router = [
            tile // chip.package.tiles * self.routers_per_chip
            + tile % chip.package.tiles // chip.network.tiles_per_router
            for tile in range(tiles)
        ]
        #: Links by number: what they are called, whether they are between chips, and when they are free.
        self.names: list[tuple[object, ...]] = []
        self._far: list[bool] = []
        self._free: list[int] = []
        self._index: dict[tuple[object, ...], int] = {}
        self._paths: dict[tuple[int, int], tuple[int, ...]] = {}
        self.transfers = self.wait_ps = self.held_ps = 0
        #: Time that a full input of a router lasts; None where inputs are not limited.
        depth = chip.network.buffer_flits
        self._depth_ps = depth * chip.network.link_ps if depth else None
        #: By route: how often it was used, and the links that are booked for it.
        self._routes: list[Route] = []
        self._uses: list[int] = []
        self._booked: list[tuple[tuple[int, int], ...]] = []
        self._load: dict[int, int] = {}

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
        load: dict[int, int] = {}
        after: dict[int, set[int]] = {}

        credits = self._depth_ps is not None

        def chain(path: Sequence[int]) -> None:
            if credits:
                for link, following in itertools.pairwise(path):
                    after.setdefault(link, set()).add(following)

        exchanged_hops = 0
        for tile, other, sent in exchanged:
            path = self._between(tile, other)
            exchanged_hops = max(exchanged_hops, len(path))
            chain(path)
            _add(load, path, sent)

        def each(parts: Iterable[tuple[int, int]], load: dict[int, int], inward: bool) -> int:
            """Book parts of their own, from tiles to home or the other way; the most hops that one takes."""
            most, together = 0, dict[tuple[int, ...], int]()  # what tiles of one router send goes the same way
            for tile, sent in parts:
                if sent:
                    if inward:
                        port, way = self._number(("out", tile)), self._path(tile, home)
                    else:
                        way, port = self._path(home, tile), self._number(("in", tile))
                    load[port] = load.get(port, 0) + sent
                    together[way] = together.get(way, 0) + sent
                    most = max(most, len(way) + 1)
                    chain((port, *way) if inward else (*way, port))
            for way, sent in together.items():
                _add(load, way, sent)
            return most

        collected_hops = each(sources, load, inward=True)
        collect = dict(load)
        hops = []
        spread: set[int] = set()
        for tile in destinations:
            path = self._to(home, tile)
            spread.update(path)
            chain(path)
            hops.append(len(path))
        dealt: dict[int, int] = {}
        dealt_hops = each(scattered, dealt, inward=False)
        for tiles, sent in shared:
            ways = [self._to(home, tile) for tile in tiles]
            dealt_hops = max(dealt_hops, *map(len, ways))
            for path in ways:
                chain(path)
            _add(dealt, {link for way in ways for link in way}, sent)
        _add(dealt, spread, size)
        for link, sent in dealt.items():
            load[link] = load.get(link, 0) + sent
        network = self.chip.network
        far = {link: sent for link, sent in load.items() if self._far[link]} if self.several_chips else {}
        flits = {link: -(-8 * load[link] // network.flit_bits) for link in sorted(load)}
        busy = {link: n * network.link_ps for link, n in flits.items()}
        for link, sent in far.items():
            flits[link], busy[link] = 0, sent * self.chip.package.link_byte_ps
        total = self._load
        for link, taken in busy.items():
            total[link] = total.get(link, 0) + taken
        collecting, spreading = self._longest_ps(collect), self._longest_ps(dealt)
        # Cut-through: heads pay a router per hop, the body follows at the rate of the slowest link of the whole way.
        body = max(collecting, spreading)
        spread_hops = np.array(hops or [dealt_hops], np.int64)
        arrival = (spread_hops + collected_hops + exchanged_hops) * network.router_ps + body
        route = Route(
            number=len(self._routes),
            links=tuple(busy.items()),
            onwards=tuple((link, busy[link], tuple(sorted(after.get(link, ())))) for link in _last_first(busy, after))
            if credits
            else (),
            arrival_ps=arrival,
            flits=sum(flits.values()),
            chip_bytes=sum(far.values()),
        )
        self._routes.append(route)
        self._booked.append(route.links)
        self._uses.append(0)
        return route

    def _longest_ps(self, load: Mapping[int, int]) -> int:
        """Longest time that a link is taken by so many bytes each."""
        near, far = 0, 0
        for link, sent in load.items():
            if self._far[link]:
                far = max(far, sent)
            elif sent > near:
                near = sent
        network = self.chip.network
        return max(-(-8 * near // network.flit_bits) * network.link_ps, far * self.chip.package.link_byte_ps)

    def settle(self) -> None:
        """All routes are built: forget the links that can never be the last to become free.

        A link that is never used without another, and never for longer, is never free later than that one, so it
        decides nothing. ``usage`` counts it all the same.
        """
        users: dict[int, dict[int, int]] = {}
        for route in self._routes:
            for link, taken in route.links:
                users.setdefault(link, {})[route.number] = taken
        alike: dict[tuple[tuple[int, int], ...], int] = {}
        # Of the links that only one route uses, which are most, the one that it takes longest outlasts the others.
        single: dict[int, int] = {}
        for link, own in users.items():
            if len(own) > 1:
                alike.setdefault(tuple(own.items()), link)
            else:
                ((number, taken),) = own.items()
                if number not in single or taken > users[single[number]][number]:
                    single[number] = link
        candidates = sorted([*alike.values(), *single.values()])
        # Those that may outlast others come first.
        order = sorted(candidates, key=lambda link: (-len(users[link]), -sum(users[link].values())))
        kept: set[int] = set()
        by_route: list[list[dict[int, int]]] = [[] for _ in self._routes]
        for link in order:
            own = users[link]
            rivals = min((by_route[number] for number in own), key=len)
            if not any(own.keys() <= other.keys() and all(other[r] >= t for r, t in own.items()) for other in rivals):
                kept.add(link)
                for number in own:
                    by_route[number].append(own)
        self._booked = [tuple(one for one in route.links if one[0] in kept) for route in self._routes]

    def start(self, route: Route, arrival_ps: int, label: str = "") -> int:
        """Book a transfer that is offered at ``arrival_ps``; returns when its last link starts, ps. O(links)."""
        self.transfers += 1
        self._uses[route.number] += 1
        free, last, trace = self._free, arrival_ps, self.simulation.trace
        if self._depth_ps is not None:
            return self._start_with_credits(route, arrival_ps, label)
        for link, taken in self._booked[route.number]:
            begin = free[link]
            if begin <= arrival_ps:
                begin = arrival_ps
            elif begin > last:
                last = begin
            free[link] = begin + taken
            if trace is not None and taken:
                trace.span(f"{self.path}.{'-'.join(map(str, self.names[link]))}", 0, label, begin, begin + taken)
        self.wait_ps += last - arrival_ps
        return last

    def _start_with_credits(self, route: Route, arrival_ps: int, label: str) -> int:
        free, last, trace, depth = self._free, arrival_ps, self.simulation.trace, self._depth_ps
        assert depth is not None
        for link, taken, following in route.onwards:
            begin = free[link] if free[link] > arrival_ps else arrival_ps
            last = max(last, begin)
            end = begin + taken
            held = max((free[after] - depth for after in following), default=end) if taken > depth else end
            self.held_ps += max(0, held - end)
            free[link] = max(end, held)
            if trace is not None and taken:
                trace.span(f"{self.path}.{'-'.join(map(str, self.names[link]))}", 0, label, begin, free[link])
        self.wait_ps += last - arrival_ps
        return last

    def state(self, key: Key) -> Hashable:
        now = self.simulation.now
        return tuple(max(0, free - now) for free in self._free)

    def snapshot(self) -> dict[str, int]:
        return {**super().snapshot(), **{f"use {n}": uses for n, uses in enumerate(self._uses)}}

    def extend(self, gained: dict[str, int], times: int) -> None:
        super().extend({name: gained[name] for name in self.counters}, times)
        for n in range(len(self._uses)):
            self._uses[n] += times * gained.get(f"use {n}", 0)

    def usage(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Transfers and busy time (ps) of every link, int64[links] each."""
        operations, busy = np.zeros(len(self.names), np.int64), np.zeros(len(self.names), np.int64)
        for route, uses in zip(self._routes, self._uses, strict=True):
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
            "held": Measurement(self.held_ps, "ps", "time that links were held by transfers that waited farther on"),
            "busiest": Measurement(int(busy.max(initial=0)) / elapsed, "1", "busy share of the busiest link"),
        }

    def _number(self, link: tuple[object, ...]) -> int:
        number = self._index.get(link)
        if number is None:
            number = self._index[link] = len(self.names)
            self.names.append(link)
            self._far.append(link[0] == "chip")
            self._free.append(0)
        return number

    def _to(self, home: int, tile: int) -> tuple[int, ...]:
        """Links from the router of a tile into another tile."""
        return (*self._path(home, tile), self._number(("in", tile)))

    def _between(self, one: int, other: int) -> tuple[int, ...]:
        """Links from tile to tile."""
        return (self._number(("out", one)), *self._to(one, other))

    def _path(self, source: int, target: int) -> tuple[int, ...]:
        """Links from the router of a tile to that of another."""
        a, b = self._router[source], self._router[target]
        found = self._paths.get((a, b))
        return found if found is not None else self._find(a, b)

    def _find(self, a: int, b: int) -> tuple[int, ...]:
        """Links from router to router: those of a way that is known already, and the rest one by one."""
        found, rest, at = None, [], b
        while found is None and at != a:
            before, link = self._last(a, at)
            rest.append((at, link))
            found, at = self._paths.get((a, before)), before
        way: tuple[int, ...] = found or ()
        for stop, link in reversed(rest):
            way = self._paths[a, stop] = (*way, self._number(link))
        return way

    def _last(self, a: int, b: int) -> tuple[int, tuple[object, ...]]:
        """Of the way from router ``a`` to another one ``b``: the last router before ``b``, and the link from there."""
        (chip_a, a), (chip_b, b) = divmod(a, self.routers_per_chip), divmod(b, self.routers_per_chip)
        first = chip_b * self.routers_per_chip
        if chip_a != chip_b:
            if b == 0:  # chips are joined at their first routers
                chip = chip_b - 1 if chip_b > chip_a else chip_b + 1
                return chip * self.routers_per_chip, ("chip", chip, chip_b)
            a = 0
        (ya, xa), (yb, xb) = divmod(a, self.width), divmod(b, self.width)
        # X before Y, so the way comes along the column if it comes from another row, unless that is the last one and
        # ends before this column: such a way leaves its row early. Only turns from Y to X on the way up are added,
        # which close no circle of full buffers (turn model, Glass and Ni, ISCA 1992).
        above = ya != yb and ya * self.width + xb < self.routers_per_chip
        stride, ahead = (self.width, yb > ya) if above else (1, xb > xa)
        before = b - stride if ahead else b + stride
        return first + before, ("mesh", first + before, first + b)


def _last_first(links: Iterable[int], after: Mapping[int, Iterable[int]]) -> list[int]:
    """The links, each behind all links that follow it on a way."""
    order: dict[int, None] = {}

    def visit(link: int) -> None:
        if link not in order:
            for following in sorted(after.get(link, ())):
                visit(following)
            order[link] = None

    for link in links:
        visit(link)
    return list(order)


def _add(load: dict[int, int], links: Iterable[int], sent: int) -> None:
    for link in links:
        load[link] = load.get(link, 0) + sent
