"""A lane: the slice of the OPC that serves every ``lanes``-th bit-line pair."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from crossvote.rtl.difference import Difference
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.shift_add import ShiftAdd


class Lane(wiring.Component):
    """Difference and shift-add of one bit-line pair per clock, with the column sums of two vectors.

    Three clocks: ``capture`` takes the codes, ``advance`` their difference and the column sum so far, ``commit``
    stores the new column sum. Column sums live in two banks: one vector is accumulated in bank ``bank`` while the other
    bank is read. Each bank is a memory with one asynchronous read port that both uses share, for a bank is never
    accumulated and read at the same time.

    Ports:
        positive, negative: ADC codes. capture: take them.
        advance: take the difference of the captured codes, which belong to bit line ``group`` of the lane, and use
        clear, shift and subtract as in ``ShiftAdd``.
        commit: store the sum of the bit line before, ``commit_group``, in bank ``bank``.
        look: for each bank, which bit line's sum to look at. read_bank: bank whose sum is ``sum`` (combinational).
    """

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = p = parameters
        super().__init__(
            {
                "positive": In(p.adc_bits),
                "negative": In(p.adc_bits),
                "capture": In(1),
                "advance": In(1),
                "group": In(p.group_bits),
                "clear": In(1),
                "shift": In(1),
                "subtract": In(1),
                "commit": In(1),
                "commit_group": In(p.group_bits),
                "bank": In(1),
                "look": In(p.group_bits).array(2),
                "read_bank": In(1),
                "sum": Out(signed(p.column_sum_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        m.submodules.difference = difference = Difference(p.adc_bits)
        m.submodules.shift_add = shift_add = ShiftAdd(p.column_sum_bits, p.difference_bits)

        positive = Signal.like(self.positive, name="captured_positive")
        negative = Signal.like(self.negative, name="captured_negative")
        with m.If(self.capture):
            m.d.sync += [positive.eq(self.positive), negative.eq(self.negative)]
        m.d.comb += [difference.positive.eq(positive), difference.negative.eq(negative)]

        stored = []
        for number in range(2):
            m.submodules[f"bank_{number}"] = memory = Memory(shape=signed(p.column_sum_bits), depth=p.groups, init=[])
            write, read = memory.write_port(), memory.read_port(domain="comb")
            m.d.comb += [
                write.en.eq(self.commit & (self.bank == number)),
                write.addr.eq(self.commit_group),
                write.data.eq(shift_add.next),
                read.addr.eq(self.look[number]),
            ]
            stored.append(read.data)
        previous = Mux(self.bank, stored[1], stored[0])
        if p.groups == 1:
            # The only bit line's sum may still be on its way into the bank.
            previous = Mux(self.commit, shift_add.next, previous)
        m.d.comb += [
            shift_add.enable.eq(self.advance),
            shift_add.previous.eq(previous),
            shift_add.difference.eq(difference.difference),
            shift_add.clear.eq(self.clear),
            shift_add.shift.eq(self.shift),
            shift_add.subtract.eq(self.subtract),
            self.sum.eq(Mux(self.read_bank, stored[1], stored[0])),
        ]
        return m
