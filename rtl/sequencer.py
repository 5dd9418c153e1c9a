"""Which bit lines, row block and input bit the next beat carries."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from crossvote.rtl.parameters import OpcParameters


class Sequencer(wiring.Component):
    """Position of a beat within its vector.

    Beats come as a nested loop: input bit (top bit first), row block, group of bit lines (innermost). A beat marked
    ``first`` is always taken as the first of a vector; where that or ``last`` disagrees with the count, ``misframed``
    is set for that beat.

    Ports:
        advance: a beat is accepted. first, last: its marks. row_blocks: row blocks per vector, at least 1.
        group: bit lines it carries. clear, shift, subtract: what ``ShiftAdd`` does with them.
        final: it completes column sums of its vector (the last of them when group is the last one).
        complete: it is the last beat of its vector. misframed: its marks disagree with the count.
        middle: a vector has begun and is not complete.
    """

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = p = parameters
        super().__init__(
            {
                "advance": In(1),
                "first": In(1),
                "last": In(1),
                "row_blocks": In(bits_for(p.row_blocks)),
                "group": Out(p.group_bits),
                "clear": Out(1),
                "shift": Out(1),
                "subtract": Out(1),
                "complete": Out(1),
                "misframed": Out(1),
                "middle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        next_group = Signal(p.group_bits)
        next_block = Signal(range(p.row_blocks))
        next_bit = Signal(range(p.input_bits))  # reads done, so 0 is the top bit
        block, bit = Signal.like(next_block), Signal.like(next_bit)
        last_group, last_block = Signal(), Signal()
        m.d.comb += [
            self.middle.eq((next_group != 0) | (next_block != 0) | (next_bit != 0)),
            self.group.eq(Mux(self.first, 0, next_group)),
            block.eq(Mux(self.first, 0, next_block)),
            bit.eq(Mux(self.first, 0, next_bit)),
            last_group.eq(self.group == p.groups - 1),
            last_block.eq(block == (self.row_blocks - 1)[: len(block)]),
            self.complete.eq(last_group & last_block & (bit == p.input_bits - 1)),
            self.clear.eq((bit == 0) & (block == 0)),
            self.shift.eq(block == 0),
            self.subtract.eq(bit == 0),
            self.misframed.eq((self.first == self.middle) | (self.last != self.complete)),
        ]
        with m.If(self.advance):
            m.d.sync += [next_group.eq(Mux(last_group, 0, self.group + 1)), next_block.eq(block), next_bit.eq(bit)]
            with m.If(last_group):
                m.d.sync += next_block.eq(Mux(last_block, 0, block + 1))
                with m.If(last_block):
                    m.d.sync += next_bit.eq(Mux(self.complete, 0, bit + 1))
        return m
