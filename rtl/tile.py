"""The digital part of a tile: activations in, word lines driven, codes digested, quantized activations out."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import bits_for

from crossvote.rtl.input_buffer import InputBuffer, activation_layout
from crossvote.rtl.opc import Opc
from crossvote.rtl.parameters import SHIFT_BITS
from crossvote.rtl.reader import Array, Reader
from crossvote.rtl.registers import SCALE_WORD, Register, RegisterPort, index_bits
from crossvote.rtl.requantise import Requantise, value_layout
from crossvote.rtl.tile_parameters import OFFSET_BITS, TileParameters

#: Windows of the tile's registers beside those of an OPC: its scales take the place of the OPC's.
SCALES, OFFSETS = 2, 3


def tile_scale_address(parameters: TileParameters, output: int) -> int:
    """Word address of the scale of an output; its word is ``scale_word``."""
    return (SCALES << index_bits(parameters.opc)) + output


def offset_address(parameters: TileParameters, output: int) -> int:
    """Word address of the offset of an output: two's complement, ``OFFSET_BITS``."""
    return (OFFSETS << index_bits(parameters.opc)) + output


class Tile(wiring.Component):
    """Input buffer, reader, OPCs, the sum over OPCs, requantisation.

    The register port is that of an OPC; a write goes to all OPCs, which hold the same map, and a read comes from the
    first one. Two more windows hold scales and offsets. Writes are refused while anything of a vector is in the tile.

    Ports: i: activations. o: quantized outputs. array: the crossbars. bus: registers. irq: of the first OPC.
    """

    def __init__(self, parameters: TileParameters) -> None:
        self.parameters = p = parameters
        super().__init__(
            {
                "i": In(stream.Signature(activation_layout(p))),
                "o": Out(stream.Signature(value_layout(p))),
                "array": Out(Array(p)),
                "bus": In(RegisterPort(index_bits(p.opc) + 2)),
                "irq": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        m.submodules.buffer = buffer = InputBuffer(p)
        m.submodules.reader = reader = Reader(p)
        m.submodules.requantise = requantise = Requantise(p)
        opcs = [Opc(p.opc) for _ in range(p.opcs)]
        for number, opc in enumerate(opcs):
            m.submodules[f"opc_{number}"] = opc
        connect(m, flipped(self.i), buffer.i)
        connect(m, requantise.o, flipped(self.o))

        # Crossbars and converters.
        taken = Signal(name="taken")
        m.d.comb += [
            reader.vector.eq(buffer.valid),
            reader.tag.eq(buffer.tag),
            buffer.free.eq(reader.free),
            buffer.block.eq(reader.block),
            buffer.bit.eq(reader.bit),
            taken.eq(reader.beat & Cat(opc.i.ready for opc in opcs).all()),
            reader.taken.eq(taken),
        ]
        for name in ("load", "load_block", "drive", "sample", "convert_block", "convert_group"):
            m.d.comb += getattr(self.array, name).eq(getattr(reader, name))
        for number, opc in enumerate(opcs):
            m.d.comb += [
                self.array.word_lines[number].eq(buffer.word_lines[number]),
                opc.i.valid.eq(taken),
                opc.i.payload.codes.eq(self.array.codes[number]),
                opc.i.payload.first.eq(reader.first),
                opc.i.payload.last.eq(reader.last),
                opc.i.payload.tag.eq(reader.read.tag),
            ]

        # All OPCs hold the same map and get their beats together, so their outputs come together.
        summed, summed_valid, move = Signal.like(requantise.i.payload), Signal(name="summed_valid"), Signal(name="move")
        m.d.comb += [
            move.eq(~summed_valid | requantise.i.ready),
            requantise.i.valid.eq(summed_valid),
            requantise.i.payload.eq(summed),
            *(opc.o.ready.eq(move) for opc in opcs),
        ]
        with m.If(move):
            first = opcs[0].o
            m.d.sync += [
                summed_valid.eq(first.valid),
                summed.sum.eq(sum(opc.o.payload.sum for opc in opcs)),
                summed.output.eq(first.payload.output),
                summed.last.eq(first.payload.last),
                summed.tag.eq(first.payload.tag),
                summed.error.eq(Cat(opc.o.payload.error for opc in opcs).any()),
            ]

        self._registers(m, opcs, buffer, reader, requantise, summed_valid)
        return m

    def _registers(
        self, m: Module, opcs: list[Opc], buffer: InputBuffer, reader: Reader, requantise: Requantise, summed: Signal
    ) -> None:
        """The register port, and the row blocks that the tile keeps beside the OPCs."""
        p = self.parameters
        bus, first = self.bus, opcs[0].bus
        window, index = bus.address[index_bits(p.opc) :], bus.address[: index_bits(p.opc)]
        busy, own, own_write, own_known = (Signal(name=n) for n in ("busy", "own", "own_write", "own_known"))
        blocks = Signal(bits_for(p.opc.row_blocks), init=1)
        scale_word, offset_word = data.View(SCALE_WORD, bus.write_data), bus.write_data[:OFFSET_BITS]
        known = index < p.opc.outputs
        scale_fits = (scale_word.multiplier < 1 << p.scale_bits) & (scale_word.shift < 1 << SHIFT_BITS)
        offset_fits = bus.write_data.as_signed() == offset_word.as_signed()
        m.d.comb += [
            busy.eq(buffer.filling | buffer.valid | reader.busy | summed | requantise.busy),
            own.eq(window[1]),
            own_write.eq(
                bus.write & own & ~busy & bus.write_strobe.all() & known & Mux(window[0], offset_fits, scale_fits)
            ),
            # While the tile is busy the OPCs see writes to their settings without strobes, so they refuse them.
            bus.error.eq(Mux(own, bus.write & ~own_write, first.error)),
            requantise.scale_index.eq(index),
            requantise.scale_write.eq(own_write & ~window[0]),
            requantise.scale_write_entry.multiplier.eq(scale_word.multiplier),
            requantise.scale_write_entry.shift.eq(scale_word.shift),
            requantise.offset_index.eq(index),
            requantise.offset_write.eq(own_write & window[0]),
            requantise.offset_write_entry.offset.eq(offset_word),
            buffer.blocks.eq(blocks),
            reader.blocks.eq(blocks),
            self.irq.eq(opcs[0].irq),
        ]
        setting = (window == 1) | (index == Register.ROW_BLOCKS) | (index == Register.STEPS)
        for opc in opcs:
            m.d.comb += [
                opc.bus.address.eq(bus.address),
                opc.bus.write.eq(bus.write & ~own),
                opc.bus.write_strobe.eq(Mux(busy & setting, 0, bus.write_strobe)),
                opc.bus.write_data.eq(bus.write_data),
                opc.bus.read.eq(bus.read & ~own),
            ]
        with m.If(bus.write & (window == 0) & (index == Register.ROW_BLOCKS) & ~first.error):
            m.d.sync += blocks.eq(bus.write_data)

        was_own, was_offset = Signal(name="was_own"), Signal(name="was_offset")
        m.d.sync += [was_own.eq(own), was_offset.eq(window[0]), own_known.eq(known)]
        scale, offset = Signal(SCALE_WORD), Signal(signed(32))
        m.d.comb += [
            scale.multiplier.eq(requantise.scale_read_entry.multiplier),
            scale.shift.eq(requantise.scale_read_entry.shift),
            offset.eq(requantise.offset_read_entry.offset),
            bus.read_data.eq(first.read_data),
            bus.read_error.eq(first.read_error),
        ]
        with m.If(was_own):
            found = Mux(was_offset, offset.as_unsigned(), scale.as_value())
            m.d.comb += [bus.read_data.eq(Mux(own_known, found, 0)), bus.read_error.eq(~own_known)]
