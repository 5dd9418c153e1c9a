"""One step of the shift-and-add over input bits."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class ShiftAdd(wiring.Component):
    """next = previous * {0, 1, 2} +/- difference (combinational).

    Input bits arrive top bit first, so Horner's rule needs a fixed shift by one place instead of a barrel shifter:
    ``shift`` doubles the previous sum when a new input bit begins, ``clear`` drops it when a new vector begins, and
    ``subtract`` negates the difference while the (negative) top bit is read.

    Ports: previous, next: signed ``sum_bits``; difference: signed ``difference_bits``; clear, shift, subtract: 1.
    """

    def __init__(self, sum_bits: int, difference_bits: int) -> None:
        super().__init__(
            {
                "previous": In(signed(sum_bits)),
                "difference": In(signed(difference_bits)),
                "clear": In(1),
                "shift": In(1),
                "subtract": In(1),
                "next": Out(signed(sum_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        kept = Mux(self.clear, 0, Mux(self.shift, self.previous << 1, self.previous))
        # -d = ~d + 1: the 1 enters as a carry, so that one adder serves both signs.
        m.d.comb += self.next.eq(
            kept + (self.difference ^ self.subtract.replicate(len(self.difference)).as_signed()) + self.subtract
        )
        return m
