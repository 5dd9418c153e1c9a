"""Which bit lines, row block and input bit the next beat carries."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from crossvote.rtl.parameters import TAG_BITS, OpcParameters


def mark_layout() -> data.StructLayout:
    """What is known of a vector. tag: what its first beat carried. error: marks of its beats were wrong."""
    return data.StructLayout({"tag": TAG_BITS, "error": 1})


class Sequencer(wiring.Component):
    """Position of a beat within its vector.

    Beats come as a nested loop: input bit (top bit first), row block, group of bit lines (innermost). A beat marked
    ``first`` is always taken as the first of a vector; where that or ``last`` disagrees with the count, ``misframed``
    is set for that beat. How many row blocks a vector has is settled by its first beat.

    Ports:
        advance: a beat is accepted. first, last, tag: its marks. row_blocks: row blocks per vector, at least 1.
        group: bit lines it carries. clear, shift, subtract: what ``ShiftAdd`` does with them.
        complete: it is the last beat of its vector. misframed: its marks disagree with the count.
        mark: of the vector, as far as it has come. middle: a vector has begun and is not complete.
    """

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = p = parameters
        super().__init__(
            {
                "advance": In(1),
                "first": In(1),
                "last": In(1),
                "tag": In(TAG_BITS),
                "row_blocks": In(bits_for(p.row_blocks)),
                "group": Out(p.group_bits),
                "clear": Out(1),
                "shift": Out(1),
                "subtract": Out(1),
                "complete": Out(1),
                "misframed": Out(1),
                "mark": Out(mark_layout()),
                "middle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        next_group = Signal(p.group_bits)
        next_block = Signal(range(p.row_blocks))
        next_bit = Signal(range(p.input_bits))  # reads done, so 0 is the top bit
        block, bit = Signal.like(next_block, name="block"), Signal.like(next_bit, name="bit")
        starts, last_group, last_block = (Signal(name=name) for name in ("starts", "last_group", "last_block"))
        # The row blocks of a vector less one: as set when its first beat comes.
        settled_blocks = Signal(range(p.row_blocks))
        begun = Signal(mark_layout(), name="begun")
        blocks = Signal.like(settled_blocks, name="blocks")
        m.d.comb += [
            self.middle.eq((next_group != 0) | (next_block != 0) | (next_bit != 0)),
            starts.eq(self.first | ~self.middle),
            self.group.eq(Mux(self.first, 0, next_group)),
            block.eq(Mux(self.first, 0, next_block)),
            bit.eq(Mux(self.first, 0, next_bit)),
            blocks.eq(Mux(starts, (self.row_blocks - 1)[: len(blocks)], settled_blocks)),
            last_group.eq(self.group == p.groups - 1),
            last_block.eq(block == blocks),
            self.complete.eq(last_group & last_block & (bit == p.input_bits - 1)),
            self.clear.eq((bit == 0) & (block == 0)),
            self.shift.eq(block == 0),
            self.subtract.eq(bit == 0),
            self.misframed.eq((self.first == self.middle) | (self.last != self.complete)),
            self.mark.tag.eq(Mux(starts, self.tag, begun.tag)),
            # A beat marked first amid a vector is the fault of the one before, which never completes.
            self.mark.error.eq((~starts & begun.error) | (~self.first & ~self.middle) | (self.last != self.complete)),
        ]
        with m.If(self.advance):
            m.d.sync += [
                next_group.eq(Mux(last_group, 0, self.group + 1)),
                next_block.eq(block),
                next_bit.eq(bit),
                settled_blocks.eq(blocks),
                begun.eq(self.mark),
            ]
            with m.If(last_group):
                m.d.sync += next_block.eq(Mux(last_block, 0, block + 1))
                with m.If(last_block):
                    m.d.sync += next_bit.eq(Mux(self.complete, 0, bit + 1))
        return m
