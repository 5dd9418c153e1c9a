"""Which bit lines disagree, and how often: per bit line, the votes in which its column sum was not the median."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from crossvote.rtl.parameters import OpcParameters


class DisagreementLog(wiring.Component):
    """Counts per bit line, which stay at their largest value.

    A vote has at most two bit lines that are not the median, and the next vote is at least three map entries behind, so
    counting one bit line per clock keeps up. Reads of the bus go first: there may be one in three clocks; with
    more, what is left of a vote when the next one comes is not counted. Nor are votes closer together than in a legal
    map.

    Ports:
        vote: one is decided. lines: of its values, oldest first. differs: which of them are not the median.
        line: bit line that the registers look at. look: they read its count; count: it, a clock later.
        write, write_count: store its count; not while anything is counted. busy: something is.
    """

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = p = parameters
        super().__init__(
            {
                "vote": In(1),
                "lines": In(p.line_bits).array(3),
                "differs": In(3),
                "line": In(p.line_bits),
                "look": In(1),
                "count": Out(p.log_bits),
                "write": In(1),
                "write_count": In(p.log_bits),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        m.submodules.counts = counts = Memory(shape=p.log_bits, depth=p.columns, init=[])
        write, read = counts.write_port(), counts.read_port()
        waiting = Signal(3, name="waiting")
        lines = [Signal(p.line_bits, name=f"line_{number}") for number in range(3)]
        looked_up, looked_line = Signal(name="looked_up"), Signal(p.line_bits, name="looked_line")
        first = Signal(p.line_bits, name="first")
        m.d.comb += [
            first.eq(Mux(waiting[0], lines[0], Mux(waiting[1], lines[1], lines[2]))),
            read.addr.eq(Mux(self.look | ~waiting.any(), self.line, first)),
            self.count.eq(read.data),
            write.en.eq(looked_up | self.write),
            write.addr.eq(Mux(looked_up, looked_line, self.line)),
            write.data.eq(Mux(looked_up, read.data + ~read.data.all(), self.write_count)),
            self.busy.eq(waiting.any() | looked_up),
        ]
        m.d.sync += [looked_up.eq(waiting.any() & ~self.look), looked_line.eq(first)]
        with m.If(~self.look):
            m.d.sync += waiting.eq(waiting & (waiting - 1))
        with m.If(self.vote):
            m.d.sync += [waiting.eq(self.differs), *(own.eq(line) for own, line in zip(lines, self.lines, strict=True))]
        return m
