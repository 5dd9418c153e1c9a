"""The digital part of a tile but for its OPCs: what drives crossbars, feeds OPCs, adds and requantises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Array as Choice
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
from crossvote.rtl.tile_registers import (
    LOG_LINE_WORD,
    SELF_TEST_REGISTERS,
    SELF_TEST_WORD,
    VERDICT_ADDRESS_WORD,
    TileRegister,
    TileStatus,
    tile_capability_words,
)


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
    first one, but for what the tile says about itself, STATUS, which shows what any of them says and the tile's own
    events, and DISAGREEMENTS, which is the sum over all of them. Two more windows hold scales and offsets. Writes are
    refused while anything of a vector is in the tile.

    Ports: i: activations. o: quantized outputs. array: the crossbars; their codes count here only in a self-test.
    opcs: the OPCs. bus: registers. irq: of any OPC, of an event of the tile, or that it is no longer busy. With a
    self-test also cells: how they are written. rest: for simulators, as in ``Rest``.
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
        summed = Signal.like(requantise.i.payload, name="summed")
        summed_valid, move = Signal(name="summed_valid"), Signal(name="move")
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
        events: dict[int, Value] = {Status.MISFRAMED: buffer.misframed}
        if march:
            events[TileStatus.SELF_TEST] = march.ended
        own_bits = sum(1 << bit for bit in (Status.BUSY, *events))
        blocks = Signal(bits_for(p.opc.row_blocks), init=1)
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
        ]
        setting = (window == 1) | (index == Register.ROW_BLOCKS) | (index == Register.STEPS)
        counted, reported, test_write = (Signal(name=name) for name in ("counted", "reported", "test_write"))
        given = Signal(32, name="given")
        m.d.comb += [
            counted.eq((window == 0) & (index == Register.DISAGREEMENTS)),
            reported.eq((window == 0) & (index == Register.INTERRUPTS)),
            # What happens in the tile is for the tile to report. An OPC may be done long before the tile is.
            given.eq(Mux(reported, bus.write_data & ~own_bits, bus.write_data)),
        ]
        passed = bus.write & ~own_write & ~test_write
        if p.opc.checksum_bits:
            choice = Signal(name="choice_write")
            passed = passed & ~choice
        for opc in opcs:
            m.d.comb += [
                opc.bus.address.eq(bus.address),
                opc.bus.write.eq(passed),
                # While the tile is busy the OPCs see writes to their settings without strobes, so they refuse them.
                opc.bus.write_strobe.eq(Mux(busy & setting, 0, bus.write_strobe)),
                # What is written to a counter of the whole tile is what the first OPC has, and the others begin at 0.
                opc.bus.write_data.eq(given if opc is opcs[0] else Mux(counted, 0, given)),
                opc.bus.read.eq(bus.read & ~own),
            ]
        with m.If(bus.write & (window == 0) & (index == Register.ROW_BLOCKS) & ~first.error):
            m.d.sync += blocks.eq(bus.write_data)
        was_own, was_offset, was_counted, was_reported = (
            Signal(name=f"was_{name}") for name in ("own", "offset", "counted", "reported")
        )
        m.d.sync += [was_own.eq(own), was_offset.eq(window[0]), own_known.eq(known)]
        m.d.sync += [was_counted.eq(counted), was_reported.eq(reported)]
        capability, was_capability = Signal(32, name="capability"), Signal(name="was_capability")
        m.d.sync += was_capability.eq(0)
        with m.If(window == 0), m.Switch(index):
            for address, word in tile_capability_words(p).items():
                with m.Case(address):
                    m.d.sync += [capability.eq(word), was_capability.eq(1)]
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
        at_status, was_status, still = Signal(name="at_status"), Signal(name="was_status"), Signal(name="still_busy")
        m.d.comb += at_status.eq((window == 0) & (index == Register.STATUS))
        m.d.sync += [was_status.eq(at_status), still.eq(busy)]
        status, enabled = self._events(m, events, busy, bus.write & at_status, bus.write & reported & ~first.error)
        m.d.comb += self.irq.eq(Cat(opc.irq for opc in opcs).any() | (enabled & status).any())
        was_set, was_enabled = Signal.like(status, name="was_set"), Signal.like(enabled, name="was_enabled")
        m.d.sync += [was_set.eq(status), was_enabled.eq(enabled)]
        with m.If(was_status):
            said = first.read_data
            for opc in opcs[1:]:
                said = said | opc.bus.read_data
            m.d.comb += bus.read_data.eq(said | still << Status.BUSY | was_set[1:] << 1)
        with m.If(was_reported):
            m.d.comb += bus.read_data.eq(first.read_data | was_enabled)
        with m.If(was_capability):
            m.d.comb += [bus.read_data.eq(capability), bus.read_error.eq(0)]
        with m.If(was_counted):
            m.d.comb += bus.read_data.eq(Mux(disagreements[32:].any(), 0xFFFFFFFF, disagreements))
        with m.If(was_own):
            found = Mux(was_offset, offset.as_unsigned(), scale.as_value())
            m.d.comb += [bus.read_data.eq(Mux(own_known, found, 0)), bus.read_error.eq(~own_known)]
        if p.opc.log_bits:
            self._log_registers(m, window == 0, index, given)
        if p.opc.checksum_bits:
            self._checksum_registers(m, (window == 0, index), choice)
        if march:
            self._self_test_registers(m, march, (window == 0, index), test_write, busy)

    def _events(
        self, m: Module, events: Mapping[int, Value], busy: Signal, writes_status: Value, writes_interrupts: Value
    ) -> tuple[Signal, Signal]:
        """What has happened in the tile, as bits of STATUS, and which of them interrupt; bit 0: it is not busy.

        An event stays set until 1 is written to its bit; one that happens in that clock is not lost.
        """
        word, width = self.bus.write_data, max(Status.BUSY, *events) + 1
        status, enabled = Signal(width, name="events"), Signal(width, name="interrupting")
        m.d.comb += status[Status.BUSY].eq(~busy)
        kept = {bit: Signal(name=f"happened_{bit}") for bit in events}
        for bit, event in events.items():
            m.d.sync += kept[bit].eq(kept[bit] & ~(writes_status & word[bit]) | event)
            m.d.comb += status[bit].eq(kept[bit])
        asks = {bit: Signal(name=f"interrupts_{bit}") for bit in (Status.BUSY, *events)}
        for bit, ask in asks.items():
            with m.If(writes_interrupts):
                m.d.sync += ask.eq(word[bit])
            m.d.comb += enabled[bit].eq(ask)
        return status, enabled

    def _log_registers(self, m: Module, here: Value, index: Value, given: Signal) -> None:
        """LOG_LINE also says whose count LOG_COUNT shows; what is written is set in the logs of all OPCs."""
        bus, chosen = self.bus, Signal(range(self.parameters.opcs), name="logging_opc")
        asked = data.View(LOG_LINE_WORD, bus.write_data[: LOG_LINE_WORD.size])
        at_line, was_line, was_count = (Signal(name=name) for name in ("at_log_line", "was_log_line", "was_log_count"))
        m.d.comb += at_line.eq(here & (index == Register.LOG_LINE))
        m.d.sync += [was_line.eq(at_line), was_count.eq(here & (index == Register.LOG_COUNT))]
        # An OPC refuses what is no bit line, so it is given one for nothing else.
        fits = (asked.opc < self.parameters.opcs) & (bus.write_data[LOG_LINE_WORD.size :] == 0)
        with m.If(at_line):
            m.d.comb += given.eq(Mux(fits, asked.line, ~0))
        with m.If(bus.write & at_line & ~bus.error):
            m.d.sync += chosen.eq(asked.opc)
        with m.If(was_line):
            m.d.comb += bus.read_data.eq(self.opcs[0].bus.read_data | chosen << LOG_LINE_WORD["opc"].offset)
        with m.If(was_count):
            m.d.comb += bus.read_data.eq(Choice([opc.bus.read_data for opc in self.opcs])[chosen])

    def _checksum_registers(self, m: Module, at: tuple[Value, Value], choice: Signal) -> None:
        """MISMATCH_OPC says whose count MISMATCHES shows; ``choice`` is set where it takes a write."""
        bus, chosen = self.bus, Signal(range(self.parameters.opcs), name="checked_opc")
        here, index = at
        was_choice, was_count = Signal(name="was_mismatch_opc"), Signal(name="was_mismatches")
        at_choice = here & (index == TileRegister.MISMATCH_OPC)
        m.d.comb += choice.eq(bus.write & bus.write_strobe.all() & at_choice & (bus.write_data < self.parameters.opcs))
        with m.If(choice):
            m.d.sync += chosen.eq(bus.write_data)
        m.d.sync += [was_choice.eq(at_choice), was_count.eq(here & (index == Register.MISMATCHES))]
        with m.If(was_choice):
            m.d.comb += [bus.read_data.eq(chosen), bus.read_error.eq(0)]
        with m.If(was_count):
            m.d.comb += bus.read_data.eq(Choice([opc.bus.read_data for opc in self.opcs])[chosen])

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
        with m.If(was_here & Cat(asked == register for register in SELF_TEST_REGISTERS).any()):
            m.d.comb += [bus.read_data.eq(Mux(missing, 0, found)), bus.read_error.eq(missing)]
