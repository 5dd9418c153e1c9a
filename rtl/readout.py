"""Read-out: from column sums in map order to outputs."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.column_map import ONLY, THIRD, entry_layout
from rtl.parameters import OpcParameters
from rtl.voter import MedianVoter


def output_layout(parameters: OpcParameters) -> data.StructLayout:
    """An output of a vector: its number and its sum over planes, at full precision."""
    return data.StructLayout({"sum": signed(parameters.sum_bits), "output": parameters.output_bits})


class ReadOut(wiring.Component):
    """Vote and plane accumulation, one column sum per clock.

    Three pipeline stages with one common enable: the column sum and its map entry are registered, the vote is taken,
    the planes of an output are added by Horner's rule (y = 2 y + v, top plane first). Plane 0 completes an output.

    Ports:
        read: a column sum is offered. entry, sum: what it is. ready: it is taken in this clock.
        o: outputs. disagreement: a vote was not unanimous (one clock each). busy: something is in the pipeline.
    """

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = p = parameters
        super().__init__(
            {
                "read": In(1),
                "entry": In(entry_layout(p)),
                "sum": In(signed(p.column_sum_bits)),
                "ready": Out(1),
                "o": Out(stream.Signature(output_layout(p))),
                "disagreement": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        m.d.comb += self.ready.eq(~self.o.valid | self.o.ready)

        # Stage 1: register the column sum.
        taken, entry = Signal(), Signal(entry_layout(p))
        column_sum = Signal(signed(p.column_sum_bits))
        with m.If(self.ready):
            m.d.sync += [taken.eq(self.read & self.entry.used), entry.eq(self.entry), column_sum.eq(self.sum)]

        # Stage 2: the value of a plane, from one copy or from three in a row.
        valued, value = Signal(), Signal(signed(p.column_sum_bits))
        value_plane, value_output = Signal(p.plane_bits), Signal(p.output_bits)
        chosen, complete = Signal.like(value), Signal()
        if p.voter:
            m.submodules.voter = voter = MedianVoter(p.column_sum_bits)
            before, before_that = Signal.like(column_sum), Signal.like(column_sum)
            with m.If(self.ready & taken):
                m.d.sync += [before.eq(column_sum), before_that.eq(before)]
            m.d.comb += [
                voter.a.eq(before_that),
                voter.b.eq(before),
                voter.c.eq(column_sum),
                chosen.eq(Mux(entry.replica == ONLY, column_sum, voter.median)),
                complete.eq((entry.replica == ONLY) | (entry.replica == THIRD)),
                self.disagreement.eq(self.ready & taken & (entry.replica == THIRD) & ~voter.unanimous),
            ]
        else:
            m.d.comb += [chosen.eq(column_sum), complete.eq(1)]
        with m.If(self.ready):
            m.d.sync += [
                valued.eq(taken & complete),
                value.eq(chosen),
                value_plane.eq(entry.plane),
                value_output.eq(entry.output),
            ]

        # Stage 3: add the planes of an output.
        begins = Signal(init=1)
        with m.If(self.ready):
            m.d.sync += self.o.valid.eq(valued & (value_plane == 0))
            with m.If(valued):
                m.d.sync += [
                    begins.eq(value_plane == 0),
                    self.o.payload.sum.eq(Mux(begins, 0, self.o.payload.sum << 1) + value),
                    self.o.payload.output.eq(value_output),
                ]
        m.d.comb += self.busy.eq(taken | valued | self.o.valid)
        return m
