"""The OPC's streams as AXI4-Stream: TDATA has the numbers, TLAST and TUSER marks, TID the vector's tag."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from crossvote.rtl.axi_lite import OpcAxi
from crossvote.rtl.opc import Opc
from crossvote.rtl.parameters import TAG_BITS, OpcParameters


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


def received(axis: Any, taken: Any) -> list[Any]:
    """Statements: what an input stream takes from ``axis`` beside data; its payload has last and tag."""
    return [
        taken.payload.last.eq(axis.tlast),
        taken.payload.tag.eq(axis.tid),
        taken.valid.eq(axis.tvalid),
        axis.tready.eq(taken.ready),
    ]


def sent(axis: Any, given: Any, value: Value) -> list[Any]:
    """Statements: outputs on ``axis``: TDATA is the ``value``, TUSER the output's number, above it the error."""
    return [
        axis.tdata.eq(value),
        axis.tuser[:-1].eq(given.payload.output),
        axis.tuser[-1].eq(given.payload.error),
        axis.tlast.eq(given.payload.last),
        axis.tid.eq(given.payload.tag),
        axis.tvalid.eq(given.valid),
        given.ready.eq(axis.tready),
    ]


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
            *received(self.s_axis, taken),
            *sent(self.m_axis, given, given.payload.sum),
            self.irq.eq(opc.irq),
        ]
        return m
