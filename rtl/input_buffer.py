"""The input buffer of a tile: vectors of activations come in, words of one bit of each word line go out."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from crossvote.rtl.parameters import TAG_BITS
from crossvote.rtl.tile_parameters import TileParameters


def activation_layout(parameters: TileParameters) -> data.StructLayout:
    """A beat of the input: neighbouring activations, two's complement; ``last`` marks the end of a vector; ``tag``
    counts in its first beat.
    """
    values = data.ArrayLayout(parameters.opc.input_bits, parameters.port)
    return data.StructLayout({"values": values, "last": 1, "tag": TAG_BITS})


class InputBuffer(wiring.Component):
    """Room for two vectors: one is read while the next one comes in.

    A beat is kept, turned by 90 degrees: in each of ``input_bits`` clocks one bit of all its activations is written
    to the word of that bit. Beats come word line by word line, row block by row block, OPC by OPC.

    A beat marked ``last`` always ends a vector. One that then has too few beats is dropped, and so is one whose last
    beat is not marked, with what follows up to the next mark: what is complete is right, and the next vector begins
    where it should.

    Ports:
        i: beats. blocks: row blocks per OPC.
        valid: a vector is complete. tag: its tag. free: it is no longer needed.
        block, bit: which row block of every OPC, and which input bit (0 is the top one), of the complete vector.
        word_lines: that bit of the word lines, for each OPC, one clock later.
        filling: a vector has begun to come and is not complete. turning: a beat is being kept.
        misframed: a vector is dropped.
    """

    def __init__(self, parameters: TileParameters) -> None:
        self.parameters = p = parameters
        super().__init__(
            {
                "i": In(stream.Signature(activation_layout(p))),
                "blocks": In(bits_for(p.opc.row_blocks)),
                "valid": Out(1),
                "tag": Out(TAG_BITS),
                "free": In(1),
                "block": In(p.block_bits),
                "bit": In(range(p.opc.input_bits)),
                "word_lines": Out(p.rows).array(p.opcs),
                "filling": Out(1),
                "turning": Out(1),
                "misframed": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        bits, places = p.opc.input_bits, p.rows // p.port
        # Activations of a beat bit by bit, the top bits of all lowest, which are the next to be written.
        planes, kept_tag = Signal(bits * p.port, name="planes"), Signal(TAG_BITS, name="kept_tag")
        turning = self.turning
        kept_last, astray, strays = Signal(name="kept_last"), Signal(name="astray"), Signal(name="strays")
        bit, place = Signal(range(bits), name="turned_bit"), Signal(range(places), name="place")
        block, opc = Signal(p.block_bits, name="filled_block"), Signal(range(p.opcs), name="filled_opc")
        half, used_half = Signal(name="half"), Signal(name="used_half")
        full = [Signal(name=f"full_{number}") for number in range(2)]
        tags = [Signal(TAG_BITS, name=f"tag_{number}") for number in range(2)]
        last_bit, last_place, last_block, last_opc = (
            Signal(name=f"last_{name}") for name in ("bit", "place", "block", "opc")
        )
        begins, ends, room, other_room = (Signal(name=name) for name in ("begins", "ends", "room", "other_room"))
        m.d.comb += [
            last_bit.eq(bit == bits - 1),
            last_place.eq(place == places - 1),
            last_block.eq(block == self.blocks - 1),
            last_opc.eq(opc == p.opcs - 1),
            begins.eq((place == 0) & (block == 0) & (opc == 0)),
            ends.eq(last_place & last_block & last_opc),
            room.eq(~Mux(half, full[1], full[0])),
            other_room.eq(~Mux(half, full[0], full[1])),
            # A beat is taken while nothing turns or the last bit of the one before does; the half must be free.
            self.i.ready.eq(Mux(turning, last_bit & (~ends | other_room), room)),
            self.valid.eq(Mux(used_half, full[1], full[0])),
            self.tag.eq(Mux(used_half, tags[1], tags[0])),
            self.filling.eq(turning | ~begins),
            self.misframed.eq(turning & last_bit & (ends != kept_last)),
            strays.eq(turning & last_bit & ends & ~kept_last),
        ]
        complete = turning & last_bit & ends & kept_last
        with m.If(turning):
            m.d.sync += [bit.eq(Mux(last_bit, 0, bit + 1)), planes.eq(planes >> p.port)]
            with m.If(last_bit):
                m.d.sync += [turning.eq(0), place.eq(Mux(last_place, 0, place + 1))]
                with m.If(last_place):
                    m.d.sync += block.eq(Mux(last_block, 0, block + 1))
                    with m.If(last_block):
                        m.d.sync += opc.eq(Mux(last_opc, 0, opc + 1))
                with m.If(kept_last):
                    m.d.sync += [place.eq(0), block.eq(0), opc.eq(0)]
                with m.If(complete):
                    m.d.sync += half.eq(~half)
        with m.If(strays):
            m.d.sync += astray.eq(1)
        with m.If(self.i.ready & self.i.valid):
            values = self.i.payload.values
            with m.If(astray | strays):
                m.d.sync += astray.eq(~self.i.payload.last)
            with m.Else():
                m.d.sync += [
                    planes.eq(Cat(values[n][bits - 1 - b] for b in range(bits) for n in range(p.port))),
                    kept_tag.eq(self.i.payload.tag),
                    kept_last.eq(self.i.payload.last),
                    turning.eq(1),
                ]
        for number in range(2):
            with m.If(complete & (half == number)):
                m.d.sync += full[number].eq(1)
            with m.If(self.free & (used_half == number)):
                m.d.sync += full[number].eq(0)
            with m.If(turning & begins & (half == number)):
                m.d.sync += tags[number].eq(kept_tag)
        with m.If(self.free):
            m.d.sync += used_half.eq(~used_half)

        column = planes[: p.port]
        for number in range(p.opcs):
            memory = Memory(shape=p.rows, depth=2 * p.opc.row_blocks * bits, init=[])
            m.submodules[f"words_{number}"] = memory
            write = memory.write_port(granularity=p.port)
            read = memory.read_port()
            m.d.comb += [
                write.addr.eq((Mux(half, p.opc.row_blocks, 0) + block) * bits + bit),
                write.data.eq(Cat(*[column] * places)),
                write.en.eq(Mux(turning & (opc == number), 1 << place, 0)),
                read.addr.eq((Mux(used_half, p.opc.row_blocks, 0) + self.block) * bits + self.bit),
                self.word_lines[number].eq(read.data),
            ]
        return m
