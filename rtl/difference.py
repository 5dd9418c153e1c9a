"""Difference of the two ADC codes of a bit-line pair."""

from __future__ import annotations

from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Difference(wiring.Component):
    """d = positive - negative (combinational).

    A bit line that stores 1-bit in both crossbars of the pair reads S - a instead of a; the sum S of the inputs cancels
    in the difference, so undoing the flip is a change of sign (arXiv 2401.11664). Column sums and medians follow the
    sign, so read-out changes it once per output and plane instead of every lane in every read.

    Ports: positive, negative: unsigned ``adc_bits``; difference: signed ``adc_bits + 1``, which holds every difference
    of two codes.
    """

    def __init__(self, adc_bits: int) -> None:
        super().__init__({"positive": In(adc_bits), "negative": In(adc_bits), "difference": Out(signed(adc_bits + 1))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.difference.eq(self.positive - self.negative)
        return m
