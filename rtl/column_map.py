"""The column map: which bit line holds which plane of which output, in the order of read-out.

There is one entry per used bit line. Entries are ordered by output, then plane (top plane first), then replica, so
that read-out needs no vote buffer and no barrel shifter; the bit lines themselves may lie anywhere.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Out

from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.table import add_table, table_ports

#: Replica field of an entry: the only copy of a plane, or which of three.
ONLY, FIRST, SECOND, THIRD = range(4)

#: Clock cycles after a write to the map until its first entry is offered again.
MAP_REFILL = 2


def entry_layout(parameters: OpcParameters) -> data.StructLayout:
    """Fields of a column map entry as stored in hardware."""
    p = parameters
    return data.StructLayout(
        {
            "line": p.line_bits,
            "output": p.output_bits,
            "plane": p.plane_bits,
            "replica": 2,
            "flip": 1,
            "used": 1,
        }
    )


def step_layout(parameters: OpcParameters) -> data.StructLayout:
    """A column map entry on its way to read-out; ``last`` marks the end of the map."""
    return data.StructLayout({"entry": entry_layout(parameters), "last": 1})


class ColumnMap(wiring.Component):
    """Writable table of ``columns`` entries, offered over and over as a stream.

    The stream gives one entry per clock without gaps. After a write it starts again from entry 0; the table is written
    only while no vector is in flight.

    Ports:
        o: entries in order, endlessly.
        index, write, write_entry, read_entry: the table for the registers, see ``table_ports``.
    """

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = p = parameters
        super().__init__(
            {
                "o": Out(stream.Signature(step_layout(p))),
                **table_ports(p.line_bits, entry_layout(p)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        step_port = add_table(m, self, entry_layout(p), p.columns)

        # Two places, the memory's output register and the stream's, keep the slow memory out of the read-out path.
        step = Signal(range(p.columns))
        fetched, fetched_last, fetch, move = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            fetch.eq(~fetched | move),
            step_port.addr.eq(step),
            step_port.en.eq(fetch),
        ]
        with m.If(fetch):
            last = step == p.columns - 1
            m.d.sync += [fetched.eq(1), fetched_last.eq(last), step.eq(Mux(last, 0, step + 1))]
        with m.If(move):
            m.d.sync += [
                self.o.valid.eq(fetched),
                self.o.payload.entry.eq(step_port.data),
                self.o.payload.last.eq(fetched_last),
            ]
        with m.If(self.write):
            m.d.sync += [step.eq(0), fetched.eq(0), self.o.valid.eq(0)]
        return m


class FixedMap(wiring.Component):
    """The map of unprotected outputs side by side, top plane first: entry c names bit line c.

    Ports: o: entries in order, endlessly, as in ``ColumnMap``.
    """

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = parameters
        super().__init__({"o": Out(stream.Signature(step_layout(parameters), always_valid=True))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        line, output = Signal(p.line_bits), Signal(range(p.outputs + 1))
        plane = Signal(p.plane_bits, init=p.planes - 1)
        m.d.comb += [
            self.o.payload.entry.line.eq(line),
            self.o.payload.entry.output.eq(output),
            self.o.payload.entry.plane.eq(plane),
            self.o.payload.entry.replica.eq(ONLY),
            self.o.payload.entry.used.eq(output != p.outputs),
            self.o.payload.last.eq(line == p.columns - 1),
        ]
        with m.If(self.o.ready):
            m.d.sync += [line.eq(line + 1), plane.eq(plane - 1)]
            with m.If(plane == 0):
                m.d.sync += [plane.eq(p.planes - 1), output.eq(output + 1)]
            with m.If(self.o.payload.last):
                m.d.sync += [line.eq(0), output.eq(0), plane.eq(p.planes - 1)]
        return m
