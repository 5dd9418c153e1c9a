"""Median of three replicas that arrive one after the other."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class MedianVoter(wiring.Component):
    """Median of the last three values taken, and whether they are equal, one clock after the third is taken.

    Three comparisons around the circle a >= b, b >= c, c >= a decide both: a value between the others sees the same
    outcome on both of its comparisons, and all three hold only when the values are equal. The first of them is the
    second one of the value before, so two comparators suffice.

    Ports: take: take ``value``, signed ``width``. newest, median: signed ``width``; unanimous: 1. With ``log`` also
    differs: which of the three, oldest first, are not the median.
    """

    def __init__(self, width: int, log: bool = False) -> None:
        self._log = log
        super().__init__(
            {
                "take": In(1),
                "value": In(signed(width)),
                "newest": Out(signed(width)),
                "median": Out(signed(width)),
                "unanimous": Out(1),
                **({"differs": Out(3)} if log else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b, c = (Signal.like(self.value, name=name) for name in ("a", "b", "c"))
        ab, bc, ca = (Signal(name=name) for name in ("ab", "bc", "ca"))
        same_ab, same_bc, same_ca = (Signal(name=f"same_{name}") for name in ("ab", "bc", "ca"))
        with m.If(self.take):
            if self._log:
                m.d.sync += [same_ab.eq(same_bc), same_bc.eq(c == self.value), same_ca.eq(self.value == b)]
            m.d.sync += [
                a.eq(b),
                b.eq(c),
                c.eq(self.value),
                ab.eq(bc),
                bc.eq(c >= self.value),
                ca.eq(self.value >= b),
            ]
        m.d.comb += [
            self.newest.eq(c),
            self.median.eq(Mux(ab == ca, a, Mux(ab == bc, b, c))),
            self.unanimous.eq(ab & bc & ca),
        ]
        if self._log:
            is_a, is_b, is_c = (Signal(name=f"median_is_{name}") for name in "abc")
            m.d.comb += [
                is_a.eq(ab == ca),
                is_b.eq(~is_a & (ab == bc)),
                is_c.eq(~is_a & ~is_b),
                self.differs.eq(
                    Cat(
                        ~(is_a | is_b & same_ab | is_c & same_ca),
                        ~(is_b | is_a & same_ab | is_c & same_bc),
                        ~(is_c | is_b & same_bc | is_a & same_ca),
                    )
                ),
            ]
        return m
