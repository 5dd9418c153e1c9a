"""What power needs of a cell library's Liberty file: functions, areas, pin capacitances and internal energies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

#: Transition time at the input of every cell, ns: no placement says what it is.
TRANSITION_NS = 0.18

_TOKEN = re.compile(r'"(?:[^"\\]|\\.|\\\n)*"|[{}();:,]|[^\s{}();:,"]+')


@dataclass
class Group:
    """A Liberty group: ``name (arguments) { attributes and groups }``."""

    name: str
    arguments: tuple[str, ...]
    attributes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)

    def named(self, name: str) -> Iterator[Group]:
        """The groups of that name in it."""
        return (group for group in self.groups if group.name == name)

    def number(self, name: str) -> float:
        """An attribute's number, 0 where there is none."""
        return float(self.attributes.get(name, ("0",))[0])


@dataclass(frozen=True)
class Table:
    """Energy in pJ over the load in pF, at the transition time that all inputs are taken to have."""

    loads: tuple[float, ...]
    energies: tuple[float, ...]

    def at(self, load: float) -> float:
        """Linear between the loads of the table, constant beyond them."""
        if load <= self.loads[0]:
            return self.energies[0]
        for number in range(1, len(self.loads)):
            if load <= self.loads[number]:
                low, high = self.loads[number - 1 : number + 1]
                share = (load - low) / (high - low)
                return self.energies[number - 1] * (1 - share) + self.energies[number] * share
        return self.energies[-1]


@dataclass(frozen=True)
class Pin:
    """A pin of a cell.

    Attributes:
        capacitance: pF. function: of an output, in Liberty's words. rising, falling: internal energy of an edge there,
            one table for each pin that it may be due to.
    """

    name: str
    output: bool
    clock: bool
    capacitance: float
    function: str
    rising: tuple[Table, ...]
    falling: tuple[Table, ...]

    def edge_pj(self, load: float) -> float:
        """Internal energy of an edge, pJ: mean of rising and falling ones and of the pins they may be due to.

        A pin's energies that are below 0, which the loads of the characterisation leave in some libraries, count so.
        """
        kinds = [tables for tables in (self.rising, self.falling) if tables]
        return sum(sum(table.at(load) for table in tables) / len(tables) for tables in kinds) / 2


@dataclass(frozen=True)
class Cell:
    """A cell: area in um2, leakage in nW.

    Attributes:
        state, next_state: name of what a flip-flop or latch stores, and what it takes. enable: what opens a latch.
    """

    name: str
    area: float
    leakage_nw: float
    pins: Mapping[str, Pin]
    state: str
    next_state: str
    enable: str


@dataclass(frozen=True)
class Library:
    """Cells by name, and the supply voltage."""

    name: str
    volts: float
    cells: Mapping[str, Cell]


def parse(text: str) -> Group:
    """The group that a Liberty text is.

    Raises:
        ValueError: it is no Liberty text.
    """
    bare = re.sub(r"/\*.*?\*/|\\\n", " ", text, flags=re.DOTALL)
    tokens = _TOKEN.findall(bare)
    root = Group("", ())
    open_groups, at = [root], 0
    try:
        while at < len(tokens):
            if tokens[at] == "}":
                open_groups.pop()
                at += 1
            elif tokens[at] == ";":
                at += 1
            elif tokens[at + 1] == ":":
                open_groups[-1].attributes[tokens[at]] = (tokens[at + 2].strip('"'),)
                at += 3
            elif tokens[at + 1] == "(":
                end = tokens.index(")", at)
                arguments = tuple(token.strip('"') for token in tokens[at + 2 : end] if token != ",")
                if tokens[end + 1 : end + 2] == ["{"]:
                    group = Group(tokens[at], arguments)
                    open_groups[-1].groups.append(group)
                    open_groups.append(group)
                    end += 1
                else:
                    open_groups[-1].attributes[tokens[at]] = arguments
                at = end + 1
            else:
                raise ValueError(f"the Liberty file has {tokens[at]!r} where a group or an attribute should be.")
        (library,) = root.groups
    except (IndexError, ValueError) as error:
        raise ValueError(f"the Liberty file cannot be read: {error}") from None
    return library


def read(text: str, areas: Mapping[str, float] | None = None) -> Library:
    """The library of a Liberty text. ``areas``: um2 of cells for which the text has none."""
    group = parse(text)
    cells = {one.arguments[0]: _cell(one, areas or {}) for one in group.named("cell")}
    return Library(group.arguments[0], group.number("nom_voltage"), cells)


def _cell(group: Group, areas: Mapping[str, float]) -> Cell:
    pins = {one.arguments[0]: _pin(one) for one in group.named("pin")}
    stores = [*group.named("ff"), *group.named("latch")]
    state = stores[0].arguments[0] if stores else ""
    data = [one.attributes.get("next_state", one.attributes.get("data_in", ("",)))[0] for one in stores]
    opens = next(
        (one.attributes["enable"][0].strip() for one in group.named("latch") if "enable" in one.attributes), ""
    )
    name = group.arguments[0]
    area = group.number("area") or areas.get(name, 0.0)
    return Cell(name, area, group.number("cell_leakage_power"), pins, state, data[0].strip() if data else "", opens)


def _pin(group: Group) -> Pin:
    powers = list(group.named("internal_power"))
    edges = [
        tuple(_table(one) for power in powers for one in power.named(kind)) for kind in ("rise_power", "fall_power")
    ]
    output = group.attributes.get("direction", ("",))[0] == "output"
    function = group.attributes.get("function", ("",))[0]
    clock = group.attributes.get("clock", ("",))[0] == "true"
    return Pin(group.arguments[0], output, clock, group.number("capacitance"), function, edges[0], edges[1])


def _numbers(rows: Sequence[str]) -> list[list[float]]:
    return [[float(number) for number in row.replace(",", " ").split()] for row in rows]


def _table(group: Group) -> Table:
    """Energies over the load (rows) at ``TRANSITION_NS`` (columns); those of an input hang on the transition only."""
    values = _numbers(group.attributes["values"])
    first = _numbers(group.attributes["index_1"])[0]
    if "index_2" not in group.attributes:
        return Table((0.0,), (Table(tuple(first), tuple(values[0])).at(TRANSITION_NS),))
    times = tuple(_numbers(group.attributes["index_2"])[0])
    return Table(tuple(first), tuple(Table(times, tuple(row)).at(TRANSITION_NS) for row in values))
