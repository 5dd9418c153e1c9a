"""The column map: which bit line is read when, and what becomes of its column sum.

There is one entry per step of read-out. Entries are ordered by output, then weight (largest first), then replica, so
that read-out needs no vote buffer and no barrel shifter; the bit lines themselves may lie anywhere. Number and planes
of the outputs follow from the order, so an entry holds no more than its bit line, an operation and a sign.
"""

from __future__ import annotations

from collections.abc import Iterator

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from crossvote.rtl.parameters import MOST_ADVANCE, MOST_TAIL, OpcParameters

#: Operations without a value: nothing is read, or with ``flip`` a checksum line; the column sum waits for the vote.
SKIP, HOLD = range(2)
#: Operations of one kind of value: every advance, then every tail.
_KIND = MOST_ADVANCE + 1 + MOST_TAIL + 1

#: Clock cycles after a write to the map until its first entry is offered again.
MAP_REFILL = 3


def operation(*, vote: bool, end: bool, advance: int) -> int:
    """Operation of an entry that gives a value: the column sum, or with ``vote`` the median of it and the two held.

    The value is added to the output's sum, which then counts 2^advance times as much. ``end`` completes the output.

    Raises:
        ValueError: an advance that the hardware does not have.
    """
    most = MOST_TAIL if end else MOST_ADVANCE
    if not 0 <= advance <= most:
        raise ValueError(f"an advance of {advance} is not one of 0 to {most}.")
    return HOLD + 1 + _KIND * vote + (MOST_ADVANCE + 1) * end + advance


def operations() -> Iterator[tuple[int, bool, bool, int]]:
    """(operation, vote, end, advance) of every operation that gives a value."""
    for vote in (False, True):
        for end, most in ((False, MOST_ADVANCE), (True, MOST_TAIL)):
            for advance in range(most + 1):
                yield operation(vote=vote, end=end, advance=advance), vote, end, advance


#: Bits of an operation.
OPERATION_BITS = max(number for number, *_ in operations()).bit_length()


def entry_layout(parameters: OpcParameters) -> data.StructLayout:
    """Fields of a column map entry as stored in hardware."""
    return data.StructLayout({"line": parameters.line_bits, "operation": OPERATION_BITS, "flip": 1})


def step_layout(parameters: OpcParameters) -> data.StructLayout:
    """A column map entry on its way to read-out, its operation taken apart.

    read: the column sum is read at all. value, vote, end, advance: as in ``operation``. last: the end of the map.
    check: the column sum is a checksum line's; only where there is a check.
    """
    fields = {"line": parameters.line_bits, "flip": 1, "read": 1, "value": 1, "vote": 1, "end": 1, "advance": 2}
    return data.StructLayout(fields | {"last": 1} | ({"check": 1} if parameters.checksum_bits else {}))


class WritableMap(wiring.Component):
    """Writable table of ``columns`` entries, of which the first ones are offered over and over as a stream.

    The stream gives one entry per clock without gaps, but for one clock per entry that the registers read: table and
    stream share one memory port, which is what makes the table small. After ``restart`` the stream begins again with
    entry 0; the table is written only while no vector is in flight.

    Ports:
        o: entries in order, endlessly. last_step: number of the last entry.
        index, write, write_entry: the registers store an entry. read: they look at one; read_entry: it, a clock later.
        restart: begin with entry 0 in the next clock, now that something has changed.
        settled: entries wait in both places of the stream.
    """

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = p = parameters
        super().__init__(
            {
                "o": Out(stream.Signature(step_layout(p))),
                "last_step": In(p.line_bits),
                "index": In(p.line_bits),
                "write": In(1),
                "write_entry": In(entry_layout(p)),
                "read": In(1),
                "read_entry": Out(entry_layout(p)),
                "restart": In(1),
                "settled": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        m.submodules.entries = table = Memory(shape=entry_layout(p), depth=p.columns, init=[])
        write_port = table.write_port()
        read_port = table.read_port()
        m.d.comb += [
            write_port.addr.eq(self.index),
            write_port.en.eq(self.write),
            write_port.data.eq(self.write_entry),
            self.read_entry.eq(read_port.data),
        ]

        # Two places, the memory's output register and the stream's, keep the slow memory out of the read-out path.
        # While entry ``step`` waits in the first, its address stays, so that it is there again after a read by the bus.
        step = Signal(p.line_bits, name="step")
        fetched = Signal(name="fetched")
        at = Signal(p.line_bits, name="at")
        move = Signal(name="move")
        # Whether a register write is taken is known late in its clock, so the stream begins again in the next one.
        again = Signal(name="again")
        m.d.sync += again.eq(self.restart)
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            self.settled.eq(self.o.valid & fetched & ~again),
            at.eq(Mux(fetched & move, Mux(step == self.last_step, 0, step + 1), step)),
            read_port.addr.eq(Mux(self.read, self.index, at)),
            read_port.en.eq(1),
        ]
        m.d.sync += [step.eq(at), fetched.eq(~self.read)]
        # A large memory answers late in its clock, so its answer is kept as it is, and taken apart behind that.
        kept, kept_last = Signal(entry_layout(p), name="kept"), Signal(name="kept_last")
        with m.If(move):
            m.d.sync += [self.o.valid.eq(fetched), kept.eq(read_port.data), kept_last.eq(step == self.last_step)]
        decoded = self.o.payload
        m.d.comb += [
            decoded.line.eq(kept.line),
            decoded.flip.eq(kept.flip),
            decoded.last.eq(kept_last),
            decoded.read.eq(kept.operation != SKIP),
            decoded.value.eq(kept.operation > HOLD),
        ]
        if p.checksum_bits:
            m.d.comb += decoded.check.eq((kept.operation == SKIP) & kept.flip)
        with m.Switch(kept.operation):
            for number, vote, end, advance in operations():
                with m.Case(number):
                    m.d.comb += [decoded.vote.eq(vote), decoded.end.eq(end), decoded.advance.eq(advance)]
        with m.If(again):
            m.d.sync += [step.eq(0), fetched.eq(0), self.o.valid.eq(0)]
        return m


class FixedMap(wiring.Component):
    """The map of unprotected outputs side by side, top plane first: entry c names bit line c.

    Ports: o, settled: as in ``WritableMap``; nothing has to be fetched.
    """

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = parameters
        entries = Out(stream.Signature(step_layout(parameters), always_valid=True))
        super().__init__({"o": entries, "settled": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        line = Signal(p.line_bits, name="line")
        plane = Signal(range(p.planes), init=p.planes - 1, name="plane")
        m.d.comb += [
            self.o.payload.line.eq(line),
            self.o.payload.read.eq(1),
            self.o.payload.value.eq(1),
            self.o.payload.end.eq(plane == 0),
            self.o.payload.advance.eq(plane != 0),
            self.o.payload.last.eq(line == p.fixed_steps - 1),
        ]
        with m.If(self.o.ready):
            m.d.sync += [line.eq(line + 1), plane.eq(Mux(plane == 0, p.planes - 1, plane - 1))]
            with m.If(self.o.payload.last):
                m.d.sync += line.eq(0)
        return m
