"""A lane: the slice of the OPC that serves every ``lanes``-th bit-line pair."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.difference import Difference
from rtl.parameters import OpcParameters
from rtl.shift_add import ShiftAdd


class Lane(wiring.Component):
    """Sign flip, difference and shift-add of one bit-line pair per clock, with the column sums of two vectors.

    First clock: the difference of the codes is captured (``capture``). Second clock: it is added to the column sum of
    its bit line (``commit``). Column sums live in two banks: one vector is accumulated in bank ``bank`` while the other
    bank is read. The memory is read in the clock in which it is written, so that even one bit line per lane
    (lanes = columns) needs no forwarding.

    Ports:
        positive, negative: ADC codes. code_group: which bit line of the lane they belong to.
        capture: take the codes. commit: add the captured difference to the sum of bit line ``group``, using
        clear, shift and subtract as in ``ShiftAdd``.
        read_bank, read_group: which column sum ``sum`` shows (combinational).
        flip_write, flip_group, flip: program the flip bit of a bit line (absent without a column map).
    """

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = p = parameters
        ports = {
            "positive": In(p.adc_bits),
            "negative": In(p.adc_bits),
            "code_group": In(p.group_bits),
            "capture": In(1),
            "commit": In(1),
            "bank": In(1),
            "group": In(p.group_bits),
            "clear": In(1),
            "shift": In(1),
            "subtract": In(1),
            "read_bank": In(1),
            "read_group": In(p.group_bits),
            "sum": Out(signed(p.column_sum_bits)),
        }
        if p.column_map:
            ports |= {"flip_write": In(1), "flip_group": In(p.group_bits), "flip": In(1)}
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        m.submodules.difference = difference = Difference(p.adc_bits)
        m.submodules.shift_add = shift_add = ShiftAdd(p.column_sum_bits, p.difference_bits)

        if p.column_map:
            m.submodules.flips = flips = Memory(shape=1, depth=p.groups, init=[])
            flip_write, flip_read = flips.write_port(), flips.read_port(domain="comb")
            m.d.comb += [
                flip_write.en.eq(self.flip_write),
                flip_write.addr.eq(self.flip_group),
                flip_write.data.eq(self.flip),
                flip_read.addr.eq(self.code_group),
                difference.flip.eq(flip_read.data),
            ]

        captured = Signal(signed(p.difference_bits))
        m.d.comb += [difference.positive.eq(self.positive), difference.negative.eq(self.negative)]
        with m.If(self.capture):
            m.d.sync += captured.eq(difference.difference)

        # Bank 1 lies behind all of bank 0, at the next power of two: no adder in the address.
        m.submodules.sums = sums = Memory(
            shape=signed(p.column_sum_bits), depth=(1 << p.group_bits) + p.groups, init=[]
        )
        write = sums.write_port()
        previous, read = sums.read_port(domain="comb"), sums.read_port(domain="comb")
        m.d.comb += [
            previous.addr.eq(Cat(self.group, self.bank)),
            shift_add.previous.eq(previous.data),
            shift_add.difference.eq(captured),
            shift_add.clear.eq(self.clear),
            shift_add.shift.eq(self.shift),
            shift_add.subtract.eq(self.subtract),
            write.addr.eq(Cat(self.group, self.bank)),
            write.data.eq(shift_add.next),
            write.en.eq(self.commit),
            read.addr.eq(Cat(self.read_group, self.read_bank)),
            self.sum.eq(read.data),
        ]
        return m
