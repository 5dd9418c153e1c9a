"""Checks the column sums of a vector against those of its checksum bit lines, while they are read out."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from crossvote.rtl.parameters import OpcParameters


class ChecksumCheck(wiring.Component):
    """Whether sum over b of 2^b C_b - sum of D is a multiple of 2^m, for m checksum lines of column sums C_b.

    D are the column sums of all bit lines that are read: as they are, without flips, votes or shifts. Checksum lines
    come first and highest weight first, so one register holds it all: it is doubled and added to for each of them, and
    each D is taken from it. How many have come says which of its bits count; without any, none does. What the vector
    before left has then been doubled out of these bits, so the register is never cleared.

    Nothing of this is in the way of an output, and it is known one clock behind the last entry of the map.

    Ports:
        move: the stage of read-out that the column sum is in moves on. adds: it belongs to a bit line that is read.
        checks: it belongs to a checksum line. value: it. last: it belongs to the end of the map. spoilt: marks of its
        vector were wrong, so its sums are of two vectors and say nothing about cells.
        mismatch: it is no multiple (one clock each). busy: that is about to be known.
    """

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = parameters
        one = {name: In(1) for name in ("move", "adds", "checks", "last", "spoilt")}
        super().__init__({**one, "value": In(signed(parameters.column_sum_bits)), "mismatch": Out(1), "busy": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.parameters.checksum_bits
        residue, counted = Signal(bits, name="residue"), Signal(bits, name="counted")
        known, addend = Signal(bits, name="known"), Signal(bits, name="addend")
        ended, judged = Signal(name="ended"), Signal(name="judged")
        m.d.comb += [
            known.eq(Mux(ended, 0, counted)),
            # Cut to its low bits, or extended by its sign where it has fewer.
            addend.eq(Mux(self.checks, self.value, ~self.value)),
            self.mismatch.eq(self.move & judged & (residue & counted).any()),
            self.busy.eq(ended),
        ]
        with m.If(self.move):
            m.d.sync += [
                ended.eq(self.last),
                judged.eq(self.last & ~self.spoilt),
                counted.eq(known),
            ]
            with m.If(self.checks):
                m.d.sync += [residue.eq((residue << 1) + addend), counted.eq(Cat(Const(1, 1), known))]
            with m.Elif(self.adds):
                m.d.sync += residue.eq(residue + addend + 1)
        return m
