"""AXI4-Lite in front of the register port."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from crossvote.rtl.opc import Opc
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.registers import RegisterPort, index_bits

OKAY, SLVERR = 0, 2


class AxiLite(wiring.Signature):
    """AXI4-Lite with 32 data bits, seen from the manager; signals as in the AMBA AXI specification (IHI 0022)."""

    def __init__(self, address_bits: int) -> None:
        super().__init__(
            {
                "awaddr": Out(address_bits),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(32),
                "wstrb": Out(4),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
                "araddr": Out(address_bits),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(32),
                "rresp": In(2),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )


class AxiLiteBridge(wiring.Component):
    """One register access at a time; byte address = 4 * word address.

    A write that the registers refuse answers SLVERR and changes nothing but REFUSED; so does one of part of a word, and
    one whose address is no multiple of four. A read of such an address, or of one without a register, answers SLVERR
    with 0. A write goes before a read that arrives in the same clock.

    Ports: axi: the subordinate side. bus: the register port.
    """

    def __init__(self, word_address_bits: int) -> None:
        self._address_bits = word_address_bits
        super().__init__({"axi": In(AxiLite(word_address_bits + 2)), "bus": Out(RegisterPort(word_address_bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        axi, bus = self.axi, self.bus

        # Address and data of a write may come in any order; each waits in a register for the other.
        address = Signal(self._address_bits, name="address")
        data = Signal(32, name="data")
        strobe = Signal(4, name="strobe")
        aligned, addressed, loaded, write = (Signal(name=n) for n in ("aligned", "addressed", "loaded", "write"))
        m.d.comb += [
            axi.awready.eq(~addressed),
            axi.wready.eq(~loaded),
            write.eq(addressed & loaded & ~axi.bvalid),
            bus.write.eq(write),
            bus.write_data.eq(data),
            bus.write_strobe.eq(Mux(aligned, strobe, 0)),
        ]
        with m.If(axi.awready & axi.awvalid):
            m.d.sync += [addressed.eq(1), address.eq(axi.awaddr[2:]), aligned.eq(axi.awaddr[:2] == 0)]
        with m.If(axi.wready & axi.wvalid):
            m.d.sync += [loaded.eq(1), data.eq(axi.wdata), strobe.eq(axi.wstrb)]
        with m.If(write):
            m.d.sync += [
                addressed.eq(0),
                loaded.eq(0),
                axi.bvalid.eq(1),
                axi.bresp.eq(Mux(bus.error, SLVERR, OKAY)),
            ]
        with m.Elif(axi.bready):
            m.d.sync += axi.bvalid.eq(0)

        # A read shows its address in one clock and finds the data in the next.
        read_address = Signal(self._address_bits)
        whole_word, asked, shown, show = (Signal(name=name) for name in ("whole_word", "asked", "shown", "show"))
        m.d.comb += [
            axi.arready.eq(~asked),
            show.eq(asked & ~shown & ~write & ~axi.rvalid),
            bus.read.eq(show),
            bus.address.eq(Mux(write, address, read_address)),
        ]
        m.d.sync += shown.eq(show)
        with m.If(axi.arready & axi.arvalid):
            m.d.sync += [
                asked.eq(1),
                read_address.eq(axi.araddr[2:]),
                whole_word.eq(axi.araddr[:2] == 0),
            ]
        with m.If(shown):
            found = whole_word & ~bus.read_error
            m.d.sync += [
                asked.eq(0),
                axi.rvalid.eq(1),
                axi.rdata.eq(Mux(found, bus.read_data, 0)),
                axi.rresp.eq(Mux(found, OKAY, SLVERR)),
            ]
        with m.Elif(axi.rready):
            m.d.sync += axi.rvalid.eq(0)
        return m


class OpcAxi(wiring.Component):
    """The OPC with its registers on AXI4-Lite.

    Ports: i, o, irq: as in ``Opc``. axi: the registers.
    """

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = parameters
        self._opc = Opc(parameters)
        self._bridge = AxiLiteBridge(index_bits(parameters) + 2)
        streams = {name: self._opc.signature.members[name] for name in ("i", "o")}
        super().__init__({**streams, "axi": self._bridge.signature.members["axi"], "irq": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.opc = self._opc
        m.submodules.bridge = self._bridge
        connect(m, self._bridge.bus, self._opc.bus)
        connect(m, flipped(self.i), self._opc.i)
        connect(m, flipped(self.o), self._opc.o)
        connect(m, flipped(self.axi), self._bridge.axi)
        m.d.comb += self.irq.eq(self._opc.irq)
        return m
