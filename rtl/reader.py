"""The reader of a tile: drives word lines bit by bit, holds bit-line sums, and has them converted in turn."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from crossvote.rtl.parameters import TAG_BITS
from crossvote.rtl.tile_parameters import TileParameters


def read_layout() -> data.StructLayout:
    """What is known of a read: first or last of its vector, the vector's tag."""
    return data.StructLayout({"first": 1, "last": 1, "tag": TAG_BITS})


class Array(wiring.Signature):
    """What a tile wants of the crossbars behind its word lines, seen from the tile; every OPC has crossbars of its own.

    load: keep ``word_lines`` for the crossbar pair of row block ``load_block``. drive: all pairs drive what was kept
    last for them. sample: hold the sums of all bit lines, as they are just before ``drive`` changes them.
    codes: what the converters make of the held sums of bit lines ``lanes * convert_group`` and up of row block
    ``convert_block``; they are taken when the converters have got there, or later.
    """

    def __init__(self, parameters: TileParameters) -> None:
        p = parameters
        code = data.StructLayout({"positive": p.opc.adc_bits, "negative": p.opc.adc_bits})
        super().__init__(
            {
                "load": Out(1),
                "load_block": Out(p.block_bits),
                "word_lines": Out(p.rows).array(p.opcs),
                "drive": Out(1),
                "sample": Out(1),
                "convert_block": Out(p.block_bits),
                "convert_group": Out(p.opc.group_bits),
                "codes": In(data.ArrayLayout(code, p.opc.lanes)).array(p.opcs),
            }
        )


class Rest(wiring.Signature):
    """How clocks can be left out in which nothing happens but that a read settles and converters convert, seen from a
    tile's control. It is for simulators: in a tile ``gone`` and ``gained`` are 0, and nothing of it is hardware.

    still: this is such a clock. settling: clocks until bit lines have settled. pace, rate: how far converters are, and
    what a clock adds; 0 where none is at work. gone, gained: clocks left out before this one, ``settling`` of them at
    most, and what they add to ``pace``.
    """

    def __init__(self, parameters: TileParameters) -> None:
        p = parameters
        super().__init__(
            {
                "still": Out(1),
                "settling": Out(range(p.read_clocks)),
                "pace": Out(range(2 * p.convert_clocks + 1)),
                "rate": Out(range(p.convert_clocks + 1)),
                "gone": In(range(p.read_clocks)),
                "gained": In(range(2 * p.convert_clocks + 1)),
            }
        )


class Reader(wiring.Component):
    """Three stages that work at the same time: loading the next read, driving one, converting the one before.

    Ports:
        blocks: row blocks per OPC.
        vector: one is complete in the input buffer. tag: its tag. free: it is no longer needed.
        block, bit: what the buffer shall show in the next clock.
        load, load_block, drive, sample, convert_block, convert_group: of ``Array``.
        beat: codes can be taken. taken: they are. first, last: of their vector. read: theirs.
        busy: a read is on its way. rest: as in ``Rest``.
    """

    def __init__(self, parameters: TileParameters) -> None:
        self.parameters = p = parameters
        super().__init__(
            {
                "blocks": In(bits_for(p.opc.row_blocks)),
                "vector": In(1),
                "tag": In(TAG_BITS),
                "free": Out(1),
                "block": Out(p.block_bits),
                "bit": Out(range(p.opc.input_bits)),
                "load": Out(1),
                "load_block": Out(p.block_bits),
                "drive": Out(1),
                "sample": Out(1),
                "convert_block": Out(p.block_bits),
                "convert_group": Out(p.opc.group_bits),
                "beat": Out(1),
                "taken": In(1),
                "first": Out(1),
                "last": Out(1),
                "read": Out(read_layout()),
                "busy": Out(1),
                "rest": Out(Rest(p)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        last_bit = self.bit == p.opc.input_bits - 1

        # Loading: the buffer is asked for one row block per clock; its answer is loaded in the next one.
        asked_all, loaded_all, asks = (Signal(name=name) for name in ("asked_all", "loaded_all", "asks"))
        m.d.comb += asks.eq(self.vector & ~asked_all)
        m.d.sync += [self.load.eq(asks), self.load_block.eq(self.block)]
        with m.If(asks):
            m.d.sync += self.block.eq(self.block + 1)
            with m.If(self.block == self.blocks - 1):
                m.d.sync += [asked_all.eq(1), self.block.eq(0)]
        with m.If(asked_all):
            m.d.sync += loaded_all.eq(1)
        with m.If(self.drive):
            m.d.sync += [asked_all.eq(0), loaded_all.eq(0), self.bit.eq(Mux(last_bit, 0, self.bit + 1))]
        m.d.comb += self.free.eq(self.drive & last_bit)

        # Driving: the sums are held when they have settled and what was held before is converted.
        driving, settling = Signal(name="driving"), Signal(range(p.read_clocks), name="settling")
        driven = Signal(read_layout())
        held, finishing = Signal(name="held"), Signal(name="finishing")
        left = Signal.like(settling, name="left")
        m.d.comb += [
            left.eq(settling - self.rest.gone),
            self.sample.eq(driving & (left == 0) & (~held | finishing)),
            self.drive.eq(loaded_all & (~driving | self.sample)),
        ]
        with m.If(self.drive):
            m.d.sync += [
                driving.eq(1),
                settling.eq(p.read_clocks - 1),
                driven.first.eq(self.bit == 0),
                driven.last.eq(last_bit),
                driven.tag.eq(self.tag),
            ]
        with m.Else():
            with m.If(self.sample):
                m.d.sync += driving.eq(0)
            with m.If(left != 0):
                m.d.sync += settling.eq(left - 1)
            with m.Else():
                m.d.sync += settling.eq(0)

        # Converting: row block by row block, group by group. Of the beats of a read, as many as ``rate`` of
        # ``convert_clocks`` may be taken per clock: ``pace`` says how far the converters are ahead.
        rate = Signal(range(p.convert_clocks + 1))
        pace = Signal(range(2 * p.convert_clocks + 1))
        paced = Signal.like(pace, name="paced")
        beats = Signal(range(p.opc.row_blocks * p.opc.groups + 1))
        last_group, last_block = Signal(name="last_group"), Signal(name="last_block")
        m.d.comb += [
            last_group.eq(self.convert_group == p.opc.groups - 1),
            last_block.eq(self.convert_block == self.blocks - 1),
            beats.eq(self.blocks * p.opc.groups),
            rate.eq(Mux(beats > p.convert_clocks, p.convert_clocks, beats)),
            paced.eq(pace + self.rest.gained),
            self.beat.eq(held & (paced >= p.convert_clocks)),
            finishing.eq(self.taken & last_group & last_block),
            self.first.eq(self.read.first & (self.convert_group == 0) & (self.convert_block == 0)),
            self.last.eq(self.read.last & last_group & last_block),
            self.busy.eq(self.load | asked_all | driving | held | (self.bit != 0)),
            self.rest.still.eq(~(self.load | asks | self.drive | self.sample | self.beat)),
            self.rest.settling.eq(settling),
            self.rest.pace.eq(pace),
            self.rest.rate.eq(Mux(held, rate, 0)),
        ]
        m.d.sync += pace.eq(paced)
        with m.If(self.taken):
            m.d.sync += [self.convert_group.eq(Mux(last_group, 0, self.convert_group + 1))]
            m.d.sync += pace.eq(paced - p.convert_clocks + rate)
            with m.If(last_group):
                m.d.sync += self.convert_block.eq(Mux(last_block, 0, self.convert_block + 1))
        with m.Elif(held & ~self.beat):
            m.d.sync += pace.eq(paced + rate)
        with m.If(finishing):
            m.d.sync += held.eq(0)
        with m.If(self.sample):
            m.d.sync += [held.eq(1), self.read.eq(driven), pace.eq(rate)]
        return m
