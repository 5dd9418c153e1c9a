"""The check of checksums: a mismatch is said for exactly the vectors that do not hold, by the definition."""

from __future__ import annotations

from amaranth.hdl import Assert, Assume, Module, Mux, Signal, signed

from crossvote.rtl.checksum import ChecksumCheck
from crossvote.rtl.parameters import OpcParameters
from tb.formal.specs import Spec

#: Two bits of checksum, column sums of three.
PARAMETERS = OpcParameters(columns=16, planes=2, input_bits=2, adc_bits=1, row_blocks=1, checksum_bits=2)


class MismatchesAreThose(Spec):
    """Vectors of any entries, stalled in any way, whose first ones are checksum lines: none, as many as fit, one more.

    With k of them, the one that comes first counts 2^(k - 1) and the last 1. A vector does not hold where the sum of
    these less that of all others is no multiple of 2^k (2^m where the check has fewer bits). That is said once, when
    read-out moves on from its last entry, unless the vector is spoilt.
    """

    def build(self, m: Module) -> None:
        p = PARAMETERS
        bits = p.checksum_bits
        m.submodules.dut = dut = ChecksumCheck(p)
        move, read, last, spoilt = (self.free(1, name) for name in ("move", "read", "last", "spoilt"))
        value, lines = self.free(signed(p.column_sum_bits), "value"), self.free(range(bits + 2), "lines")
        came, chosen = Signal(range(bits + 2), name="lines_that_came"), Signal(range(bits + 2), name="lines_chosen")
        begun = Signal(name="begun")
        total, due, wrong = Signal(bits, name="total"), Signal(name="due"), Signal(name="wrong")
        checks, after = Signal(name="is_line"), Signal(bits, name="total_after")
        count, modulus = Signal(range(bits + 2), name="count"), Signal(bits, name="bits_that_count")
        m.d.comb += [
            Assume(lines <= bits + 1),
            # How many lines a vector has is chosen when it begins; they are its first entries.
            count.eq(Mux(begun, chosen, lines)),
            checks.eq(came != count),
            Assume(~last | (came + checks == count)),
            after.eq(total + Mux(checks, value << (count - came - 1)[:2], Mux(read, -value, 0))),
            modulus.eq(Mux(count >= bits, (1 << bits) - 1, (1 << count[:1]) - 1)),
            dut.move.eq(move),
            dut.checks.eq(checks),
            dut.adds.eq(read & ~checks),
            dut.value.eq(value),
            dut.last.eq(last),
            dut.spoilt.eq(spoilt),
        ]
        with m.If(move):
            m.d.sync += [
                begun.eq(~last),
                chosen.eq(count),
                came.eq(Mux(last, 0, came + checks)),
                total.eq(Mux(last, 0, after)),
                due.eq(last),
                wrong.eq((after & modulus).any() & ~spoilt),
            ]
        m.d.comb += [Assert(dut.mismatch == (due & wrong & move)), Assert(dut.busy == due)]
