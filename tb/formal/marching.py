"""What the self-test asks of crossbars: never two things at once, and nothing before it may be asked."""

from __future__ import annotations

from amaranth.hdl import Assert, Module, Mux, Signal

from crossvote.rtl.march import March
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.tile_parameters import TileParameters
from tb.formal.specs import Spec

#: Two word lines of two bit-line pairs, with a read that settles for three clocks.
OPC = OpcParameters(columns=2, lanes=2, planes=1, input_bits=2, adc_bits=2, row_blocks=2, voter=False, column_map=False)
PARAMETERS = TileParameters(opc=OPC, rows=2, port=1, read_clocks=3, convert_clocks=2, self_test=True)


class CellsAreAskedInTurn(Spec):
    """Whatever is read, and however long writing takes:

    * cells are written by themselves, and what is written where stays until that is done;
    * sums are held when they have settled, and word lines stay for so long;
    * nothing is asked of the crossbars while no test runs, and the row block is the one that was asked for.
    """

    def build(self, m: Module) -> None:
        p = PARAMETERS
        m.submodules.dut = dut = March(p)
        start, block = self.free(1, "start"), self.free(p.block_bits, "block")
        m.d.comb += [
            dut.start.eq(start),
            dut.test.eq(self.free(len(dut.test), "test")),
            dut.block.eq(block),
            dut.cells.done.eq(self.free(1, "done")),
            *(codes.as_value().eq(self.free(len(codes.as_value()), f"codes_{n}")) for n, codes in enumerate(dut.codes)),
        ]
        cells = dut.cells
        writes = Signal(name="writes")
        kept = Signal(p.rows + p.block_bits + 1, name="kept")
        asked = Signal(p.block_bits, name="asked_block")
        since, reads = Signal(range(p.read_clocks + 2), name="since_drive"), Signal(name="reads")
        where = Signal.like(kept, name="where")
        m.d.comb += where[0].eq(cells.level)
        m.d.comb += [where[1 : 1 + p.block_bits].eq(dut.at_block), where[1 + p.block_bits :].eq(dut.word_lines)]
        m.d.sync += [writes.eq(cells.program & ~cells.done), kept.eq(where)]
        with m.If(start & ~dut.busy):
            m.d.sync += asked.eq(block)
        with m.If(dut.drive):
            m.d.sync += [reads.eq(1), since.eq(1)]
        with m.Else():
            m.d.sync += since.eq(Mux(since > p.read_clocks, since, since + 1))
            with m.If(dut.sample):
                m.d.sync += reads.eq(0)
        m.d.comb += [
            Assert(~(cells.program & (dut.load | dut.drive | dut.sample))),
            Assert(~writes | (cells.program & (where == kept))),
            Assert(~dut.sample | (reads & (since == p.read_clocks))),
            Assert(~reads | ~(dut.load | dut.drive)),
            Assert(dut.busy | ~(cells.program | dut.load | dut.drive | dut.sample)),
            Assert(~dut.busy | (dut.at_block == asked)),
        ]
