"""Netlists of library cells, simulated side by side: 64 streams a word, one settled value per net and clock.

Values have no delays, so a net changes once in a clock at most: glitches are not seen, and power from these toggles has
none of theirs.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.liberty import Cell, Library

Words = NDArray[np.uint64]
#: Nets of the constants 0 and 1; others follow.
ZERO, ONE = 0, 1
ALL = np.uint64(2**64 - 1)


def function(text: str, pins: Sequence[str]) -> Callable[..., Words]:
    """A Liberty function of the pins, on words of 64 values. A blank between two operands is an AND.

    Raises:
        ValueError: it names something that is no pin.
    """
    parts: list[str] = []
    for token in re.findall(r"\w+|[()!^+*&|]", text):
        operand = re.fullmatch(r"\w+", token) is not None
        if operand and token not in (*pins, "0", "1"):
            raise ValueError(f"the function '{text}' names {token}, which is no pin.")
        if parts and (operand or token in "(!") and (parts[-1] == ")" or parts[-1][-1].isalnum()):
            parts.append("&")
        parts.append({"!": "~", "+": "|", "*": "&"}.get(token, token))
    flat = re.sub(r"\([^()]*\)", "", " ".join(parts))
    if "^" in flat and "&" in flat:
        raise ValueError(f"the function '{text}' mixes XOR and AND without brackets, which Python orders otherwise.")
    # Only pins, brackets and operators are left.
    made: Callable[..., Words] = eval(f"lambda {', '.join(pins)}: {' '.join(parts)}")
    return made


@dataclass(frozen=True)
class Instance:
    """A cell of the netlist. nets: by pin. block: first parts of its name, where it came from."""

    name: str
    cell: Cell
    nets: Mapping[str, int]


class Gates:
    """A netlist of library cells with one clock.

    Attributes:
        ports: nets of each port, lowest bit first. outputs: ports that are outputs.
        instances, names: cells; for each net the names that the design has for it.
    """

    def __init__(self, document: Mapping[str, Any], top: str, library: Library, clock: str = "clk") -> None:
        """``document``: what Yosys's write_json says of a flat design.

        Raises:
            ValueError: a cell that the library does not have, a flip-flop with another clock, or a loop of gates.
        """
        module = document["modules"][top]
        numbers: dict[int | str, int] = {"0": ZERO, "1": ONE, "x": ZERO}

        def net(bit: int | str) -> int:
            return numbers.setdefault(bit, len(numbers) - 1)

        self.ports = {name: [net(bit) for bit in port["bits"]] for name, port in module["ports"].items()}
        self.outputs = {name for name, port in module["ports"].items() if port["direction"] == "output"}
        self.instances = []
        for name, one in module["cells"].items():
            if one["type"] == "$scopeinfo":
                continue
            if one["type"] not in library.cells:
                raise ValueError(f"the library {library.name} has no cell {one['type']} ({name}).")
            nets = {pin: net(bits[0]) for pin, bits in one["connections"].items() if bits}
            self.instances.append(Instance(name, library.cells[one["type"]], nets))
        self.names: dict[int, list[str]] = defaultdict(list)
        for name, one in module["netnames"].items():
            for place, bit in enumerate(one["bits"]):
                if bit in numbers:
                    self.names[numbers[bit]].append(f"{name}[{place}]" if len(one["bits"]) > 1 else name)
        self.nets = len(numbers) - 1
        (self.clock,) = self.ports[clock]
        self.storing = [one for one in self.instances if one.cell.state]
        for one in self.storing:
            pin = next(pin.name for pin in one.cell.pins.values() if pin.clock)
            if one.nets[pin] != self.clock:
                raise ValueError(f"{one.name} has a clock of its own.")
        self.levels = self._levels()

    def _levels(self) -> list[tuple[str, Cell, list[Instance]]]:
        """(output pin, cell, instances) in an order in which all inputs are settled before."""
        level = dict.fromkeys([ZERO, ONE], 0)
        for name, nets in self.ports.items():
            if name not in self.outputs:
                level |= dict.fromkeys(nets, 0)
        for one in self.storing:
            level |= {one.nets[pin.name]: 0 for pin in one.cell.pins.values() if pin.output and pin.name in one.nets}
        sinks: dict[int, list[Instance]] = defaultdict(list)
        waiting: Counter[str] = Counter()
        gates = [one for one in self.instances if not one.cell.state]
        for one in gates:
            inputs = [n for pin, n in one.nets.items() if not one.cell.pins[pin].output]
            waiting[one.name] = len(inputs)
            for n in inputs:
                sinks[n].append(one)
        ready, groups = list(level), defaultdict(list)
        while ready:
            now = ready.pop()
            for one in sinks[now]:
                waiting[one.name] -= 1
                if waiting[one.name] == 0:
                    own = 1 + max(level[n] for pin, n in one.nets.items() if not one.cell.pins[pin].output)
                    for pin in one.cell.pins.values():
                        if pin.output and pin.name in one.nets:
                            level[one.nets[pin.name]] = own
                            ready.append(one.nets[pin.name])
                            groups[own, one.cell.name, pin.name].append(one)
        if any(waiting.values()):
            raise ValueError("there is a loop of gates, or a net that nothing drives.")
        return [(pin, found[0].cell, found) for (_, _, pin), found in sorted(groups.items(), key=lambda item: item[0])]


class GateSimulation:
    """Streams of values through a netlist. All storage starts at 0.

    Attributes:
        toggles: int64[nets], changes of each net between settled clocks since ``count`` was set, over all streams.
    """

    def __init__(self, gates: Gates, words: int = 1) -> None:
        self.gates = gates
        self.values = np.zeros((gates.nets, words), np.uint64)
        self.values[ONE] = ALL
        self.toggles = np.zeros(gates.nets, np.int64)
        self.count = False
        self._before = self.values.copy()
        self._steps = []
        for pin, cell, found in gates.levels:
            inputs = [name for name, one in cell.pins.items() if not one.output]
            made = function(cell.pins[pin].function, inputs)
            indices = [np.array([one.nets[name] for one in found]) for name in inputs]
            self._steps.append((made, indices, np.array([one.nets[pin] for one in found])))
        self._stored = []
        kinds: dict[str, list[Instance]] = defaultdict(list)
        for one in gates.storing:
            kinds[one.cell.name].append(one)
        for found in kinds.values():
            cell = found[0].cell
            inputs = [name for name, pin in cell.pins.items() if not pin.output and not pin.clock]
            made = function(cell.next_state, inputs)
            indices = [np.array([one.nets[name] for one in found]) for name in inputs]
            output = next(name for name, pin in cell.pins.items() if pin.output)
            self._stored.append((made, indices, np.array([one.nets[output] for one in found])))

    def settle(self) -> None:
        """Let the values of ports and storage reach every net."""
        values = self.values
        for made, inputs, output in self._steps:
            values[output] = made(*(values[index] for index in inputs))

    def tick(self) -> None:
        """A rising edge of the clock, behind ``settle``. Counts what has changed since the edge before."""
        if self.count:
            self.toggles += np.bitwise_count(self.values ^ self._before).sum(axis=1, dtype=np.int64)
        self._before[:] = self.values
        following = [made(*(self.values[index] for index in inputs)) for made, inputs, _ in self._stored]
        for (_, _, output), value in zip(self._stored, following, strict=True):
            self.values[output] = value

    def set(self, port: str, numbers: Sequence[int]) -> None:
        """Set a port: one number per stream, or one for all of them."""
        streams = 64 * self.values.shape[1]
        for bit, net in enumerate(self.gates.ports[port]):
            if len(numbers) == 1:
                self.values[net] = ALL if numbers[0] >> bit & 1 else 0
            else:
                ones = np.zeros(streams, np.uint8)
                ones[: len(numbers)] = [number >> bit & 1 for number in numbers]
                self.values[net] = np.packbits(ones, bitorder="little").view(np.uint64)

    def get(self, port: str, streams: int) -> list[int]:
        """A port's number in each of the first streams."""
        found = np.zeros(streams, object)
        for bit, net in enumerate(self.gates.ports[port]):
            ones = np.unpackbits(self.values[net].view(np.uint8), bitorder="little")[:streams]
            found += ones.astype(object) << bit
        return [int(number) for number in found]
