"""Properties of AXI4-Lite: the bridge in front of any registers, under any manager.

What the manager has had accepted and not yet answered shows at the bridge's own pins, because it holds one access of a
kind at a time: an address that waits keeps AWREADY low, data WREADY, a read ARREADY. So the counts that a manager keeps
are invariants that the proofs by induction need.
"""

from __future__ import annotations

from amaranth.hdl import Assert, Module, Signal
from amaranth.lib.wiring import In

from crossvote.rtl.axi_lite import AxiLiteBridge
from tb.formal.specs import Spec, past

#: Clock cycles after which a response is offered at the latest. A write whose address and data are there is answered in
#: the next clock; a read may have to let one write pass, shows its address, and has its data a clock later.
WRITE_BOUND, READ_BOUND = 1, 3


class AxiSpec(Spec):
    """The bridge with free managers and registers; ready of the responses may be withheld as long as it likes."""

    def connect(self, m: Module) -> AxiLiteBridge:
        m.submodules.dut = dut = AxiLiteBridge(4)
        for prefix, bus in (("axi", dut.axi), ("bus", dut.bus)):
            for name, member in bus.signature.members.items():
                if member.flow is In:
                    signal = getattr(bus, name)
                    m.d.comb += signal.eq(self.free(len(signal), f"{prefix}_{name}"))
        return dut


class ResponsesAreStable(AxiSpec):
    """A response that is not taken stays as it is."""

    def build(self, m: Module) -> None:
        axi = self.connect(m).axi
        for valid, ready, content in (
            (axi.bvalid, axi.bready, axi.bresp),
            (axi.rvalid, axi.rready, axi.rdata),
            (axi.rvalid, axi.rready, axi.rresp),
        ):
            held, before = past(m, valid & ~ready), past(m, content)
            with m.If(held):
                m.d.comb += [Assert(valid), Assert(content == before)]


class NoResponseUnasked(AxiSpec):
    """There are as many responses as accesses: each belongs to one that was accepted, and none is answered twice."""

    def build(self, m: Module) -> None:
        dut = self.connect(m)
        axi = dut.axi
        asked = {name: Signal(4, name=f"asked_{name}") for name in ("aw", "w", "ar")}
        for name, accept, answer in (
            ("aw", axi.awvalid & axi.awready, axi.bvalid & axi.bready),
            ("w", axi.wvalid & axi.wready, axi.bvalid & axi.bready),
            ("ar", axi.arvalid & axi.arready, axi.rvalid & axi.rready),
        ):
            m.d.sync += asked[name].eq(asked[name] + accept - answer)
        with m.If(axi.bvalid):
            m.d.comb += [Assert(asked["aw"] != 0), Assert(asked["w"] != 0)]
        with m.If(axi.rvalid):
            m.d.comb += Assert(asked["ar"] != 0)
        # What holds on the way there.
        m.d.comb += [
            Assert(asked["aw"] == (~axi.awready) + axi.bvalid),
            Assert(asked["w"] == (~axi.wready) + axi.bvalid),
            Assert(asked["ar"] == (~axi.arready) + axi.rvalid),
        ]


class ResponsesAreBounded(AxiSpec):
    """An access is answered within its bound, once the response before it has been taken."""

    def build(self, m: Module) -> None:
        axi = self.connect(m).axi
        for name, waits, bound in (
            ("write", ~axi.awready & ~axi.wready & ~axi.bvalid, WRITE_BOUND),
            ("read", ~axi.arready & ~axi.rvalid, READ_BOUND),
        ):
            waited = Signal(4, name=f"{name}_waited")
            m.d.sync += waited.eq(0)
            with m.If(waits):
                m.d.sync += waited.eq(waited + (waited != 15))
                m.d.comb += Assert(waited < bound)
