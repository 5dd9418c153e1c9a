"""Median of three replicas."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class MedianVoter(wiring.Component):
    """Median of a, b and c, and whether all three are equal (combinational).

    Three comparisons around the circle a >= b, b >= c, c >= a decide both: a value between the others sees the same
    outcome on both of its comparisons, and all three hold only when the values are equal.

    Ports: a, b, c, median: signed ``width``; unanimous: 1.
    """

    def __init__(self, width: int) -> None:
        super().__init__(
            {
                "a": In(signed(width)),
                "b": In(signed(width)),
                "c": In(signed(width)),
                "median": Out(signed(width)),
                "unanimous": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ab, bc, ca = Signal(), Signal(), Signal()
        m.d.comb += [
            ab.eq(self.a >= self.b),
            bc.eq(self.b >= self.c),
            ca.eq(self.c >= self.a),
            self.unanimous.eq(ab & bc & ca),
            self.median.eq(Mux(ab == ca, self.a, Mux(ab == bc, self.b, self.c))),
        ]
        return m
