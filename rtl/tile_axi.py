"""A tile with its registers on AXI4-Lite, as ``crossvote.rtl.axi_lite`` does it for an OPC."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from crossvote.rtl.axi_lite import AxiLiteBridge
from crossvote.rtl.registers import index_bits
from crossvote.rtl.tile import Tile
from crossvote.rtl.tile_parameters import TileParameters


class TileAxi(wiring.Component):
    """Ports: axi: the registers, byte address = 4 * word address. The others as in ``Tile``."""

    def __init__(self, parameters: TileParameters) -> None:
        self.parameters = parameters
        self._tile = Tile(parameters)
        self._bridge = AxiLiteBridge(index_bits(parameters.opc) + 2)
        members = {name: member for name, member in self._tile.signature.members.items() if name != "bus"}
        super().__init__({**members, "axi": self._bridge.signature.members["axi"]})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.tile, m.submodules.bridge = tile, bridge = self._tile, self._bridge
        connect(m, bridge.bus, tile.bus)
        connect(m, flipped(self.axi), bridge.axi)
        for name in tile.signature.members:
            if name == "irq":
                m.d.comb += self.irq.eq(tile.irq)
            elif name != "bus":
                connect(m, getattr(tile, name), flipped(getattr(self, name)))
        return m
