"""A tile's streams as AXI4-Stream. Apart from the OPC's, so that what an OPC is made of holds nothing of a tile."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from crossvote.rtl.axi_stream import AxiStream, received, sent
from crossvote.rtl.tile import Tile
from crossvote.rtl.tile_axi import TileAxi
from crossvote.rtl.tile_parameters import VALUE_BITS, TileParameters


class TileAxiStream(wiring.Component):
    """A tile, with registers as ``tile`` has them, whose streams are AXI4-Stream.

    Ports:
        s_axis: beats. TDATA: activations, padded to whole bytes; TLAST: the last beat of a vector; TID: its tag, which
            counts in its first beat. m_axis: outputs. TDATA: the value; TUSER: the output's number, above it the error;
            TLAST: the last of its vector; TID: its tag.
        The others as in ``tile``.
    """

    def __init__(self, tile: Tile | TileAxi) -> None:
        self.parameters: TileParameters = tile.parameters
        p = self.parameters.opc
        self._tile = tile
        self._kept = {name: member for name, member in tile.signature.members.items() if name not in ("i", "o")}
        super().__init__(
            {
                "s_axis": In(AxiStream(p.input_bits * self.parameters.port, 0)),
                "m_axis": Out(AxiStream(VALUE_BITS, p.output_bits + 1)),
                **self._kept,
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.tile = tile = self._tile
        taken, given = tile.i, tile.o
        values = taken.payload.values.as_value()
        for name in self._kept:
            if name == "irq":
                m.d.comb += self.irq.eq(tile.irq)
            else:
                connect(m, getattr(tile, name), flipped(getattr(self, name)))
        m.d.comb += [
            values.eq(self.s_axis.tdata),
            *received(self.s_axis, taken),
            *sent(self.m_axis, given, given.payload.value),
        ]
        return m
