"""Streams of an OPC or a tile as AXI4-Stream: TDATA has the numbers, TLAST and TUSER marks, TID the vector's tag."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from crossvote.rtl.axi_lite import OpcAxi
from crossvote.rtl.opc import Opc
from crossvote.rtl.parameters import TAG_BITS, OpcParameters
from crossvote.rtl.tile import Tile
from crossvote.rtl.tile_axi import TileAxi
from crossvote.rtl.tile_parameters import VALUE_BITS, TileParameters


def whole_bytes(bits: int) -> int:
    """Bits of the fewest bytes that hold ``bits``."""
    return -(-bits // 8) * 8


class AxiStream(wiring.Signature):
    """AXI4-Stream seen from the transmitter; signals as in the AMBA AXI-Stream specification (IHI 0051).

    Without ``user_bits`` there is no TUSER.
    """

    def __init__(self, data_bits: int, user_bits: int) -> None:
        super().__init__(
            {
                "tdata": Out(whole_bytes(data_bits)),
                "tvalid": Out(1),
                "tready": In(1),
                "tlast": Out(1),
                "tid": Out(TAG_BITS),
                **({"tuser": Out(user_bits)} if user_bits else {}),
            }
        )


class OpcAxiStream(wiring.Component):
    """An OPC, with registers as ``opc`` has them, whose streams are AXI4-Stream.

    Ports:
        s_axis: beats. TDATA: the codes as in ``beat_layout``, padded to whole bytes; TUSER: the first beat of a vector;
            TLAST: its last; TID: its tag. m_axis: outputs. TDATA: the sum, sign-extended to whole bytes; TUSER: the
            output's number, above it the error; TLAST: the last of its vector; TID: its tag.
        bus or axi, irq: as in ``opc``.
    """

    def __init__(self, opc: Opc | OpcAxi) -> None:
        self.parameters: OpcParameters = opc.parameters
        p = self.parameters
        self._opc = opc
        self._bus = "axi" if isinstance(opc, OpcAxi) else "bus"
        super().__init__(
            {
                "s_axis": In(AxiStream(2 * p.adc_bits * p.lanes, 1)),
                "m_axis": Out(AxiStream(p.sum_bits, p.output_bits + 1)),
                self._bus: opc.signature.members[self._bus],
                "irq": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.opc = opc = self._opc
        taken, given = opc.i, opc.o
        codes = taken.payload.codes.as_value()
        connect(m, flipped(getattr(self, self._bus)), getattr(opc, self._bus))
        m.d.comb += [
            codes.eq(self.s_axis.tdata),
            taken.payload.first.eq(self.s_axis.tuser),
            taken.payload.last.eq(self.s_axis.tlast),
            taken.payload.tag.eq(self.s_axis.tid),
            taken.valid.eq(self.s_axis.tvalid),
            self.s_axis.tready.eq(taken.ready),
            self.m_axis.tdata.eq(given.payload.sum),
            self.m_axis.tuser[:-1].eq(given.payload.output),
            self.m_axis.tuser[-1].eq(given.payload.error),
            self.m_axis.tlast.eq(given.payload.last),
            self.m_axis.tid.eq(given.payload.tag),
            self.m_axis.tvalid.eq(given.valid),
            given.ready.eq(self.m_axis.tready),
            self.irq.eq(opc.irq),
        ]
        return m


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
            taken.payload.last.eq(self.s_axis.tlast),
            taken.payload.tag.eq(self.s_axis.tid),
            taken.valid.eq(self.s_axis.tvalid),
            self.s_axis.tready.eq(taken.ready),
            self.m_axis.tdata.eq(given.payload.value),
            self.m_axis.tuser[:-1].eq(given.payload.output),
            self.m_axis.tuser[-1].eq(given.payload.error),
            self.m_axis.tlast.eq(given.payload.last),
            self.m_axis.tid.eq(given.payload.tag),
            self.m_axis.tvalid.eq(given.valid),
            given.ready.eq(self.m_axis.tready),
        ]
        return m
