"""Checks that the column map is in read-out order."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from crossvote.rtl.column_map import ONLY, SECOND, THIRD, step_layout
from crossvote.rtl.parameters import OpcParameters


class MapCheck(wiring.Component):
    """Compares each used entry with the used entry before it.

    In order means: three copies of a plane follow each other; planes fall by one down to plane 0; after plane 0 comes a
    higher output; the map ends behind a plane 0. Since outputs only rise and planes only fall, no (output, plane,
    replica) can occur twice.

    Ports: take: an entry is read. step: the entry. illegal: it breaks the order (combinational, with ``take``).
    """

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = parameters
        super().__init__({"take": In(1), "step": In(step_layout(parameters)), "illegal": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        entry, before, begun = self.step.entry, Signal.like(self.step.entry), Signal()
        same_output, same_plane = Signal(), Signal()
        complete, between, in_order = Signal(), Signal(), Signal()
        m.d.comb += [
            same_output.eq(entry.output == before.output),
            same_plane.eq(entry.plane == before.plane),
            complete.eq((before.replica == ONLY) | (before.replica == THIRD)),
            # Nothing is open: no entry yet, or the one before completed its output.
            between.eq(~begun | (complete & (before.plane == 0))),
        ]
        with m.If((entry.replica == SECOND) | (entry.replica == THIRD)):
            m.d.comb += in_order.eq(begun & same_output & same_plane & (before.replica == entry.replica - 1))
        with m.Elif(between):
            m.d.comb += in_order.eq(~begun | (entry.output > before.output))
        with m.Else():
            m.d.comb += in_order.eq(complete & same_output & (entry.plane + 1 == before.plane))

        closes = Signal()
        with m.If(entry.used):
            m.d.comb += closes.eq((entry.plane == 0) & ((entry.replica == ONLY) | (entry.replica == THIRD)))
        with m.Else():
            m.d.comb += closes.eq(between)
        m.d.comb += self.illegal.eq(self.take & ((entry.used & ~in_order) | (self.step.last & ~closes)))
        with m.If(self.take):
            with m.If(entry.used):
                m.d.sync += [before.eq(entry), begun.eq(1)]
            with m.If(self.step.last):
                m.d.sync += begun.eq(0)
        return m
