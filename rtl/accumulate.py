"""One step of adding the values of an output."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Accumulate(wiring.Component):
    """next = (previous + addend) 2^advance, or without what was before: Horner's rule over the weights of an output.

    Ports:
        previous: the output's sum so far. begins: there is none. addend: what is added; flip: it is subtracted.
        advance: places to the next value's weight. next: the new sum.
    """

    def __init__(self, addend_bits: int, sum_bits: int) -> None:
        super().__init__(
            {
                "previous": In(signed(sum_bits)),
                "begins": In(1),
                "addend": In(signed(addend_bits)),
                "flip": In(1),
                "advance": In(2),
                "next": Out(signed(sum_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # -v = ~v + 1: the 1 enters as a carry, so that one adder serves both signs.
        added = Mux(self.begins, 0, self.previous) + Mux(self.flip, ~self.addend, self.addend) + self.flip
        m.d.comb += self.next.eq(added << self.advance)
        return m
