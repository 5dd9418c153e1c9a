"""Read-out: from column sums in map order to outputs."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from crossvote.rtl.column_map import ONLY, THIRD, step_layout
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.voter import MedianVoter


def output_layout(parameters: OpcParameters) -> data.StructLayout:
    """An output of a vector: its number and its sum over planes, at full precision."""
    return data.StructLayout({"sum": signed(parameters.sum_bits), "output": parameters.output_bits})


class ReadOut(wiring.Component):
    """Vote and plane accumulation, one column sum per clock.

    Pipeline stages with one common enable: the column sum and its map entry are registered, replicas are compared,
    the median or the only copy is chosen, the planes of an output are added by Horner's rule (y = 2 y + v, top plane
    first). Plane 0 completes an output. Without a voter the middle two stages are absent. Where lanes offer several
    sums, these are registered first and the one that the entry names is picked in the stage behind.

    Ports:
        read: a column sum is offered. step: its map entry. ready: it is taken in this clock.
        sums: ``choices`` of them, each from as many neighbouring lanes; the entry's line is in one of these.
        o: outputs. disagreement: a vote was not unanimous (one clock each). busy: something is in the pipeline.
    """

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = p = parameters
        super().__init__(
            {
                "read": In(1),
                "step": In(step_layout(p)),
                "sums": In(signed(p.column_sum_bits)).array(p.choices),
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

        # Register the column sum.
        taken, step = Signal(), Signal(step_layout(p))
        column_sum = Signal(signed(p.column_sum_bits))
        used, last = self.read & self.step.entry.used, self.read & self.step.last
        if p.choices == 1:
            with m.If(self.ready):
                m.d.sync += [taken.eq(used), step.eq(self.step), step.last.eq(last), column_sum.eq(self.sums[0])]
            choosing = 0
        else:
            offered, offer = Signal(), Signal.like(step)
            sums = [Signal.like(column_sum, name=f"sum_{number}") for number in range(p.choices)]
            chosen = offer.entry.line[p.lane_bits - exact_log2(p.choices) : p.lane_bits]
            with m.If(self.ready):
                m.d.sync += [register.eq(value) for register, value in zip(sums, self.sums, strict=True)]
                m.d.sync += [offered.eq(used), offer.eq(self.step), offer.last.eq(last)]
                m.d.sync += [taken.eq(offered), step.eq(offer), column_sum.eq(Array(sums)[chosen])]
            choosing = offered

        # The value of a plane, from one copy or from three in a row.
        if p.voter:
            compared, compared_step = Signal(), Signal.like(step)
            valued, value_step = Signal(), Signal.like(step)
            value = Signal.like(column_sum)
            m.submodules.voter = voter = MedianVoter(p.column_sum_bits)
            only, third = compared_step.entry.replica == ONLY, compared_step.entry.replica == THIRD
            m.d.comb += [
                voter.take.eq(self.ready & taken),
                voter.value.eq(column_sum),
                self.disagreement.eq(self.ready & compared & third & ~voter.unanimous),
            ]
            with m.If(self.ready):
                m.d.sync += [
                    compared.eq(taken),
                    compared_step.eq(step),
                    valued.eq(compared & (only | third)),
                    value_step.eq(compared_step),
                    value.eq(Mux(only, voter.newest, voter.median)),
                ]
            waiting = taken | compared
        else:
            valued, value, value_step, waiting = taken, column_sum, step, 0

        # Add the planes of an output.
        begins = Signal(init=1)
        with m.If(self.ready):
            m.d.sync += self.o.valid.eq(valued & (value_step.entry.plane == 0))
            with m.If(valued):
                m.d.sync += [
                    begins.eq(value_step.entry.plane == 0),
                    self.o.payload.sum.eq(Mux(begins, 0, self.o.payload.sum << 1) + value),
                    self.o.payload.output.eq(value_step.entry.output),
                ]
            with m.If(value_step.last):
                m.d.sync += begins.eq(1)  # so that a map that ends amid an output spoils one vector only
        m.d.comb += self.busy.eq(choosing | waiting | valued | self.o.valid)
        return m
