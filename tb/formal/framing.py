"""The input of a tile: only whole vectors are processed, whatever is marked, and what is not whole is said."""

from __future__ import annotations

from amaranth.hdl import Assert, Assume, Module, Mux, Signal

from crossvote.rtl.input_buffer import InputBuffer
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.tile_parameters import TileParameters
from tb.formal.specs import Spec

#: Vectors of two beats, each of which is turned in two clocks.
OPC = OpcParameters(columns=2, lanes=2, planes=1, input_bits=2, adc_bits=1, row_blocks=1, voter=False, column_map=False)
PARAMETERS = TileParameters(opc=OPC, rows=2, port=1)


class OnlyWholeVectors(Spec):
    """The buffer has a vector if and only if as many beats as make one came between two marks, and have not been used.

    Every other mark, and every vector that goes on beyond its beats, is said once. Both happen within the clocks that
    it takes to turn a beat.
    """

    def build(self, m: Module) -> None:
        p = PARAMETERS
        beats, patience = p.input_beats(1), p.opc.input_bits + 1
        m.submodules.dut = dut = InputBuffer(p)
        mark, payload = self.free(1, "last"), dut.i.payload
        used = self.free(1, "used")
        m.d.comb += [
            dut.blocks.eq(1),
            dut.i.valid.eq(self.free(1, "valid")),
            payload.last.eq(mark),
            payload.tag.eq(self.free(len(payload.tag), "tag")),
            payload.values.as_value().eq(self.free(len(payload.values.as_value()), "values")),
            dut.free.eq(used),
            Assume(dut.valid | ~used),
        ]
        since = Signal(range(beats + 2), name="beats_since_mark")
        taken, whole, wrong = (Signal(name=name) for name in ("taken", "whole", "wrong"))
        m.d.comb += [
            taken.eq(dut.i.valid & dut.i.ready),
            whole.eq(taken & mark & (since == beats - 1)),
            wrong.eq(taken & Mux(mark, since < beats - 1, since == beats - 1)),
        ]
        with m.If(taken):
            m.d.sync += since.eq(Mux(mark, 0, Mux(since > beats, since, since + 1)))
        for name, came, shown, said in (
            ("whole", whole, dut.valid, used),
            ("wrong", wrong, dut.misframed, dut.misframed),
        ):
            open_, waits = Signal(4, name=f"{name}_open"), Signal(4, name=f"{name}_waits")
            m.d.sync += open_.eq(open_ + came - said)
            m.d.sync += waits.eq(Mux((open_ != 0) & ~shown, waits + 1, 0))
            m.d.comb += [Assert(~shown | (open_ != 0)), Assert(waits <= patience)]
