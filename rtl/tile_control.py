"""The digital part of a tile but for its OPCs: what drives crossbars, feeds OPCs, adds and requantises."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import bits_for

from crossvote.rtl.input_buffer import InputBuffer, activation_layout
from crossvote.rtl.march import CellWriting, March
from crossvote.rtl.march_elements import SelfTest
from crossvote.rtl.parameters import SHIFT_BITS, TAG_BITS, OpcParameters
from crossvote.rtl.reader import Array, Reader, Rest
from crossvote.rtl.readout import output_layout
from crossvote.rtl.registers import SCALE_WORD, Register, RegisterPort, Status, index_bits
from crossvote.rtl.requantise import Requantise, value_layout
from crossvote.rtl.tile_parameters import OFFSET_BITS, TileParameters

#: Windows of the tile's registers beside those of an OPC: its scales take the place of the OPC's.
SCALES, OFFSETS = 2, 3


class TileRegister(IntEnum):
    """Word addresses in window 0 of what a tile with a self-test has beside the registers of an OPC."""

    SELF_TEST = 11
    SELF_TEST_READS = 12
    SELF_TEST_WRITES = 13
    VERDICT_ADDRESS = 14
    VERDICT = 15


#: Content of SELF_TEST as it is written: which test, on which row block. Read, its top bit says that a test runs.
SELF_TEST_WORD = data.StructLayout({"test": 8, "block": 8})
#: Content of VERDICT_ADDRESS: bit lines ``lanes * group`` and up of a word line, behind which OPC, which word of them.
VERDICT_ADDRESS_WORD = data.StructLayout({"group": 12, "word_line": 12, "part": 8})


def self_test_word(test: SelfTest, block: int) -> int:
    """The word that starts a self-test."""
    return int(test << SELF_TEST_WORD["test"].offset | block << SELF_TEST_WORD["block"].offset)


def verdict_address_word(parameters: TileParameters, opc: int, word_line: int, group: int, word: int = 0) -> int:
    """The word that chooses which verdicts VERDICT shows."""
    fields = {"group": group, "word_line": word_line, "part": opc * parameters.verdict_words + word}
    return sum(value << VERDICT_ADDRESS_WORD[name].offset for name, value in fields.items())


def tile_scale_address(parameters: TileParameters, output: int) -> int:
    """Word address of the scale of an output; its word is ``scale_word``."""
    return (SCALES << index_bits(parameters.opc)) + output


def offset_address(parameters: TileParameters, output: int) -> int:
    """Word address of the offset of an output: two's complement, ``OFFSET_BITS``."""
    return (OFFSETS << index_bits(parameters.opc)) + output


class OpcLink(wiring.Signature):
    """What a tile and one of its OPCs say to each other, seen from the tile; codes come from the crossbars.

    valid, ready, first, last, tag: beats of the OPC's input. o: its outputs. bus, irq: as in ``Opc``.
    """

    def __init__(self, parameters: OpcParameters) -> None:
        p = parameters
        super().__init__(
            {
                "valid": Out(1),
                "ready": In(1),
                "first": Out(1),
                "last": Out(1),
                "tag": Out(TAG_BITS),
                "o": In(stream.Signature(output_layout(p))),
                "bus": Out(RegisterPort(index_bits(p) + 2)),
                "irq": In(1),
            }
        )


class TileControl(wiring.Component):
    """What a tile has beside its OPCs: input buffer, reader, the sum over OPCs, requantisation, registers.

    The register port is that of an OPC; a write goes to all OPCs, which hold the same map, and a read comes from the
    first one, but for STATUS, which shows what any of them says, and DISAGREEMENTS, which is the sum over all of them.
    Two more windows hold scales and offsets. Writes are refused while anything of a vector is in the tile.

    Ports: i: activations. o: quantized outputs. array: the crossbars; their codes count here only in a self-test.
    opcs: the OPCs. bus: registers. irq: of any OPC, or that the tile is no longer busy. With a self-test also cells:
    how they are written. rest: for simulators, as in ``Rest``.
    """

    def __init__(self, parameters: TileParameters) -> None:
        self.parameters = p = parameters
        cells = {"cells": Out(CellWriting())} if p.self_test else {}
        super().__init__(
            {
                "i": In(stream.Signature(activation_layout(p))),
                "o": Out(stream.Signature(value_layout(p))),
                "array": Out(Array(p)),
                "opcs": Out(OpcLink(p.opc)).array(p.opcs),
                "bus": In(RegisterPort(index_bits(p.opc) + 2)),
                "irq": Out(1),
                "rest": Out(Rest(p)),
                **cells,
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        m.submodules.buffer = buffer = InputBuffer(p)
        m.submodules.reader = reader = Reader(p)
        m.submodules.requantise = requantise = Requantise(p)
        opcs = list(self.opcs)
        connect(m, flipped(self.i), buffer.i)
        connect(m, requantise.o, flipped(self.o))

        # Crossbars and converters. While they are tested no vector leaves the buffer.
        taken, testing = Signal(name="taken"), Signal(name="testing")
        m.d.comb += [
            reader.vector.eq(buffer.valid & ~testing),
            reader.tag.eq(buffer.tag),
            buffer.free.eq(reader.free),
            buffer.block.eq(reader.block),
            buffer.bit.eq(reader.bit),
            taken.eq(reader.beat & Cat(opc.ready for opc in opcs).all()),
            reader.taken.eq(taken),
        ]
        for name in ("load", "load_block", "drive", "sample", "convert_block", "convert_group"):
            m.d.comb += getattr(self.array, name).eq(getattr(reader, name))
        for number, opc in enumerate(opcs):
            m.d.comb += [
                self.array.word_lines[number].eq(buffer.word_lines[number]),
                opc.valid.eq(taken),
                opc.first.eq(reader.first),
                opc.last.eq(reader.last),
                opc.tag.eq(reader.read.tag),
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

        for name in ("settling", "pace", "rate"):
            m.d.comb += getattr(self.rest, name).eq(getattr(reader.rest, name))
        for name in ("gone", "gained"):
            m.d.comb += getattr(reader.rest, name).eq(getattr(self.rest, name))
        moving = [buffer.turning, buffer.i.ready & self.i.valid, summed_valid, requantise.busy, testing]
        moving += [self.bus.write, self.bus.read, *(opc.o.valid for opc in opcs)]
        m.d.comb += self.rest.still.eq(reader.rest.still & ~Cat(moving).any())

        march = self._self_test(m, testing) if p.self_test else None
        self._registers(m, opcs, buffer, reader, requantise, summed_valid, march)
        return m

    def _self_test(self, m: Module, testing: Signal) -> March:
        """The engine that tests the crossbars, in the place of the reader while it is at work."""
        m.submodules.march = march = March(self.parameters)
        array = self.array
        m.d.comb += [
            testing.eq(march.busy),
            self.cells.program.eq(march.cells.program),
            self.cells.level.eq(march.cells.level),
            march.cells.done.eq(self.cells.done),
            *(mine.eq(codes) for mine, codes in zip(march.codes, array.codes, strict=True)),
        ]
        with m.If(testing):
            m.d.comb += [
                array.load.eq(march.load),
                array.load_block.eq(march.at_block),
                array.drive.eq(march.drive),
                array.sample.eq(march.sample),
                array.convert_block.eq(march.at_block),
                array.convert_group.eq(march.group),
                *(word_lines.eq(march.word_lines) for word_lines in array.word_lines),
            ]
        return march

    def _registers(
        self,
        m: Module,
        opcs: list[Any],
        buffer: InputBuffer,
        reader: Reader,
        requantise: Requantise,
        summed: Signal,
        march: March | None,
    ) -> None:
        """The register port, and the row blocks that the tile keeps beside the OPCs."""
        p = self.parameters
        bus, first = self.bus, opcs[0].bus
        window, index = bus.address[index_bits(p.opc) :], bus.address[: index_bits(p.opc)]
        busy, own, own_write, own_known = (Signal(name=n) for n in ("busy", "own", "own_write", "own_known"))
        blocks = Signal(bits_for(p.opc.row_blocks), init=1)
        reports_end = Signal(name="reports_end")
        scale_word, offset_word = data.View(SCALE_WORD, bus.write_data), bus.write_data[:OFFSET_BITS]
        known = index < p.opc.outputs
        scale_fits = (scale_word.multiplier < 1 << p.scale_bits) & (scale_word.shift < 1 << SHIFT_BITS)
        offset_fits = bus.write_data.as_signed() == offset_word.as_signed()
        testing = march.busy if march else 0
        m.d.comb += [
            busy.eq(buffer.filling | buffer.valid | reader.busy | summed | requantise.busy | testing),
            own.eq(window[1]),
            own_write.eq(
                bus.write & own & ~busy & bus.write_strobe.all() & known & Mux(window[0], offset_fits, scale_fits)
            ),
            # The OPCs see what the tile does not take itself, and refuse what they do not know.
            bus.error.eq(first.error),
            requantise.scale_index.eq(index),
            requantise.scale_write.eq(own_write & ~window[0]),
            requantise.scale_write_entry.multiplier.eq(scale_word.multiplier),
            requantise.scale_write_entry.shift.eq(scale_word.shift),
            requantise.offset_index.eq(index),
            requantise.offset_write.eq(own_write & window[0]),
            requantise.offset_write_entry.offset.eq(offset_word),
            buffer.blocks.eq(blocks),
            reader.blocks.eq(blocks),
            self.irq.eq(Cat(opc.irq for opc in opcs).any() | (reports_end & ~busy)),
        ]
        setting = (window == 1) | (index == Register.ROW_BLOCKS) | (index == Register.STEPS)
        counted, reported, test_write = (Signal(name=name) for name in ("counted", "reported", "test_write"))
        given = Signal(32, name="given")
        m.d.comb += [
            counted.eq((window == 0) & (index == Register.DISAGREEMENTS)),
            reported.eq((window == 0) & (index == Register.INTERRUPTS)),
            # That the tile is no longer busy is for the tile to report: an OPC may be done long before.
            given.eq(Mux(reported, bus.write_data & ~(1 << Status.BUSY), bus.write_data)),
        ]
        for opc in opcs:
            m.d.comb += [
                opc.bus.address.eq(bus.address),
                opc.bus.write.eq(bus.write & ~own_write & ~test_write),
                # While the tile is busy the OPCs see writes to their settings without strobes, so they refuse them.
                opc.bus.write_strobe.eq(Mux(busy & setting, 0, bus.write_strobe)),
                # What is written to a counter of the whole tile is what the first OPC has, and the others begin at 0.
                opc.bus.write_data.eq(given if opc is opcs[0] else Mux(counted, 0, given)),
                opc.bus.read.eq(bus.read & ~own),
            ]
        with m.If(bus.write & (window == 0) & (index == Register.ROW_BLOCKS) & ~first.error):
            m.d.sync += blocks.eq(bus.write_data)
        with m.If(bus.write & reported & ~first.error):
            m.d.sync += reports_end.eq(bus.write_data[Status.BUSY])

        was_own, was_offset, was_counted, was_reported = (
            Signal(name=f"was_{name}") for name in ("own", "offset", "counted", "reported")
        )
        m.d.sync += [was_own.eq(own), was_offset.eq(window[0]), own_known.eq(known)]
        m.d.sync += [was_counted.eq(counted), was_reported.eq(reported)]
        scale, offset = Signal(SCALE_WORD), Signal(signed(32))
        m.d.comb += [
            scale.multiplier.eq(requantise.scale_read_entry.multiplier),
            scale.shift.eq(requantise.scale_read_entry.shift),
            offset.eq(requantise.offset_read_entry.offset),
            bus.read_data.eq(first.read_data),
            bus.read_error.eq(first.read_error),
        ]
        disagreements = Signal(range(p.opcs * (1 << 32)), name="disagreements")
        m.d.comb += disagreements.eq(sum(opc.bus.read_data for opc in opcs))
        # BUSY is set by whatever is in the tile, not only in its OPCs.
        was_status, still = Signal(name="was_status"), Signal(name="still_busy")
        m.d.sync += [was_status.eq((window == 0) & (index == Register.STATUS)), still.eq(busy)]
        with m.If(was_status):
            said = first.read_data
            for opc in opcs[1:]:
                said = said | opc.bus.read_data
            m.d.comb += bus.read_data.eq(said | still << Status.BUSY)
        with m.If(was_reported):
            m.d.comb += bus.read_data.eq(first.read_data | reports_end << Status.BUSY)
        with m.If(was_counted):
            m.d.comb += bus.read_data.eq(Mux(disagreements[32:].any(), 0xFFFFFFFF, disagreements))
        with m.If(was_own):
            found = Mux(was_offset, offset.as_unsigned(), scale.as_value())
            m.d.comb += [bus.read_data.eq(Mux(own_known, found, 0)), bus.read_error.eq(~own_known)]
        if march:
            self._self_test_registers(m, march, (window == 0, index), test_write, busy)

    def _self_test_registers(
        self, m: Module, march: March, at: tuple[Value, Value], test_write: Signal, busy: Signal
    ) -> None:
        """The registers of ``TileRegister`` at (window 0, index); ``test_write`` is set where one takes a write."""
        p, bus = self.parameters, self.bus
        here, index = at
        start = data.View(SELF_TEST_WORD, bus.write_data[: SELF_TEST_WORD.size])
        address = data.View(VERDICT_ADDRESS_WORD, bus.write_data)
        looked = Signal(VERDICT_ADDRESS_WORD, name="looked")
        word_bits = bits_for(p.verdict_words - 1) if p.verdict_words > 1 else 0
        starts, looks = Signal(name="starts_test"), Signal(name="chooses_verdict")
        begun = Signal(SELF_TEST_WORD, name="begun")
        m.d.comb += [
            starts.eq(
                here
                & (index == TileRegister.SELF_TEST)
                & ~busy
                & (start.test < len(SelfTest))
                & (start.block < p.opc.row_blocks)
                & (bus.write_data[SELF_TEST_WORD.size :] == 0)
            ),
            looks.eq(
                here
                & (index == TileRegister.VERDICT_ADDRESS)
                & (address.group < p.opc.groups)
                & (address.word_line < p.rows)
                & (address.part < p.opcs * p.verdict_words)
            ),
            test_write.eq(bus.write & bus.write_strobe.all() & (starts | looks)),
            march.start.eq(test_write & starts),
            march.test.eq(start.test),
            march.block.eq(start.block),
            march.look_group.eq(looked.group),
            march.look_line.eq(looked.word_line),
            march.look_opc.eq(looked.part >> word_bits),
        ]
        with m.If(march.start):
            m.d.sync += begun.eq(start)
        with m.If(test_write & looks):
            m.d.sync += looked.eq(address)

        asked = Signal(range(16), name="asked")
        was_here, found, missing = Signal(name="was_here"), Signal(32, name="found"), Signal(name="missing")
        m.d.sync += [was_here.eq(here & (index < 16)), asked.eq(index)]
        words = march.verdict.as_value()
        with m.Switch(asked):
            with m.Case(TileRegister.SELF_TEST):
                m.d.comb += found.eq(Cat(begun.as_value(), Const(0, 31 - SELF_TEST_WORD.size), march.busy))
            with m.Case(TileRegister.SELF_TEST_READS):
                m.d.comb += found.eq(march.reads)
            with m.Case(TileRegister.SELF_TEST_WRITES):
                m.d.comb += found.eq(march.writes)
            with m.Case(TileRegister.VERDICT_ADDRESS):
                m.d.comb += found.eq(looked)
            with m.Case(TileRegister.VERDICT):
                part = looked.part[:word_bits] if word_bits else Const(0, 1)
                # There is no verdict while a test changes them.
                m.d.comb += [found.eq(words.word_select(part, 32)), missing.eq(march.busy)]
        with m.If(was_here & Cat(asked == register for register in TileRegister).any()):
            m.d.comb += [bus.read_data.eq(Mux(missing, 0, found)), bus.read_error.eq(missing)]
