"""The output peripheral component (OPC): everything digital behind the ADCs of a bundle of bit-line pairs."""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from crossvote.rtl.column_map import FixedMap, WritableMap
from crossvote.rtl.disagreement_log import DisagreementLog
from crossvote.rtl.lane import Lane
from crossvote.rtl.map_check import MapCheck
from crossvote.rtl.parameters import TAG_BITS, OpcParameters
from crossvote.rtl.readout import ReadOut, output_layout
from crossvote.rtl.registers import RegisterPort, Registers, index_bits
from crossvote.rtl.scale import ScaleStage
from crossvote.rtl.sequencer import Sequencer, mark_layout


def beat_layout(parameters: OpcParameters) -> data.StructLayout:
    """A beat: the ADC codes of ``lanes`` consecutive bit lines in one read, marks of the vector's ends, and its tag."""
    codes = data.StructLayout({"positive": parameters.adc_bits, "negative": parameters.adc_bits})
    return data.StructLayout(
        {"codes": data.ArrayLayout(codes, parameters.lanes), "first": 1, "last": 1, "tag": TAG_BITS}
    )


class Opc(wiring.Component):
    """Streams of ADC codes in, streams of signed output sums out.

    A vector is ``input_bits`` reads (top bit first) of ``row_blocks`` row blocks of ``columns`` bit lines, in this
    nesting, ``lanes`` bit lines per beat. While one vector is accumulated, the column sums of the one before are read
    in the order of the column map, one bit line per clock; so the input never waits when a vector has at least
    ``columns`` beats and the output does not stall. Beyond that, back-pressure reaches the input and nothing is lost.

    Ports:
        i: beats. o: outputs, in map order. bus: the register port (see ``crossvote.rtl.registers``).
        irq: something happened that the registers were told to report.
        still: nothing will change before the next beat or register access, so the clock may be stopped until then.
    """

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = p = parameters
        super().__init__(
            {
                "i": In(stream.Signature(beat_layout(p))),
                "o": Out(stream.Signature(output_layout(p))),
                "bus": In(RegisterPort(index_bits(p) + 2)),
                "irq": Out(1),
                "still": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        m.submodules.registers = registers = Registers(p)
        m.submodules.sequencer = sequencer = Sequencer(p)
        m.submodules.readout = readout = ReadOut(p)
        lanes = [Lane(p) for _ in range(p.lanes)]
        for number, lane in enumerate(lanes):
            m.submodules[f"lane_{number}"] = lane
        connect(m, flipped(self.bus), registers.bus)
        if p.scale_bits:
            m.submodules.scale = scale = ScaleStage(p)
            connect(m, readout.o, scale.i)
            connect(m, flipped(self.o), scale.o)
            m.d.comb += [
                scale.index.eq(registers.scale_index),
                scale.write.eq(registers.scale_write),
                scale.write_entry.eq(registers.scale_entry),
                registers.scale_read.eq(scale.read_entry),
            ]
        else:
            connect(m, flipped(self.o), readout.o)

        # Input: a beat is captured, its differences and column sums are taken, the new sums are stored.
        controls = ("group", "clear", "shift", "subtract", "complete")
        control = {name: Signal.like(getattr(sequencer, name), name=name) for name in controls}
        captured = Signal(name="captured")
        pending = Signal(name="pending")
        completes = Signal(name="completes")
        captured_mark = Signal(mark_layout(), name="captured_mark")
        pending_mark = Signal(mark_layout(), name="pending_mark")
        pending_group = Signal(p.group_bits)
        marks = [Signal(mark_layout(), name=f"mark_{number}") for number in range(2)]
        bank = Signal(name="bank")
        read_bank = Signal(name="read_bank")
        full = Signal(2, name="full")
        accept, advance, commit, forward = (Signal(name=n) for n in ("accept", "advance", "commit", "forward"))
        m.d.comb += [
            commit.eq(pending & ~full.bit_select(bank, 1)),
            forward.eq(~pending | commit),
            advance.eq(captured & forward),
            self.i.ready.eq(~captured | forward),
            accept.eq(self.i.valid & self.i.ready),
            sequencer.advance.eq(accept),
            sequencer.first.eq(self.i.payload.first),
            sequencer.last.eq(self.i.payload.last),
            sequencer.tag.eq(self.i.payload.tag),
            sequencer.row_blocks.eq(registers.row_blocks),
            registers.misframed.eq(accept & sequencer.misframed),
            self.irq.eq(registers.irq),
        ]
        with m.If(self.i.ready):
            m.d.sync += captured.eq(self.i.valid)
        with m.If(accept):
            m.d.sync += [register.eq(getattr(sequencer, name)) for name, register in control.items()]
            m.d.sync += captured_mark.eq(sequencer.mark)
        with m.If(forward):
            m.d.sync += pending.eq(captured)
        with m.If(advance):
            m.d.sync += [pending_group.eq(control["group"]), completes.eq(control["complete"])]
            m.d.sync += pending_mark.eq(captured_mark)
        with m.If(commit & completes):
            m.d.sync += [full.bit_select(bank, 1).eq(1), bank.eq(~bank), Array(marks)[bank].eq(pending_mark)]

        # Read-out of the oldest full bank, one map entry per clock.
        if p.column_map:
            m.submodules.map = column_map = WritableMap(p)
            m.d.comb += [
                column_map.index.eq(registers.map_index),
                column_map.write.eq(registers.map_write),
                column_map.write_entry.eq(registers.map_entry),
                column_map.read.eq(registers.map_look),
                column_map.last_step.eq(registers.last_step),
                column_map.restart.eq(registers.map_restart),
                registers.map_read.eq(column_map.read_entry),
            ]
        else:
            m.submodules.map = column_map = FixedMap(p)
        step = column_map.o
        read = Signal(name="read")
        if p.column_map:
            m.submodules.map_check = map_check = MapCheck(p)
            m.d.comb += [
                map_check.take.eq(read),
                map_check.step.eq(step.payload),
                registers.illegal_map.eq(map_check.illegal),
            ]
        m.d.comb += [
            readout.read.eq(step.valid & full.bit_select(read_bank, 1)),
            read.eq(readout.read & readout.ready),
            step.ready.eq(read),
            readout.step.eq(step.payload),
            readout.mark.eq(Mux(read_bank, marks[1], marks[0])),
        ]
        size = p.lanes // p.choices
        for number, choice in enumerate(readout.sums):
            neighbours = Array(lane.sum for lane in lanes[number * size : (number + 1) * size])
            m.d.comb += choice.eq(neighbours[step.payload.line[: exact_log2(size)]])
        with m.If(read & step.payload.last):
            m.d.sync += [full.bit_select(read_bank, 1).eq(0), read_bank.eq(~read_bank)]

        # A full bank is read and not accumulated; any other is accumulated and not read.
        read_group = step.payload.line[p.lane_bits :]
        look = [Signal(p.group_bits, name=f"look_{number}") for number in range(2)]
        m.d.comb += [look[number].eq(Mux(full[number], read_group, control["group"])) for number in range(2)]
        for number, lane in enumerate(lanes):
            m.d.comb += [
                lane.positive.eq(self.i.payload.codes[number].positive),
                lane.negative.eq(self.i.payload.codes[number].negative),
                lane.capture.eq(accept),
                lane.advance.eq(advance),
                lane.group.eq(control["group"]),
                lane.clear.eq(control["clear"]),
                lane.shift.eq(control["shift"]),
                lane.subtract.eq(control["subtract"]),
                lane.commit.eq(commit),
                lane.commit_group.eq(pending_group),
                lane.bank.eq(bank),
                lane.look[0].eq(look[0]),
                lane.look[1].eq(look[1]),
                lane.read_bank.eq(read_bank),
            ]
        if p.voter:
            m.d.comb += registers.disagreement.eq(readout.disagreement)
        if p.checksum_bits:
            m.d.comb += registers.mismatch.eq(readout.mismatch)
        leaving = readout.busy | scale.busy if p.scale_bits else readout.busy
        if p.log_bits:
            m.submodules.log = log = DisagreementLog(p)
            leaving = leaving | log.busy
            m.d.comb += [
                log.vote.eq(readout.vote),
                *(own.eq(line) for own, line in zip(log.lines, readout.lines, strict=True)),
                log.differs.eq(readout.differs),
                log.line.eq(registers.log_line),
                log.look.eq(registers.log_look),
                log.write.eq(registers.log_write),
                log.write_count.eq(registers.log_write_count),
                registers.log_count.eq(log.count),
            ]
        moving = Signal(name="moving")
        m.d.comb += [
            moving.eq(captured | pending | full.any() | leaving),
            registers.busy.eq(sequencer.middle | moving),
            self.still.eq(~moving & column_map.settled),
        ]
        return m
