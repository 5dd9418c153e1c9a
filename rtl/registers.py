"""Register port of the OPC and the registers behind it.

All registers are 32-bit words; an address counts words. The top two address bits select a window: 0 the registers
below, 1 the column map, 2 the scales. ``docs/opc.md`` has the register map.
"""

from __future__ import annotations

from enum import IntEnum

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from crossvote.rtl.column_map import ONLY, entry_layout
from crossvote.rtl.parameters import SHIFT_BITS, OpcParameters
from crossvote.rtl.scale import scale_layout

#: A column map entry as a register word, the same for all parameters.
ENTRY_WORD = data.StructLayout({"line": 12, "output": 12, "plane": 4, "replica": 2, "flip": 1, "used": 1})
#: The scale of an output as a register word, the same for all parameters.
SCALE_WORD = data.StructLayout({"multiplier": 24, "shift": 8})


class Register(IntEnum):
    """Word addresses in window 0."""

    STATUS = 0
    ROW_BLOCKS = 1
    DISAGREEMENTS = 2


class Status(IntEnum):
    """Bits of STATUS; all but BUSY stay set until 1 is written to them."""

    BUSY = 0
    MISFRAMED = 1
    REFUSED = 2
    ILLEGAL_MAP = 3


def index_bits(parameters: OpcParameters) -> int:
    """Address bits below the window select."""
    return max(2, parameters.line_bits)


def map_address(parameters: OpcParameters, step: int) -> int:
    """Word address of a column map entry."""
    return (1 << index_bits(parameters)) + step


def entry_word(*, line: int, output: int, plane: int, replica: int, flip: bool) -> int:
    """The word that programs a used column map entry; 0 is unused. ``replica``: see ``crossvote.rtl.column_map``."""
    fields = {"line": line, "output": output, "plane": plane, "replica": replica, "flip": int(flip), "used": 1}
    return sum(value << ENTRY_WORD[name].offset for name, value in fields.items())


def scale_address(parameters: OpcParameters, output: int) -> int:
    """Word address of the scale of an output."""
    return (2 << index_bits(parameters)) + output


def scale_word(*, multiplier: int, shift: int) -> int:
    """The word that programs the scale multiplier / 2^(scale_bits + shift)."""
    return multiplier << SCALE_WORD["multiplier"].offset | shift << SCALE_WORD["shift"].offset


class RegisterPort(wiring.Signature):
    """A register access, seen from the side that asks.

    ``write`` stores ``write_data`` at ``address``, unless ``error`` is set in the same clock: then nothing changes.
    ``read_data`` is the content of ``address`` one clock later; reading has no side effects.
    """

    def __init__(self, address_bits: int) -> None:
        super().__init__(
            {
                "address": Out(address_bits),
                "write": Out(1),
                "write_data": Out(32),
                "read_data": In(32),
                "error": In(1),
            }
        )


class Registers(wiring.Component):
    """Address decoder and registers.

    A write to ROW_BLOCKS, to the map or to the scales while the OPC is busy, a value out of range, and an unknown
    address are refused.

    Ports:
        bus: the register port. busy: a vector is in flight.
        misframed, illegal_map, disagreement: events, one clock each.
        row_blocks: row blocks per vector.
        map_index, map_write, map_entry, map_read: the column map's table port.
        scale_index, scale_write, scale_entry, scale_read: the scale stage's table port.
    """

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = p = parameters
        ports = {
            "bus": In(RegisterPort(index_bits(p) + 2)),
            "busy": In(1),
            "misframed": In(1),
            "row_blocks": Out(bits_for(p.row_blocks), init=1),
        }
        if p.voter:
            ports |= {"disagreement": In(1)}
        if p.column_map:
            ports |= {
                "illegal_map": In(1),
                "map_index": Out(p.line_bits),
                "map_write": Out(1),
                "map_entry": Out(entry_layout(p)),
                "map_read": In(entry_layout(p)),
            }
        if p.scale_bits:
            ports |= {
                "scale_index": Out(p.output_bits),
                "scale_write": Out(1),
                "scale_entry": Out(scale_layout(p)),
                "scale_read": In(scale_layout(p)),
            }
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        bus, word = self.bus, self.bus.write_data
        window = bus.address[index_bits(p) :]
        index = bus.address[: index_bits(p)]
        read_word, read_window = Signal(32), Signal(2)
        # Sticky status bits and the events that set them; an event wins over a write that clears the bit.
        events = {Status.MISFRAMED: self.misframed, Status.REFUSED: bus.error}
        if p.column_map:
            events[Status.ILLEGAL_MAP] = self.illegal_map
        status = Signal(len(Status))

        m.d.comb += bus.error.eq(bus.write)
        m.d.sync += [read_word.eq(0), read_window.eq(window)]
        clears = Signal(len(Status))
        m.d.sync += [status[bit].eq(status[bit] & ~clears[bit] | event) for bit, event in events.items()]

        with m.If(window == 0), m.Switch(index):
            with m.Case(Register.STATUS):
                m.d.comb += bus.error.eq(0)
                m.d.sync += read_word.eq(status | self.busy << Status.BUSY)
                with m.If(bus.write):
                    m.d.comb += clears.eq(word)
            with m.Case(Register.ROW_BLOCKS):
                fits = (word != 0) & (word <= p.row_blocks)
                m.d.comb += bus.error.eq(bus.write & (self.busy | ~fits))
                m.d.sync += read_word.eq(self.row_blocks)
                with m.If(bus.write & ~bus.error):
                    m.d.sync += self.row_blocks.eq(word)
            if p.voter:
                with m.Case(Register.DISAGREEMENTS):
                    disagreements = Signal(32)
                    m.d.comb += bus.error.eq(0)
                    m.d.sync += read_word.eq(disagreements)
        if p.voter:
            clear = bus.write & (window == 0) & (index == Register.DISAGREEMENTS)
            with m.If(clear):
                m.d.sync += disagreements.eq(0)
            with m.Elif(self.disagreement & ~disagreements.all()):
                m.d.sync += disagreements.eq(disagreements + 1)
        if p.column_map:
            given = data.View(ENTRY_WORD, word)
            fits = (given.line < p.columns) & (given.output < p.outputs) & (given.plane < p.planes)
            if not p.voter:
                fits &= given.replica == ONLY
            m.d.comb += self.map_index.eq(index)
            m.d.comb += [self.map_entry[name].eq(given[name]) for name in ENTRY_WORD.members]
            with m.If(window == 1):
                m.d.comb += [
                    bus.error.eq(bus.write & (self.busy | ~fits | (index >= p.columns))),
                    self.map_write.eq(bus.write & ~bus.error),
                ]
        if p.scale_bits:
            asked = data.View(SCALE_WORD, word)
            known, read_known = index < p.outputs, Signal()
            in_range = known & (asked.multiplier < 1 << p.scale_bits) & (asked.shift < 1 << SHIFT_BITS)
            m.d.sync += read_known.eq(known)
            m.d.comb += self.scale_index.eq(index)
            m.d.comb += [self.scale_entry[name].eq(asked[name]) for name in SCALE_WORD.members]
            with m.If(window == 2):
                m.d.comb += [
                    bus.error.eq(bus.write & (self.busy | ~in_range)),
                    self.scale_write.eq(bus.write & ~bus.error),
                ]

        m.d.comb += bus.read_data.eq(read_word)
        if p.column_map:
            stored = Signal(ENTRY_WORD)
            m.d.comb += [stored[name].eq(self.map_read[name]) for name in ENTRY_WORD.members]
            with m.If(read_window == 1):
                m.d.comb += bus.read_data.eq(stored)
        if p.scale_bits:
            scale = Signal(SCALE_WORD)
            m.d.comb += [scale[name].eq(self.scale_read[name]) for name in SCALE_WORD.members]
            with m.If((read_window == 2) & read_known):
                m.d.comb += bus.read_data.eq(scale)
        return m
