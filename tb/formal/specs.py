"""Properties as modules around the hardware: free inputs, assumptions about them, assertions about what comes out."""

from __future__ import annotations

from amaranth.hdl import (
    Assert,
    Assume,
    ClockDomain,
    Const,
    Elaboratable,
    Module,
    Mux,
    Shape,
    Signal,
    Value,
    signed,
    unsigned,
)

from crossvote.rtl.accumulate import Accumulate
from crossvote.rtl.difference import Difference
from crossvote.rtl.opc import Opc
from crossvote.rtl.parameters import SHIFT_BITS, OpcParameters
from crossvote.rtl.readout import ReadOut
from crossvote.rtl.registers import map_address
from crossvote.rtl.scale import Scaler
from crossvote.rtl.shift_add import ShiftAdd
from crossvote.rtl.voter import MedianVoter

SHIPPED = OpcParameters()
#: Two bit lines, two reads, codes of one bit; no map, no voter.
TINY = OpcParameters(
    columns=2, lanes=2, planes=1, input_bits=2, adc_bits=1, row_blocks=1, voter=False, column_map=False
)
#: Sums of 19 bits, so two slices for the multiplier; with wider multipliers the proof takes hours.
SCALED = OpcParameters(columns=16, planes=4, input_bits=4, adc_bits=8, row_blocks=3, scale_bits=3)
#: Column sums of three bits, outputs of five.
NARROW = OpcParameters(columns=16, planes=2, input_bits=2, adc_bits=1, row_blocks=1)
SMALL = OpcParameters(columns=8, lanes=4, planes=2, input_bits=2, adc_bits=3, row_blocks=2)


class Spec(Elaboratable):
    """Base of all properties: a module, its free inputs, and shadow state that starts with the hardware's.

    There is no reset input: proofs start from the initial state (or, by induction, from any).
    """

    def __init__(self) -> None:
        self.inputs: list[Signal] = []

    def free(self, shape: Shape | int, name: str) -> Signal:
        """An input that may have any value in every clock."""
        signal = Signal(shape, name=name)
        self.inputs.append(signal)
        return signal

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = domain = ClockDomain("sync", reset_less=True)
        self.inputs.append(domain.clk)
        self.build(m)
        return m

    def build(self, m: Module) -> None:
        """Add hardware, assumptions and assertions."""
        raise NotImplementedError

    @property
    def ports(self) -> list[Value]:
        """Clock and free inputs, known after ``elaborate``."""
        return list(self.inputs)


def past(m: Module, value: Value) -> Signal:
    """``value`` one clock ago (0 in the first clock)."""
    before = Signal(Value.cast(value).shape())
    m.d.sync += before.eq(value)
    return before


class MedianIsMedian(Spec):
    """The voter's median is one of the last three values, with two of them not above it and two not below it."""

    def build(self, m: Module) -> None:
        width = SHIPPED.column_sum_bits
        m.submodules.dut = dut = MedianVoter(width)
        last = [Signal(signed(width)) for _ in range(3)]
        taken = Signal(2)
        m.d.comb += [dut.take.eq(self.free(1, "take")), dut.value.eq(self.free(signed(width), "value"))]
        with m.If(dut.take):
            m.d.sync += [last[0].eq(last[1]), last[1].eq(last[2]), last[2].eq(dut.value)]
            m.d.sync += taken.eq(Mux(taken == 3, 3, taken + 1))
        with m.If(taken == 3):
            m.d.comb += [
                Assert((dut.median == last[0]) | (dut.median == last[1]) | (dut.median == last[2])),
                Assert(sum(value <= dut.median for value in last) >= 2),
                Assert(sum(value >= dut.median for value in last) >= 2),
                Assert(dut.unanimous == ((last[0] == last[1]) & (last[1] == last[2]))),
            ]


class DifferencesAreExact(Spec):
    """A difference is that of the two codes, and no bit of it is missing."""

    def build(self, m: Module) -> None:
        bits = SHIPPED.adc_bits
        m.submodules.dut = dut = Difference(bits)
        a, b = self.free(bits, "a"), self.free(bits, "b")
        m.d.comb += [dut.positive.eq(a), dut.negative.eq(b), Assert(dut.difference == a - b)]


class ColumnSumsFit(Spec):
    """No step of a vector overflows the shipped column sums: from a sum within its bound to one within the next.

    After k whole input bits the bound is G M (2^k - 1), with M the largest difference and G the row blocks; g row
    blocks into the next bit it is twice that plus g M.
    """

    def build(self, m: Module) -> None:
        p = SHIPPED
        largest, blocks = p.difference_magnitude, p.row_blocks
        m.submodules.dut = dut = ShiftAdd(p.column_sum_bits, p.difference_bits)
        bit, block = self.free(range(p.input_bits), "bit"), self.free(range(blocks), "block")
        previous, d = self.free(signed(p.column_sum_bits), "previous"), self.free(signed(p.difference_bits), "d")
        whole = Signal(range(p.column_sum_magnitude + 1))
        with m.Switch(bit):
            for k in range(p.input_bits):
                with m.Case(k):
                    m.d.comb += whole.eq(blocks * largest * ((1 << k) - 1))
        before = Mux(block == 0, whole, 2 * whole + block * largest)
        after = 2 * whole + (block + 1) * largest
        m.d.comb += [
            Assume(bit < p.input_bits),
            Assume((previous <= before) & (previous >= -before)),
            Assume((d <= largest) & (d >= -largest)),
            dut.enable.eq(1),
            dut.previous.eq(previous),
            dut.difference.eq(d),
            dut.clear.eq((bit == 0) & (block == 0)),
            dut.shift.eq(block == 0),
            dut.subtract.eq(bit == 0),
        ]
        kept = Mux(dut.clear, 0, Mux(dut.shift, previous * 2, previous))
        exact = past(m, kept + Mux(dut.subtract, -d, d))
        bound, valid = past(m, after), past(m, Const(1))
        with m.If(valid):
            m.d.comb += [Assert(dut.next == exact), Assert((exact <= bound) & (exact >= -bound))]
            m.d.comb += Assert(bound <= p.column_sum_magnitude)


class OutputSumsFit(Spec):
    """No step of adding an output's values overflows the shipped width: from a sum within its bound to one within the
    next, for any weights that are legal.

    Behind values of weight w the bound is w M, with M the largest column sum; another value and an advance a make it
    (w + 1) 2^a M, and a legal map's weights end at 2^planes - 1. Any bound will do that stays as small as the output's.
    """

    def build(self, m: Module) -> None:
        p = SHIPPED
        m.submodules.dut = dut = Accumulate(p.column_sum_bits, p.sum_bits)
        previous, value = self.free(signed(p.sum_bits), "previous"), self.free(signed(p.column_sum_bits), "value")
        bound, largest = self.free(p.sum_bits - 1, "bound"), p.column_sum_magnitude
        begins, flip, advance = self.free(1, "begins"), self.free(1, "flip"), self.free(2, "advance")
        before = Mux(begins, 0, previous)
        exact = (before + Mux(flip, -value, value)) << advance
        after = (Mux(begins, 0, bound) + largest) << advance
        m.d.comb += [
            Assume((previous <= bound) & (previous >= -bound)),
            Assume((value <= largest) & (value >= -largest)),
            Assume(after <= p.output_magnitude),
            dut.previous.eq(previous),
            dut.begins.eq(begins),
            dut.addend.eq(value),
            dut.flip.eq(flip),
            dut.advance.eq(advance),
            Assert(dut.next == exact),
            Assert((exact <= after) & (exact >= -after)),
        ]


class OutputsAddUp(Spec):
    """Outputs are the sums of their values, each once and in order: any column sums, any legal weights, any flips.

    At small widths, because a solver does not end at the shipped ones; that those are enough is ``OutputSumsFit``.
    """

    def build(self, m: Module) -> None:
        p = NARROW
        m.submodules.dut = dut = ReadOut(p)
        column_sum = self.free(signed(p.column_sum_bits), "column_sum")
        flip, end, advance = self.free(1, "flip"), self.free(1, "end"), self.free(2, "advance")
        exact, weight, complete = Signal(signed(p.sum_bits + 4)), Signal(p.planes + 4), Signal()
        total, heavier = Signal.like(exact), Signal.like(weight)
        m.d.comb += [
            total.eq((exact + Mux(flip, -column_sum, column_sum)) << advance),
            heavier.eq((weight + 1) << advance),
        ]
        m.d.sync += [exact.eq(Mux(end, 0, total)), weight.eq(Mux(end, 0, heavier)), complete.eq(end)]
        m.d.comb += [
            Assume((column_sum <= p.column_sum_magnitude) & (column_sum >= -p.column_sum_magnitude)),
            Assume(heavier < 1 << p.planes),
            dut.read.eq(1),
            dut.sums[0].eq(column_sum),
            dut.step.read.eq(1),
            dut.step.value.eq(1),
            dut.step.flip.eq(flip),
            dut.step.end.eq(end),
            dut.step.advance.eq(advance),
            dut.o.ready.eq(1),
        ]
        # The output comes when its last entry has gone through the read-out stages behind the column sums.
        delay = p.pipeline - 3
        expected, due = past(m, total), complete
        for _ in range(delay - 1):
            expected, due = past(m, expected), past(m, due)
        m.d.comb += Assert(dut.o.valid == due)
        with m.If(dut.o.valid & due):
            m.d.comb += Assert(dut.o.payload.sum == expected)


class ScaledSumsFit(Spec):
    """Whatever sum, multiplier and shift: the scaled sum is the arithmetic without a limit to widths, and no larger."""

    def build(self, m: Module) -> None:
        p = SCALED
        m.submodules.dut = dut = Scaler(p)
        total = self.free(signed(p.sum_bits), "total")
        multiplier, shift = self.free(p.scale_bits, "multiplier"), self.free(SHIFT_BITS, "shift")
        m.d.comb += [
            Assume((total <= p.output_magnitude) & (total >= -p.output_magnitude)),
            dut.enable.eq(1),
            dut.sum.eq(total),
            dut.multiplier.eq(multiplier),
            dut.shift.eq(shift),
        ]
        half = Const(1 << (p.scale_bits - 1)) << shift
        expected = (total * multiplier + half - (total < 0)) >> p.scale_bits >> shift
        valid = Const(1)
        for _ in range(p.scale_stages - 1):
            expected, total, valid = past(m, expected), past(m, total), past(m, valid)
        with m.If(valid):
            m.d.comb += Assert(dut.scaled == expected)
            m.d.comb += Assert(
                Mux(total < 0, (dut.scaled >= total) & (dut.scaled <= 0), (dut.scaled <= total) & (dut.scaled >= 0))
            )


class OpcSpec(Spec):
    """An OPC with free streams; the bus is left to the property."""

    parameters = SMALL

    def connect(self, m: Module) -> Opc:
        """The OPC, with free input beats and free output ready."""
        dut = Opc(self.parameters)
        m.submodules.dut = dut
        m.d.comb += [
            dut.i.valid.eq(self.free(1, "valid")),
            dut.i.payload.eq(self.free(unsigned(len(dut.i.payload.as_value())), "payload")),
            dut.o.ready.eq(self.free(1, "ready")),
        ]
        return dut

    def free_bus(self, m: Module, dut: Opc) -> None:
        """Any register accesses."""
        m.d.comb += [
            dut.bus.address.eq(self.free(len(dut.bus.address), "address")),
            dut.bus.write.eq(self.free(1, "write")),
            dut.bus.write_data.eq(self.free(32, "write_data")),
            dut.bus.write_strobe.eq(self.free(4, "write_strobe")),
            dut.bus.read.eq(self.free(1, "read")),
        ]


class OutputIsStable(OpcSpec):
    """An output that is not taken stays as it is, whatever happens at the input and on the bus."""

    def build(self, m: Module) -> None:
        dut = self.connect(m)
        self.free_bus(m, dut)
        stalled = past(m, dut.o.valid & ~dut.o.ready)
        payload = past(m, dut.o.payload.as_value())
        with m.If(stalled):
            m.d.comb += [Assert(dut.o.valid), Assert(dut.o.payload.as_value() == payload)]


class MapReadsBack(OpcSpec):
    """A map entry reads back as it was last written, unless the write was refused."""

    def build(self, m: Module) -> None:
        dut = self.connect(m)
        self.free_bus(m, dut)
        entry = self.free(range(self.parameters.columns), "entry")
        m.d.comb += Assume((entry == past(m, entry)) | ~past(m, Const(1)))
        word, known = Signal(32), Signal()
        here = dut.bus.address == map_address(self.parameters, 0) + entry
        with m.If(dut.bus.write & ~dut.bus.error & here):
            m.d.sync += [word.eq(dut.bus.write_data), known.eq(1)]
        with m.If(past(m, here & known & dut.bus.read & ~dut.bus.write)):
            m.d.comb += [Assert(dut.bus.read_data == word), Assert(~dut.bus.read_error)]


class ResultsAreRight(OpcSpec):
    """Four vectors with any codes and any stalls on both streams give what the definition says, once and in order.

    So no beat and no output is lost, duplicated or misplaced. (Map and median have proofs of their own.)
    """

    parameters = TINY

    def build(self, m: Module) -> None:
        p = self.parameters
        dut = self.connect(m)
        # The definition: column sums of each vector, from the beats as they are accepted.
        beats, vectors = p.beats(1), 4
        accepted, delivered = Signal(range(vectors * beats + 1)), Signal(range(vectors * p.columns + 1))
        sums = [
            [Signal(signed(p.column_sum_bits), name=f"sum_{v}_{c}") for c in range(p.columns)] for v in range(vectors)
        ]
        accept, deliver = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
        with m.Switch(accepted):
            for number in range(vectors * beats):
                vector, beat = divmod(number, beats)
                weight = -(1 << (p.input_bits - 1)) if beat == 0 else 1 << (p.input_bits - 1 - beat)
                with m.Case(number):
                    m.d.comb += [
                        Assume(dut.i.payload.first == (beat == 0)),
                        Assume(dut.i.payload.last == (beat == beats - 1)),
                    ]
                    with m.If(accept):
                        for code, column in zip(dut.i.payload.codes, sums[vector], strict=True):
                            m.d.sync += column.eq(column + weight * (code.positive - code.negative))
            with m.Default():
                m.d.comb += Assume(~dut.i.valid)
        with m.If(accept):
            m.d.sync += accepted.eq(accepted + 1)
        with m.Switch(delivered):
            for vector in range(vectors):
                for output, expected in enumerate(sums[vector]):
                    with m.Case(vector * p.columns + output), m.If(deliver):
                        m.d.comb += [
                            Assert(accepted >= (vector + 1) * beats),
                            Assert(dut.o.payload.output == output),
                            Assert(dut.o.payload.sum == expected),
                        ]
            with m.Default():
                m.d.comb += Assert(~deliver)
        with m.If(deliver):
            m.d.sync += delivered.eq(delivered + 1)
