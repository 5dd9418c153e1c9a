"""Register port of the OPC and the registers behind it.

All registers are 32-bit words; an address counts words. The top two address bits select a window: 0 the registers
below, 1 the column map, 2 the scales. ``docs/opc.md`` has the register map.
"""

from __future__ import annotations

from enum import IntEnum

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from crossvote.rtl.column_map import HOLD, OPERATION_BITS, entry_layout, operations
from crossvote.rtl.parameters import SHIFT_BITS, OpcParameters
from crossvote.rtl.scale import scale_layout

#: A column map entry as a register word, the same for all parameters.
ENTRY_WORD = data.StructLayout({"line": 12, "operation": OPERATION_BITS, "flip": 1})
#: The scale of an output as a register word, the same for all parameters.
SCALE_WORD = data.StructLayout({"multiplier": 24, "shift": 8})


class Register(IntEnum):
    """Word addresses in window 0."""

    STATUS = 0
    ROW_BLOCKS = 1
    DISAGREEMENTS = 2
    STEPS = 3
    INTERRUPTS = 4
    ID = 5
    VERSION = 6
    SIZES = 7
    OPTIONS = 8
    LOG_LINE = 9
    LOG_COUNT = 10
    # Words 11 to 17 are a tile's (``crossvote.rtl.tile_registers``).
    MISMATCHES = 18


#: Content of ID: "OPC" and a zero byte, first letter in the highest byte.
IDENTIFIER = 0x4F504300
#: Content of VERSION: of what every OPC has of this register map; the upper half counts changes that break drivers.
#: OPTIONS says which registers there are beside it.
REGISTERS_VERSION = 2 << 16 | 1
#: Fields of SIZES and OPTIONS, by which a driver knows what it found.
SIZES_WORD = data.StructLayout({"columns": 13, "lane_bits": 4, "planes": 4, "input_bits": 5, "adc_bits": 5})
OPTIONS_WORD = data.StructLayout(
    {"row_blocks": 9, "scale_bits": 5, "voter": 1, "column_map": 1, "log_bits": 5, "checksum_bits": 5}
)


class Status(IntEnum):
    """Bits of STATUS; all but BUSY stay set until 1 is written to them. INTERRUPTS has the same bits."""

    BUSY = 0
    MISFRAMED = 1
    REFUSED = 2
    ILLEGAL_MAP = 3
    # Bit 4 is a tile's (``crossvote.rtl.tile_registers``).
    CHECKSUM = 5


def status_bits(parameters: OpcParameters) -> tuple[Status, ...]:
    """The bits of STATUS and INTERRUPTS of an OPC with these parameters."""
    return tuple(bit for bit in Status if bit != Status.CHECKSUM or parameters.checksum_bits)


def registers_of(parameters: OpcParameters) -> tuple[Register, ...]:
    """The registers in window 0 of an OPC with these parameters."""
    p = parameters
    absent = {Register.DISAGREEMENTS: not p.voter, Register.STEPS: not p.column_map}
    absent |= dict.fromkeys((Register.LOG_LINE, Register.LOG_COUNT), not p.log_bits)
    absent |= {Register.MISMATCHES: not p.checksum_bits}
    return tuple(register for register in Register if not absent.get(register))


def index_bits(parameters: OpcParameters) -> int:
    """Address bits below the window select. A tile has more than 16 registers in window 0."""
    return max(5, parameters.line_bits)


def map_address(parameters: OpcParameters, step: int) -> int:
    """Word address of a column map entry."""
    return (1 << index_bits(parameters)) + step


def entry_word(*, line: int, operation: int, flip: bool) -> int:
    """The word that programs a column map entry. ``operation``: see ``crossvote.rtl.column_map``."""
    fields = {"line": line, "operation": operation, "flip": int(flip)}
    return sum(value << ENTRY_WORD[name].offset for name, value in fields.items())


def capability_words(parameters: OpcParameters) -> dict[Register, int]:
    """What the registers say about the hardware they belong to."""
    p = parameters
    sizes = {name: int(getattr(p, name)) << SIZES_WORD[name].offset for name in SIZES_WORD.members}
    options = {name: int(getattr(p, name)) << OPTIONS_WORD[name].offset for name in OPTIONS_WORD.members}
    return {
        Register.ID: IDENTIFIER,
        Register.VERSION: REGISTERS_VERSION,
        Register.SIZES: sum(sizes.values()),
        Register.OPTIONS: sum(options.values()),
    }


def scale_address(parameters: OpcParameters, output: int) -> int:
    """Word address of the scale of an output."""
    return (2 << index_bits(parameters)) + output


def scale_word(*, multiplier: int, shift: int) -> int:
    """The word that programs the scale multiplier / 2^(scale_bits + shift)."""
    return int(multiplier << SCALE_WORD["multiplier"].offset | shift << SCALE_WORD["shift"].offset)


class RegisterPort(wiring.Signature):
    """A register access, seen from the side that asks.

    ``write`` stores ``write_data`` at ``address``, unless ``error`` is set in the same clock: then nothing changes but
    REFUSED. ``write_strobe`` says which bytes are meant; registers take whole words only. ``read`` looks at
    ``address``; ``read_data`` is its content one clock later, or 0 with ``read_error`` where there is nothing. Reading
    has no side effects on what is computed.
    """

    def __init__(self, address_bits: int) -> None:
        super().__init__(
            {
                "address": Out(address_bits),
                "write": Out(1),
                "write_strobe": Out(4, init=0xF),
                "write_data": Out(32),
                "read": Out(1),
                "read_data": In(32),
                "read_error": In(1),
                "error": In(1),
            }
        )


class Registers(wiring.Component):
    """Address decoder and registers.

    A write to ROW_BLOCKS, to the map or to the scales while the OPC is busy, a value out of range, part of a word, and
    an address without a register that takes values are refused.

    Ports:
        bus: the register port. busy: a vector is in flight. irq: a status bit is set that INTERRUPTS lets through.
        misframed, illegal_map, disagreement, mismatch: events, one clock each.
        row_blocks: row blocks per vector. last_step: number of the map's last entry.
        map_index, map_write, map_entry, map_look, map_read, map_restart: the column map's side of the registers.
        scale_index, scale_write, scale_entry, scale_read: the scale stage's table port.
        log_line, log_look, log_count, log_write, log_write_count: the log's side of the registers.
    """

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = p = parameters
        ports = {
            "bus": In(RegisterPort(index_bits(p) + 2)),
            "busy": In(1),
            "irq": Out(1),
            "misframed": In(1),
            "row_blocks": Out(bits_for(p.row_blocks), init=1),
        }
        if p.voter:
            ports |= {"disagreement": In(1)}
        if p.checksum_bits:
            ports |= {"mismatch": In(1)}
        if p.column_map:
            ports |= {
                "illegal_map": In(1),
                "last_step": Out(p.line_bits),
                "map_index": Out(p.line_bits),
                "map_write": Out(1),
                "map_entry": Out(entry_layout(p)),
                "map_look": Out(1),
                "map_read": In(entry_layout(p)),
                "map_restart": Out(1),
            }
        if p.scale_bits:
            ports |= {
                "scale_index": Out(p.output_bits),
                "scale_write": Out(1),
                "scale_entry": Out(scale_layout(p)),
                "scale_read": In(scale_layout(p)),
            }
        if p.log_bits:
            ports |= {
                "log_line": Out(p.line_bits),
                "log_look": Out(1),
                "log_count": In(p.log_bits),
                "log_write": Out(1),
                "log_write_count": Out(p.log_bits),
            }
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        bus, word = self.bus, self.bus.write_data
        window, index = bus.address[index_bits(p) :], bus.address[: index_bits(p)]
        read_word = Signal(32, name="read_word")
        read_window = Signal(2, name="read_window")
        known = Signal(name="read_known")
        # What the address takes; a write is refused unless it says so.
        takes = Signal(name="takes")
        write = Signal(name="taken_write")
        m.d.comb += [
            bus.error.eq(bus.write & ~(takes & bus.write_strobe.all())),
            write.eq(bus.write & takes & bus.write_strobe.all()),
        ]
        m.d.sync += [read_word.eq(0), read_window.eq(window), known.eq(0)]
        if p.log_bits:
            read_log = Signal(name="read_log")
            m.d.sync += read_log.eq(0)

        # Sticky status bits and the events that set them; an event wins over a write that clears the bit.
        events = {Status.MISFRAMED: self.misframed, Status.REFUSED: bus.error}
        if p.column_map:
            events[Status.ILLEGAL_MAP] = self.illegal_map
        if p.checksum_bits:
            events[Status.CHECKSUM] = self.mismatch
        width = max(status_bits(p)) + 1
        sticky = {bit: Signal(name=bit.name.lower()) for bit in events}
        enabled = {bit: Signal(name=f"{bit.name.lower()}_interrupts") for bit in (Status.BUSY, *events)}
        clears = Signal(width, name="clears")
        status = Signal(width, name="status")
        interrupts = Signal(width, name="interrupts")
        m.d.comb += status[Status.BUSY].eq(self.busy)
        for bit, event in events.items():
            m.d.sync += sticky[bit].eq(sticky[bit] & ~clears[bit] | event)
            m.d.comb += status[bit].eq(sticky[bit])
        # BUSY interrupts when it is over.
        idle = Mux(self.busy, 0, 1)
        m.d.comb += [
            *(interrupts[bit].eq(on) for bit, on in enabled.items()),
            self.irq.eq((interrupts[Status.BUSY] & idle) | (status[1:] & interrupts[1:]).any()),
        ]

        if p.column_map:
            # Belongs to the map, so it outlasts a reset as the map does.
            last_step = Signal(p.line_bits, init=p.columns - 1, reset_less=True, name="steps_less_one")
            m.d.comb += self.last_step.eq(last_step)

        with m.If(window == 0), m.Switch(index):
            for address, content in capability_words(p).items():
                with m.Case(address):
                    m.d.sync += [read_word.eq(content), known.eq(1)]
            with m.Case(Register.STATUS):
                m.d.comb += takes.eq(1)
                m.d.sync += [read_word.eq(status), known.eq(1)]
                with m.If(write):
                    m.d.comb += clears.eq(word)
            with m.Case(Register.ROW_BLOCKS):
                m.d.comb += takes.eq(~self.busy & (word != 0) & (word <= p.row_blocks))
                m.d.sync += [read_word.eq(self.row_blocks), known.eq(1)]
                with m.If(write):
                    m.d.sync += self.row_blocks.eq(word)
            with m.Case(Register.INTERRUPTS):
                holes = [word[bit] for bit in range(width) if bit not in list(Status)]
                m.d.comb += takes.eq((word < 1 << width) & ~Cat(holes).any() if holes else word < 1 << width)
                m.d.sync += [read_word.eq(interrupts), known.eq(1)]
                with m.If(write):
                    m.d.sync += [on.eq(word[bit]) for bit, on in enabled.items()]
            if p.column_map:
                with m.Case(Register.STEPS):
                    m.d.comb += takes.eq(~self.busy & (word != 0) & (word <= p.columns))
                    m.d.sync += [read_word.eq(last_step + 1), known.eq(1)]
                    with m.If(write):
                        m.d.comb += self.map_restart.eq(1)
                        m.d.sync += last_step.eq(word - 1)
            if p.voter:
                disagreements = Signal(32)
                with m.Case(Register.DISAGREEMENTS):
                    m.d.comb += takes.eq(1)
                    m.d.sync += [read_word.eq(disagreements), known.eq(1)]
            if p.checksum_bits:
                mismatches = Signal(32)
                with m.Case(Register.MISMATCHES):
                    m.d.comb += takes.eq(1)
                    m.d.sync += [read_word.eq(mismatches), known.eq(1)]
            if p.log_bits:
                with m.Case(Register.LOG_LINE):
                    m.d.comb += takes.eq(word < p.columns)
                    m.d.sync += [read_word.eq(self.log_line), known.eq(1)]
                    with m.If(write):
                        m.d.sync += self.log_line.eq(word)
                with m.Case(Register.LOG_COUNT):
                    m.d.comb += [
                        takes.eq(~self.busy & (word < 1 << p.log_bits)),
                        self.log_look.eq(bus.read),
                        self.log_write.eq(write),
                        self.log_write_count.eq(word),
                    ]
                    m.d.sync += [known.eq(1), read_log.eq(1)]
        if p.voter:
            with m.If(write & (window == 0) & (index == Register.DISAGREEMENTS)):
                m.d.sync += disagreements.eq(word)
            with m.Elif(self.disagreement & ~disagreements.all()):
                m.d.sync += disagreements.eq(disagreements + 1)
        if p.checksum_bits:
            with m.If(write & (window == 0) & (index == Register.MISMATCHES)):
                m.d.sync += mismatches.eq(word)
            with m.Elif(self.mismatch & ~mismatches.all()):
                m.d.sync += mismatches.eq(mismatches + 1)

        m.d.comb += [bus.read_data.eq(read_word), bus.read_error.eq(~known)]
        if p.log_bits:
            with m.If(read_log):
                m.d.comb += bus.read_data.eq(self.log_count)
        if p.column_map:
            given = data.View(ENTRY_WORD, word[: ENTRY_WORD.size])
            stored = Signal(ENTRY_WORD, name="stored")
            spare = word >> ENTRY_WORD.size
            fits = (given.line < p.columns) & (spare == 0) & (index < p.columns)
            if not p.voter:
                fits &= (given.operation != HOLD) & self._votes_not(given.operation)
            m.d.comb += [
                self.map_index.eq(index),
                self.map_look.eq(bus.read & (window == 1)),
                *(self.map_entry[name].eq(given[name]) for name in ENTRY_WORD.members),
                *(stored[name].eq(self.map_read[name]) for name in ENTRY_WORD.members),
            ]
            with m.If(window == 1):
                m.d.comb += [takes.eq(~self.busy & fits), self.map_write.eq(write)]
                m.d.sync += known.eq(index < p.columns)
                with m.If(write):
                    m.d.comb += self.map_restart.eq(1)
            with m.If((read_window == 1) & known):
                m.d.comb += bus.read_data.eq(stored)
        if p.scale_bits:
            asked = data.View(SCALE_WORD, word)
            scale = Signal(SCALE_WORD, name="scale")
            in_range = (asked.multiplier < 1 << p.scale_bits) & (asked.shift < 1 << SHIFT_BITS) & (index < p.outputs)
            m.d.comb += [
                self.scale_index.eq(index),
                *(self.scale_entry[name].eq(asked[name]) for name in SCALE_WORD.members),
                *(scale[name].eq(self.scale_read[name]) for name in SCALE_WORD.members),
            ]
            with m.If(window == 2):
                m.d.comb += [takes.eq(~self.busy & in_range), self.scale_write.eq(write)]
                m.d.sync += known.eq(index < p.outputs)
            with m.If((read_window == 2) & known):
                m.d.comb += bus.read_data.eq(scale)
        return m

    @staticmethod
    def _votes_not(operation: Value) -> Value:
        """The operation is none that votes."""
        return ~Cat(operation == number for number, vote, *_ in operations() if vote).any()
