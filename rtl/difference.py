"""Difference of the two ADC codes of a bit-line pair, with sign flip."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Difference(wiring.Component):
    """d = positive - negative, or negative - positive when ``flip`` is set (combinational).

    A bit line that stores 1-bit in both crossbars of the pair reads S - a instead of a; the sum S of the inputs
    cancels in the difference, so swapping the operands is all that undoing the flip takes (arXiv 2401.11664).

    One adder serves both orders: p - n = p + ~n + 1, and n - p = ~(p + ~n).

    Ports: positive, negative: unsigned ``adc_bits``; flip: 1; difference: signed ``adc_bits + 1``, which holds every
    difference of two codes.
    """

    def __init__(self, adc_bits: int) -> None:
        self._adc_bits = adc_bits
        super().__init__(
            {
                "positive": In(adc_bits),
                "negative": In(adc_bits),
                "flip": In(1),
                "difference": Out(signed(adc_bits + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # The place below the codes makes the carry; the place above them extends p with 0 and ~n with its sign, 1.
        total, carry = Signal(self._adc_bits + 2), ~self.flip
        m.d.comb += [
            total.eq(Cat(carry, self.positive, 0) + Cat(carry, ~self.negative, 1)),
            self.difference.eq(Mux(self.flip, ~total[1:], total[1:])),
        ]
        return m
