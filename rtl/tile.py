"""The digital part of a tile: activations in, word lines driven, codes digested, quantized activations out."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from crossvote.rtl.opc import Opc
from crossvote.rtl.tile_control import TileControl
from crossvote.rtl.tile_parameters import TileParameters


class Tile(wiring.Component):
    """Output peripherals and what is around them (``TileControl``).

    Ports: as in ``TileControl``, but for the OPCs.
    """

    def __init__(self, parameters: TileParameters) -> None:
        self.parameters = parameters
        self._control = TileControl(parameters)
        members = self._control.signature.members
        super().__init__({name: member for name, member in members.items() if name not in ("opcs", "rest")})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.control = control = self._control
        for name in self.signature.members:
            own, inner = getattr(self, name), getattr(control, name)
            if name == "irq":
                m.d.comb += own.eq(inner)
            else:
                connect(m, inner, flipped(own))
        for number, link in enumerate(control.opcs):
            m.submodules[f"opc_{number}"] = opc = Opc(self.parameters.opc)
            m.d.comb += [
                opc.i.valid.eq(link.valid),
                link.ready.eq(opc.i.ready),
                opc.i.payload.codes.eq(self.array.codes[number]),
                opc.i.payload.first.eq(link.first),
                opc.i.payload.last.eq(link.last),
                opc.i.payload.tag.eq(link.tag),
                link.irq.eq(opc.irq),
            ]
            connect(m, opc.o, link.o)
            connect(m, link.bus, opc.bus)
        return m
