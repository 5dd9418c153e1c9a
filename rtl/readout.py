"""Read-out: from column sums in map order to outputs."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from crossvote.rtl.accumulate import Accumulate
from crossvote.rtl.checksum import ChecksumCheck
from crossvote.rtl.column_map import step_layout
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.sequencer import mark_layout
from crossvote.rtl.voter import MedianVoter


def output_layout(parameters: OpcParameters) -> data.StructLayout:
    """An output of a vector: its number, its sum at full precision, and what is known of its vector.

    last: the vector has no further output. tag: what its first beat carried. error: marks of its beats were wrong.
    """
    p = parameters
    fields = {"sum": signed(p.sum_bits), "output": p.output_bits, "last": 1}
    return data.StructLayout(fields | dict(mark_layout().members.items()))


class ReadOut(wiring.Component):
    """Vote and accumulation, one column sum per clock.

    Pipeline stages with one common enable: the column sum and its map entry are registered, replicas are compared, the
    median or the column sum alone is chosen, and the values of an output are added by Horner's rule: y = (y + v) 2^a,
    largest weight first, with a small advance a in each entry; so a value counts what the advances from its own on make
    of it. A flipped value is subtracted. Without a voter the middle two stages are absent. Where lanes offer several
    sums, these are registered first and the one that the entry names is picked in the stage behind.

    Ports:
        read: a column sum is offered. step: its map entry. mark: of its vector. ready: it is taken in this clock.
        sums: ``choices`` of them, each from as many neighbouring lanes; the entry's line is in one of these.
        o: outputs. disagreement: a vote was not unanimous (one clock each). busy: something is in the pipeline.
        With a log also vote: one is decided; lines, differs: as in ``DisagreementLog``. With a check also mismatch: the
        checksum of a vector did not hold (one clock each).
    """

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = p = parameters
        log = {"vote": Out(1), "lines": Out(p.line_bits).array(3), "differs": Out(3)} if p.log_bits else {}
        check = {"mismatch": Out(1)} if p.checksum_bits else {}
        super().__init__(
            {
                **log,
                **check,
                "read": In(1),
                "step": In(step_layout(p)),
                "mark": In(mark_layout()),
                "sums": In(signed(p.column_sum_bits)).array(p.choices),
                "ready": Out(1),
                "o": Out(stream.Signature(output_layout(p))),
                "disagreement": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        m.d.comb += self.ready.eq(~self.o.valid | self.o.ready)

        # Register the column sum.
        entry_shape = data.StructLayout({"step": step_layout(p), "mark": mark_layout()})
        taken = Signal(name="taken")
        taken_entry = Signal(entry_shape, name="taken_entry")
        column_sum = Signal(signed(p.column_sum_bits))
        used, last = self.read & self.step.read, self.read & self.step.last
        if p.choices == 1:
            with m.If(self.ready):
                m.d.sync += [
                    taken.eq(used),
                    taken_entry.step.eq(self.step),
                    taken_entry.step.last.eq(last),
                    taken_entry.mark.eq(self.mark),
                    column_sum.eq(self.sums[0]),
                ]
            choosing = 0
            ends: Value | int = 0
            if p.checksum_bits:
                with m.If(self.ready):
                    m.d.sync += taken_entry.step.check.eq(self.read & self.step.check)
        else:
            offered = Signal(name="offered")
            offer = Signal(entry_shape, name="offer")
            sums = [Signal.like(column_sum, name=f"sum_{number}") for number in range(p.choices)]
            chosen = offer.step.line[p.lane_bits - exact_log2(p.choices) : p.lane_bits]
            with m.If(self.ready):
                m.d.sync += [register.eq(value) for register, value in zip(sums, self.sums, strict=True)]
                m.d.sync += [
                    offered.eq(used),
                    offer.step.eq(self.step),
                    offer.step.last.eq(last),
                    offer.mark.eq(self.mark),
                    taken.eq(offered),
                    taken_entry.eq(offer),
                    column_sum.eq(Array(sums)[chosen]),
                ]
            choosing, ends = offered, offer.step.last
            if p.checksum_bits:
                with m.If(self.ready):
                    m.d.sync += offer.step.check.eq(self.read & self.step.check)

        # The value of an entry: its column sum, or the median of the last three.
        if p.voter:
            compared = Signal(name="compared")
            compared_entry = Signal(entry_shape, name="compared_entry")
            valued = Signal(name="valued")
            value_entry = Signal(entry_shape, name="value_entry")
            plane_value = Signal(signed(p.column_sum_bits))
            m.submodules.voter = voter = MedianVoter(p.column_sum_bits, bool(p.log_bits))
            gives, vote = compared & compared_entry.step.value, compared_entry.step.vote
            m.d.comb += [
                voter.take.eq(self.ready & taken),
                voter.value.eq(column_sum),
                self.disagreement.eq(self.ready & gives & vote & ~voter.unanimous),
            ]
            if p.log_bits:
                oldest, middle, newest = self.lines
                m.d.comb += [self.vote.eq(self.ready & gives & vote), self.differs.eq(voter.differs)]
                with m.If(voter.take):
                    m.d.sync += [oldest.eq(middle), middle.eq(newest), newest.eq(taken_entry.step.line)]
            with m.If(self.ready):
                m.d.sync += [
                    compared.eq(taken),
                    compared_entry.eq(taken_entry),
                    valued.eq(gives),
                    value_entry.eq(compared_entry),
                    plane_value.eq(Mux(vote, voter.median, voter.newest)),
                ]
            waiting = taken | compared
        else:
            valued, plane_value, value_entry, waiting = taken & taken_entry.step.value, column_sum, taken_entry, 0

        # Add the values of an output.
        step, total = value_entry.step, self.o.payload
        begins = Signal(init=1, name="begins")
        number = Signal(p.output_bits, name="number")
        m.submodules.accumulate = accumulate = Accumulate(p.column_sum_bits, p.sum_bits)
        m.d.comb += [
            accumulate.previous.eq(total.sum),
            accumulate.begins.eq(begins),
            accumulate.addend.eq(plane_value),
            accumulate.flip.eq(step.flip),
            accumulate.advance.eq(step.advance),
        ]
        with m.If(self.ready):
            m.d.sync += self.o.valid.eq(valued & step.end)
            with m.If(valued):
                m.d.sync += [
                    begins.eq(step.end),
                    number.eq(number + step.end),
                    total.sum.eq(accumulate.next),
                    total.output.eq(number),
                    total.last.eq(step.last),
                    total.tag.eq(value_entry.mark.tag),
                    total.error.eq(value_entry.mark.error),
                ]
            with m.If(step.last):
                # Also where a map ends amid an output, which then spoils one vector only.
                m.d.sync += [begins.eq(1), number.eq(0)]
        busy = choosing | waiting | valued | self.o.valid
        if p.checksum_bits:
            m.submodules.checksum = checksum = ChecksumCheck(p)
            busy = busy | ends | taken_entry.step.last | checksum.busy
            m.d.comb += [
                checksum.move.eq(self.ready),
                checksum.adds.eq(taken),
                checksum.checks.eq(taken_entry.step.check),
                checksum.value.eq(column_sum),
                checksum.last.eq(taken_entry.step.last),
                checksum.spoilt.eq(taken_entry.mark.error),
                self.mismatch.eq(checksum.mismatch),
            ]
        m.d.comb += self.busy.eq(busy)
        return m
