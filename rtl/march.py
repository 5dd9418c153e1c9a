"""The self-test engine of a tile: writes patterns into crossbars, reads them back, and keeps which cells were wrong."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from crossvote.rtl.march_elements import MOST_OPERATIONS, TESTS, Order, SelfTest, top_level
from crossvote.rtl.tile_parameters import TileParameters


class CellWriting(wiring.Signature):
    """How a tile has cells written, seen from the tile.

    program: write ``level`` into all cells of the word lines that were kept last (``Array.load``) for row block
    ``load_block``, in both crossbars of the pair and of every OPC; it stays until ``done``.
    """

    def __init__(self) -> None:
        super().__init__({"program": Out(1), "level": Out(1), "done": In(1)})


def verdict_layout(parameters: TileParameters) -> data.ArrayLayout:
    """What is kept of ``lanes`` bit lines of a word line: for each crossbar of the pair, read 1 for 0, read 0 for 1."""
    fails = data.StructLayout({"read_one": 1, "read_zero": 1})
    return data.ArrayLayout(data.StructLayout({"positive": fails, "negative": fails}), parameters.opc.lanes)


class March(wiring.Component):
    """Runs one of ``TESTS`` on the crossbar pairs of a row block, those of all OPCs at once.

    A verdict of each cell is kept until the next test. A test leaves its last pattern in the cells.

    Ports:
        start: begin test ``test`` on row block ``block``. busy: it runs. ended: this is its last clock.
        load, word_lines, drive, sample, group, codes: of ``Array``; ``word_lines`` is the same for all OPCs.
        at_block: for ``load_block`` and ``convert_block``. cells: see ``CellWriting``.
        look_opc, look_line, look_group: which verdicts ``verdict`` shows one clock later, while no test runs.
        reads, writes: of word lines or segments of them, since the start; they stay at their largest value.
    """

    def __init__(self, parameters: TileParameters) -> None:
        self.parameters = p = parameters
        code = data.StructLayout({"positive": p.opc.adc_bits, "negative": p.opc.adc_bits})
        super().__init__(
            {
                "start": In(1),
                "test": In(len(TESTS) - 1),
                "block": In(p.block_bits),
                "busy": Out(1),
                "ended": Out(1),
                "load": Out(1),
                "word_lines": Out(p.rows),
                "drive": Out(1),
                "sample": Out(1),
                "at_block": Out(p.block_bits),
                "group": Out(p.opc.group_bits),
                "codes": In(data.ArrayLayout(code, p.opc.lanes)).array(p.opcs),
                "cells": Out(CellWriting()),
                "look_opc": In(range(p.opcs)),
                "look_line": In(range(p.rows)),
                "look_group": In(p.opc.group_bits),
                "verdict": Out(verdict_layout(p)),
                "reads": Out(32),
                "writes": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p = self.parameters
        levels = top_level(p.rows, p.opc.adc_bits)
        flat = [own for test in SelfTest for own in TESTS[test]]
        first = Array([sum(len(TESTS[t]) for t in SelfTest if t < test) for test in SelfTest])
        last = {sum(len(TESTS[t]) for t in SelfTest if t <= test) - 1 for test in SelfTest}
        pad = [own.operations + own.operations[-1:] * (MOST_OPERATIONS - len(own.operations)) for own in flat]

        step, operation = Signal(range(len(flat)), name="step"), Signal(range(MOST_OPERATIONS), name="operation")
        line, level = Signal(range(p.rows), name="line"), Signal(range(levels + 1), name="level")
        order, ends, clears = Signal(2, name="order"), Signal(name="ends_test"), Signal(name="clears")
        last_operation, write, wanted = (Signal(name=n) for n in ("last_operation", "write", "wanted"))
        m.d.comb += [
            order.eq(_table(step, [own.order for own in flat], 2)),
            ends.eq(_table(step, [int(n in last) for n in range(len(flat))], 1)),
            clears.eq(_table(step, [int(n == 0 or n - 1 in last) for n in range(len(flat))], 1)),
            last_operation.eq(operation == _table(step, [len(own.operations) - 1 for own in flat], 2)),
            write.eq(_table(Cat(operation, step), _padded(pad, "write"), 1)),
            wanted.eq(_table(Cat(operation, step), _padded(pad, "level"), 1)),
        ]

        # Word lines: one, or a segment of 2^level of them in a search.
        whole = Signal(range(p.rows), name="outside_segment")
        m.d.comb += [
            whole.eq(~((1 << level) - 1)),
            self.word_lines.eq(Cat((Const(row, bits_for(p.rows - 1)) & whole) == line for row in range(p.rows))),
            self.at_block.eq(self._block(m)),
            self.cells.level.eq(wanted),
        ]

        # What was read: of each bit line that many word lines must conduct.
        expected = Signal(p.opc.adc_bits)
        wrong, found = Signal(name="wrong"), [Signal(verdict_layout(p), name=f"found_{n}") for n in range(p.opcs)]
        m.d.comb += [
            expected.eq(Mux(wanted, 1 << level, 0)),
            wrong.eq(Cat(own.as_value().any() for own in found).any()),
        ]
        for opc in range(p.opcs):
            for lane in range(p.opc.lanes):
                for sign in ("positive", "negative"):
                    differs = self.codes[opc][lane][sign] != expected
                    m.d.comb += [
                        found[opc][lane][sign].read_one.eq(differs & ~wanted),
                        found[opc][lane][sign].read_zero.eq(differs & wanted),
                    ]

        # Verdicts: what is kept of a cell is added to.
        clear, record, kept = Signal(name="clear"), Signal(name="record"), []
        for opc in range(p.opcs):
            memory = Memory(shape=verdict_layout(p), depth=p.rows << p.opc.group_bits, init=[])
            m.submodules[f"verdicts_{opc}"] = memory
            writer, reader = memory.write_port(), memory.read_port()
            kept.append(reader.data)
            m.d.comb += [
                writer.addr.eq(Cat(self.group, line)),
                writer.en.eq(clear | record),
                writer.data.eq(Mux(clear, 0, reader.data.as_value() | found[opc].as_value())),
                reader.addr.eq(Mux(self.busy, Cat(self.group, line), Cat(self.look_group, self.look_line))),
            ]
        shown = Signal(range(p.opcs))
        m.d.sync += shown.eq(self.look_opc)
        with m.Switch(shown):
            for opc in range(p.opcs):
                with m.Case(opc):
                    m.d.comb += self.verdict.eq(kept[opc])

        # A search goes on behind the segment, or with its first half where a sum is wrong.
        any_wrong, leaf = Signal(name="any_wrong"), Signal(name="leaf")
        following = Signal(range(p.rows + 1))
        up, at_end = Signal(range(levels + 1), name="up"), Signal(name="at_end")
        m.d.comb += [
            leaf.eq(level == 0),
            following.eq(Mux(order == Order.DOWN, line - 1, line + (1 << level))),
            at_end.eq(Mux(order == Order.DOWN, line == 0, following == p.rows)),
            up.eq(_trailing_zeros(following, levels)),
        ]

        per_group = max(2, -(-p.convert_clocks // p.opc.groups))
        pace, settling = Signal(range(per_group), name="pace"), Signal(range(p.read_clocks), name="settling")
        last_group = Signal(name="last_group")
        m.d.comb += last_group.eq(self.group == p.opc.groups - 1)
        m.d.comb += self.busy.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.busy.eq(0)
                with m.If(self.start):
                    m.d.sync += [step.eq(first[self.test]), operation.eq(0), line.eq(0), level.eq(0), self.group.eq(0)]
                    m.d.sync += [self.reads.eq(0), self.writes.eq(0)]
                    m.next = "CLEAR"
            with m.State("CLEAR"):
                m.d.comb += clear.eq(clears)
                m.d.sync += self.group.eq(Mux(last_group, 0, self.group + 1))
                with m.If(~clears | last_group):
                    m.d.sync += self.group.eq(0)
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += self.load.eq(1)
                m.d.sync += any_wrong.eq(0)
                with m.If(write):
                    m.d.sync += self.writes.eq(self.writes + ~self.writes.all())
                    m.next = "PROGRAM"
                with m.Else():
                    m.d.sync += self.reads.eq(self.reads + ~self.reads.all())
                    m.next = "DRIVE"
            with m.State("PROGRAM"):
                m.d.comb += self.cells.program.eq(1)
                with m.If(self.cells.done):
                    m.next = "NEXT"
            with m.State("DRIVE"):
                m.d.comb += self.drive.eq(1)
                m.d.sync += settling.eq(p.read_clocks - 1)
                m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.sync += settling.eq(settling - 1)
                with m.If(settling == 0):
                    m.d.comb += self.sample.eq(1)
                    m.d.sync += [settling.eq(0), pace.eq(per_group - 1)]
                    m.next = "CONVERT"
            with m.State("CONVERT"):
                m.d.sync += pace.eq(pace - 1)
                with m.If(pace == 0):
                    m.d.comb += record.eq(leaf)
                    m.d.sync += [pace.eq(per_group - 1), any_wrong.eq(any_wrong | wrong)]
                    m.d.sync += self.group.eq(Mux(last_group, 0, self.group + 1))
                    with m.If(last_group):
                        m.next = "NEXT"
            with m.State("NEXT"):
                m.next = "CLEAR"
                with m.If(~last_operation):
                    m.d.sync += operation.eq(operation + 1)
                    m.next = "LOAD"
                with m.Elif((order == Order.SEARCH) & any_wrong & ~leaf):
                    m.d.sync += [operation.eq(0), level.eq(level - 1)]
                with m.Elif(~at_end):
                    m.d.sync += [operation.eq(0), line.eq(following)]
                    with m.If(order == Order.SEARCH):
                        m.d.sync += level.eq(up)
                with m.Elif(~ends):
                    coming = Signal.like(order)
                    m.d.comb += coming.eq(_table(step + 1, [own.order for own in flat], 2))
                    m.d.sync += [
                        operation.eq(0),
                        step.eq(step + 1),
                        line.eq(Mux(coming == Order.DOWN, p.rows - 1, 0)),
                        level.eq(Mux(coming == Order.SEARCH, levels, 0)),
                    ]
                with m.Else():
                    m.d.comb += self.ended.eq(1)
                    m.next = "IDLE"
        return m

    def _block(self, m: Module) -> Signal:
        """The row block under test, as it was at the start."""
        block = Signal(self.parameters.block_bits, name="tested_block")
        with m.If(self.start & ~self.busy):
            m.d.sync += block.eq(self.block)
        return block


def _table(index: Any, values: list[int], bits: int) -> Any:
    """The entry of a table of constants; entries beyond its end read as the last one."""
    return Array([Const(value, bits) for value in values])[index]


def _padded(operations: list[tuple[Any, ...]], name: str) -> list[int]:
    """A field of all operations, where an element's begin at multiples of a power of two."""
    stride = 1 << bits_for(MOST_OPERATIONS - 1)
    return [int(getattr(own[min(n, len(own) - 1)], name)) for own in operations for n in range(stride)]


def _trailing_zeros(value: Signal, most: int) -> Any:
    """Zeros below the lowest one of ``value``, ``most`` at most."""
    found: Any = Const(most, range(most + 1))
    for bit in reversed(range(most)):
        found = Mux(value[bit], bit, found)
    return found
