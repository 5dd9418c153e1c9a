"""Checks that the column map is in read-out order."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from crossvote.rtl.column_map import step_layout
from crossvote.rtl.parameters import MOST_TAIL, OpcParameters


class MapCheck(wiring.Component):
    """Follows the entries as they are read.

    In order means: a vote comes behind two column sums that wait for it, and any other value while none waits; the
    weights of an output's values add up to 2^B - 1 at most, so that no sum overflows; there are no more outputs than
    the OPC numbers; and the last entry completes one. The weights are added as the values are, by Horner's rule with 1
    for every value. The first one that is too many is reported; behind it the sum of an output's weights means nothing.
    Checksum lines, where there is a check, come before anything that is read.

    Ports: take: an entry is read. step: the entry. illegal: it breaks the order (combinational, with ``take``).
    """

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = parameters
        super().__init__({"take": In(1), "step": In(step_layout(parameters)), "illegal": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        waiting = Signal(2, name="waiting")
        weight = Signal(p.planes, name="weight")
        outputs = Signal(range(p.outputs + 1), name="outputs")
        total = Signal(p.planes + 1 + MOST_TAIL)
        misplaced = Signal(name="misplaced")
        heavy = Signal(name="heavy")
        step = self.step
        m.d.comb += [
            total.eq((weight + 1) << step.advance),
            heavy.eq(total[p.planes :].any()),
            misplaced.eq(waiting != Mux(step.vote, 2, 0)),
        ]
        with m.If(step.value):
            m.d.comb += self.illegal.eq(
                self.take & (misplaced | heavy | (step.end & (outputs == p.outputs)) | (step.last & ~step.end))
            )
        with m.Else():
            m.d.comb += self.illegal.eq(self.take & (step.last | (step.read & (waiting == 2))))
        if p.checksum_bits:
            begun = Signal(name="begun")
            with m.If(step.check & begun):
                m.d.comb += self.illegal.eq(self.take)
            with m.If(self.take):
                m.d.sync += begun.eq((begun | step.read) & ~step.last)
        with m.If(self.take):
            with m.If(step.value):
                m.d.sync += [waiting.eq(0), weight.eq(Mux(step.end, 0, total))]
                with m.If(step.end & (outputs != p.outputs)):
                    m.d.sync += outputs.eq(outputs + 1)
            with m.Elif(step.read):
                m.d.sync += waiting.eq(Mux(waiting == 2, 2, waiting + 1))
            with m.If(step.last):
                m.d.sync += [waiting.eq(0), weight.eq(0), outputs.eq(0)]
        return m
