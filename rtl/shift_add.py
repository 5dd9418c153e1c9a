"""One step of the shift-and-add over input bits."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class ShiftAdd(wiring.Component):
    """next = previous * {0, 1, 2} +/- difference, one clock after the operands are taken.

    Input bits arrive top bit first, so Horner's rule needs a fixed shift by one place instead of a barrel shifter:
    ``shift`` doubles the previous sum when a new input bit begins, ``clear`` drops it when a new vector begins, and
    ``subtract`` negates the difference while the (negative) top bit is read.

    Ports: enable: take the operands. previous, next: signed ``sum_bits``; difference: signed ``difference_bits``;
    clear, shift, subtract: 1.
    """

    def __init__(self, sum_bits: int, difference_bits: int) -> None:
        super().__init__(
            {
                "enable": In(1),
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
        # -d = ~d + 1: the 1 enters as a carry, so that one adder serves both signs.
        previous = Signal.like(self.previous, name="taken_previous")
        addend = Signal.like(self.difference, name="addend")
        carry = Signal(name="carry")
        clear = Signal(name="taken_clear")
        shift = Signal(name="taken_shift")
        with m.If(self.enable):
            # The previous sum comes from a memory, late in its clock; it is shifted in the next one.
            m.d.sync += [
                previous.eq(self.previous),
                clear.eq(self.clear),
                shift.eq(self.shift),
                addend.eq(Mux(self.subtract, ~self.difference, self.difference)),
                carry.eq(self.subtract),
            ]
        kept = Mux(clear, 0, Mux(shift, previous << 1, previous))
        m.d.comb += self.next.eq(kept + addend + carry)
        return m
