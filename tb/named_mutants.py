"""The named mutants: deliberate faults in the hardware, each of one source line, and the benches that may find them."""

from __future__ import annotations

from dataclasses import dataclass

#: Benches in the order they are tried, fastest to find faults first.
BENCHES = ("opc_axi", "opc_scale", "opc_wide", "opc_small")
#: Those for what few OPCs have.
LOG_BENCHES, CHECKSUM_BENCHES = ("opc_log",), ("opc_checksum",)
#: Those for the files of the tile.
TILE_FILES, TILE_BENCHES = (
    ("input_buffer.py", "march.py", "reader.py", "requantise.py", "tile_control.py"),
    ("tile_march", "tile"),
)


@dataclass(frozen=True)
class Mutant:
    """``old`` occurs once in rtl/``file`` and becomes ``new``; ``benches``: those that are about it alone."""

    fault: str
    file: str
    old: str
    new: str
    benches: tuple[str, ...] = ()


MUTANTS = (
    Mutant("operands swapped", "difference.py", "self.positive - self.negative)", "self.negative - self.positive)"),
    Mutant(
        "row blocks change amid a vector",
        "sequencer.py",
        "(self.row_blocks - 1)[: len(blocks)], settled_blocks)",
        "(self.row_blocks - 1)[: len(blocks)], (self.row_blocks - 1)[: len(blocks)])",
    ),
    Mutant("error of the vector before", "sequencer.py", "(~starts & begun.error)", "begun.error"),
    Mutant("error forgotten", "sequencer.py", "(~starts & begun.error) | ", ""),
    Mutant("tag of the last beat", "sequencer.py", "Mux(starts, self.tag, begun.tag)", "self.tag"),
    Mutant(
        "tag of the other bank", "opc.py", "Mux(read_bank, marks[1], marks[0])", "Mux(read_bank, marks[0], marks[1])"
    ),
    Mutant("new vector adds to the old one", "shift_add.py", "Mux(clear, 0, Mux(", "Mux(0, 0, Mux("),
    Mutant(
        "no shift between input bits",
        "shift_add.py",
        "previous << 1, previous)",
        "previous, previous)",
    ),
    Mutant("subtraction without carry", "shift_add.py", "carry.eq(self.subtract)", "carry.eq(0)"),
    Mutant("wrong sign on the top bit", "sequencer.py", "self.subtract.eq(bit == 0)", "self.subtract.eq(0)"),
    Mutant(
        "lowest bit subtracted",
        "sequencer.py",
        "self.subtract.eq(bit == 0)",
        "self.subtract.eq(bit == p.input_bits - 1)",
    ),
    Mutant(
        "mark `first` ignored by the bit count",
        "sequencer.py",
        "bit.eq(Mux(self.first, 0, next_bit))",
        "bit.eq(next_bit)",
    ),
    Mutant("one row block too many", "sequencer.py", "(self.row_blocks - 1)[", "self.row_blocks["),
    Mutant("every row block shifts", "sequencer.py", "self.shift.eq(block == 0)", "self.shift.eq(1)"),
    Mutant(
        "mark `last` not checked",
        "sequencer.py",
        "self.misframed.eq((self.first == self.middle) | (self.last != self.complete))",
        "self.misframed.eq(self.first == self.middle)",
    ),
    Mutant("banks exchanged on write", "lane.py", "(self.bank == number)", "(self.bank != number)"),
    Mutant("both banks written", "lane.py", "self.commit & (self.bank == number)", "self.commit"),
    Mutant("sum of a lone bit line not forwarded", "lane.py", "if p.groups == 1:", "if False:"),
    Mutant(
        "wrong bank read out",
        "lane.py",
        "Mux(self.read_bank, stored[1], stored[0])",
        "Mux(self.read_bank, stored[0], stored[1])",
    ),
    Mutant(
        "voter gives the largest",
        "voter.py",
        "Mux(ab == ca, a, Mux(ab == bc, b, c))",
        "Mux(ab & ~ca, a, Mux(bc, b, c))",
    ),
    Mutant("voter gives the newest", "voter.py", "Mux(ab == ca, a, Mux(ab == bc, b, c))", "c"),
    Mutant("unanimity from two comparisons", "voter.py", "ab & bc & ca", "ab & bc"),
    Mutant("equal values count as different", "voter.py", "bc.eq(c >= self.value)", "bc.eq(c > self.value)"),
    Mutant("voter takes values while stalled", "voter.py", "with m.If(self.take):", "with m.If(1):"),
    Mutant("stuck map bit", "column_map.py", "decoded.line.eq(kept.line)", "decoded.line.eq(kept.line & ~1)"),
    Mutant(
        "map ends one entry early",
        "column_map.py",
        "last.eq(step == self.last_step)",
        "last.eq(step + 1 == self.last_step)",
    ),
    Mutant("map entry lost under stall", "column_map.py", "at.eq(Mux(fetched & move, ", "at.eq(Mux(fetched, "),
    Mutant("map entry lost to a read", "column_map.py", "fetched.eq(~self.read)]", "fetched.eq(1)]"),
    Mutant("stale entries after a write", "column_map.py", "with m.If(again):", "with m.If(0):"),
    Mutant(
        "waiting replicas count",
        "column_map.py",
        "decoded.value.eq(kept.operation > HOLD)",
        "decoded.value.eq(kept.operation >= HOLD)",
    ),
    Mutant("ends too early", "readout.py", "self.o.valid.eq(valued & step.end)", "self.o.valid.eq(valued)"),
    Mutant("outputs run into each other", "accumulate.py", "Mux(self.begins, 0, self.previous)", "self.previous"),
    Mutant(
        "flip does not negate", "accumulate.py", "Mux(self.flip, ~self.addend, self.addend) + self.flip", "self.addend"
    ),
    Mutant("flipped value off by one", "accumulate.py", "self.addend) + self.flip", "self.addend)"),
    Mutant("advances only by one", "accumulate.py", "added << self.advance)", "added << (self.advance != 0))"),
    Mutant("outputs all the first", "readout.py", "number.eq(number + step.end)", "number.eq(number)"),
    Mutant("last output not marked", "readout.py", "total.last.eq(step.last)", "total.last.eq(0)"),
    Mutant("output lost under stall", "readout.py", "self.ready.eq(~self.o.valid | self.o.ready)", "self.ready.eq(1)"),
    Mutant(
        "newest replica instead of the median", "readout.py", "Mux(vote, voter.median, voter.newest)", "voter.newest"
    ),
    Mutant(
        "disagreement counted again under stall",
        "readout.py",
        "self.disagreement.eq(self.ready & ",
        "self.disagreement.eq(",
    ),
    Mutant(
        "sum of the first lanes chosen", "readout.py", "column_sum.eq(Array(sums)[chosen])", "column_sum.eq(sums[0])"
    ),
    Mutant("illegal map spoils the next vector", "readout.py", "begins.eq(1), number.eq(0)]", "number.eq(0)]"),
    Mutant("beat dropped under stall", "opc.py", "forward.eq(~pending | commit)", "forward.eq(1)"),
    Mutant(
        "bank overwritten while read", "opc.py", "commit.eq(pending & ~full.bit_select(bank, 1))", "commit.eq(pending)"
    ),
    Mutant("input accepts while full", "opc.py", "self.i.ready.eq(~captured | forward)", "self.i.ready.eq(1)"),
    Mutant("banks never change", "opc.py", "bank.eq(~bank), ", "bank.eq(bank), "),
    Mutant(
        "bank released before its last column",
        "opc.py",
        "with m.If(read & step.payload.last):",
        "with m.If(readout.read & step.payload.last):",
    ),
    Mutant(
        "full bank looks at the input's bit line",
        "opc.py",
        'Mux(full[number], read_group, control["group"])',
        'Mux(full[number], control["group"], read_group)',
    ),
    Mutant(
        "row blocks change while busy",
        "registers.py",
        "takes.eq(~self.busy & (word != 0) & (word <= p.row_blocks))",
        "takes.eq((word != 0) & (word <= p.row_blocks))",
    ),
    Mutant(
        "map changes while busy", "registers.py", "[takes.eq(~self.busy & fits), self.map", "[takes.eq(fits), self.map"
    ),
    Mutant(
        "steps change while busy",
        "registers.py",
        "takes.eq(~self.busy & (word != 0) & (word <= p.columns))",
        "takes.eq((word != 0) & (word <= p.columns))",
    ),
    Mutant("line range not checked", "registers.py", "fits = (given.line < p.columns) & ", "fits = "),
    Mutant(
        "parts of words written",
        "registers.py",
        "write.eq(bus.write & takes & bus.write_strobe.all())",
        "write.eq(bus.write & takes)",
    ),
    Mutant("map reads back as 0", "registers.py", "(read_window == 1) & known", "(read_window == 3) & known"),
    Mutant(
        "status bits cannot be cleared", "registers.py", "sticky[bit] & ~clears[bit] | event", "sticky[bit] | event"
    ),
    Mutant("disagreements cannot be set", "registers.py", "disagreements.eq(word)", "disagreements.eq(disagreements)"),
    Mutant("disagreements run over", "registers.py", " & ~disagreements.all()", ""),
    Mutant(
        "a bit of the disagreements sticks",
        "registers.py",
        "read_word.eq(disagreements)",
        "read_word.eq(disagreements & ~1024)",
    ),
    Mutant("interrupt while busy", "registers.py", "idle = Mux(self.busy, 0, 1)", "idle = Mux(self.busy, 1, 0)"),
    Mutant("interrupts not masked", "registers.py", "(status[1:] & interrupts[1:]).any()", "status[1:].any()"),
    Mutant("nothing there is not said", "registers.py", "bus.read_error.eq(~known)", "bus.read_error.eq(0)"),
    Mutant(
        "any number of replicas waits",
        "map_check.py",
        "misplaced.eq(waiting != Mux(step.vote, 2, 0))",
        "misplaced.eq(0)",
    ),
    Mutant("any weight is taken", "map_check.py", "(misplaced | heavy | ", "(misplaced | "),
    Mutant("any number of outputs", "map_check.py", " | (step.end & (outputs == p.outputs))", ""),
    Mutant("map may end anywhere", "map_check.py", " | (step.last & ~step.end))", ")"),
    Mutant("halves below zero round up", "scale.py", " - (self.sum < 0)", ""),
    Mutant("high slice taken as unsigned", "scale.py", "piece = piece.as_signed()", "piece = piece.as_unsigned()"),
    Mutant("rounding shifted by one", "scale.py", "Const(1 << (p.scale_bits - 1))", "Const(1 << p.scale_bits)"),
    Mutant("shift of the next output", "scale.py", ">> p.scale_bits >> total_shift", ">> p.scale_bits >> shift"),
    Mutant(
        "scale of another output", "scale.py", "use.addr.eq(self.i.payload.output)", "use.addr.eq(passed[0].output)"
    ),
    Mutant("scale changes under stall", "scale.py", "use.en.eq(move)", "use.en.eq(1)"),
    Mutant("scaled output lost under stall", "scale.py", "move.eq(~self.o.valid | self.o.ready)", "move.eq(1)"),
    Mutant(
        "scale stage forgotten in busy",
        "opc.py",
        "readout.busy | scale.busy if p.scale_bits",
        "readout.busy if p.scale_bits",
    ),
    Mutant(
        "scales change while busy",
        "registers.py",
        "[takes.eq(~self.busy & in_range), self.scale",
        "[takes.eq(in_range), self.scale",
    ),
    Mutant("shift range not checked", "registers.py", " & (asked.shift < 1 << SHIFT_BITS)", ""),
    Mutant("partial bus writes accepted", "axi_lite.py", "Mux(aligned, strobe, 0)", "Mux(aligned, 15, 0)"),
    Mutant("unaligned writes accepted", "axi_lite.py", "Mux(aligned, strobe, 0)", "strobe"),
    Mutant(
        "unaligned reads accepted", "axi_lite.py", "found = whole_word & ~bus.read_error", "found = ~bus.read_error"
    ),
    Mutant("bus errors not reported", "axi_lite.py", "Mux(bus.error, SLVERR, OKAY)", "OKAY"),
    Mutant(
        "bus reads while it writes",
        "axi_lite.py",
        "show.eq(asked & ~shown & ~write & ~axi.rvalid)",
        "show.eq(asked & ~shown & ~axi.rvalid)",
    ),
    Mutant("verdict of the last read only", "march.py", "reader.data.as_value() | found[opc]", "found[opc]"),
    Mutant("verdicts of the test before", "march.py", "m.d.comb += clear.eq(clears)", "m.d.comb += clear.eq(0)"),
    Mutant("search reads everything", "march.py", "& any_wrong & ~leaf", "& ~leaf"),
    Mutant("search takes first sums only", "march.py", "& any_wrong & ~leaf", "& leaf & ~leaf"),
    Mutant("segment before was wrong", "march.py", "m.d.sync += any_wrong.eq(0)", "pass"),
    Mutant("zeros shall conduct", "march.py", "Mux(wanted, 1 << level, 0)", "1 << level"),
    Mutant("downwards from the first line", "march.py", "Mux(coming == Order.DOWN, p.rows - 1, 0)", "0"),
    Mutant("always the first row block", "march.py", "block.eq(self.block)", "block.eq(0)"),
    Mutant("verdicts of the first OPC", "march.py", "shown.eq(self.look_opc)", "shown.eq(0)"),
    Mutant("fails the other way", "march.py", "read_one.eq(differs & ~wanted)", "read_one.eq(differs & wanted)"),
    Mutant(
        "weights of checksum lines equal",
        "checksum.py",
        "(residue << 1) + addend",
        "residue + addend",
        benches=CHECKSUM_BENCHES,
    ),
    Mutant(
        "bit lines added to the checksum",
        "checksum.py",
        "Mux(self.checks, self.value, ~self.value)",
        "self.value",
        benches=CHECKSUM_BENCHES,
    ),
    Mutant(
        "bit lines taken off without carry",
        "checksum.py",
        "residue + addend + 1",
        "residue + addend",
        benches=CHECKSUM_BENCHES,
    ),
    Mutant(
        "more bits count than there are lines",
        "checksum.py",
        "(residue & counted).any()",
        "residue.any()",
        benches=CHECKSUM_BENCHES,
    ),
    Mutant(
        "bits of the vector before count",
        "checksum.py",
        "known.eq(Mux(ended, 0, counted))",
        "known.eq(counted)",
        benches=CHECKSUM_BENCHES,
    ),
    Mutant(
        "spoilt vectors are judged", "checksum.py", "self.last & ~self.spoilt", "self.last", benches=CHECKSUM_BENCHES
    ),
    Mutant(
        "mismatch counted again under stall", "checksum.py", "self.move & judged", "judged", benches=CHECKSUM_BENCHES
    ),
    Mutant(
        "checksum lines anywhere",
        "map_check.py",
        "with m.If(step.check & begun):",
        "with m.If(0):",
        benches=CHECKSUM_BENCHES,
    ),
    Mutant(
        "skips are checksum lines",
        "column_map.py",
        "(kept.operation == SKIP) & kept.flip",
        "kept.operation == SKIP",
        benches=CHECKSUM_BENCHES,
    ),
    Mutant(
        "mismatches run over",
        "registers.py",
        "self.mismatch & ~mismatches.all()",
        "self.mismatch",
        benches=CHECKSUM_BENCHES,
    ),
    Mutant(
        "log counts the median", "voter.py", "~(is_b | is_a & same_ab | is_c & same_bc)", "~is_b", benches=LOG_BENCHES
    ),
    Mutant(
        "log takes the line before",
        "readout.py",
        "newest.eq(taken_entry.step.line)",
        "newest.eq(self.step.line)",
        benches=LOG_BENCHES,
    ),
    Mutant(
        "counts run over", "disagreement_log.py", "read.data + ~read.data.all()", "read.data + 1", benches=LOG_BENCHES
    ),
    Mutant(
        "one bit line per vote",
        "disagreement_log.py",
        "waiting.eq(waiting & (waiting - 1))",
        "waiting.eq(0)",
        benches=LOG_BENCHES,
    ),
    Mutant(
        "count lost to a read", "disagreement_log.py", "with m.If(~self.look):", "with m.If(1):", benches=LOG_BENCHES
    ),
    Mutant("counts cannot be set", "disagreement_log.py", "looked_up | self.write)", "looked_up)", benches=LOG_BENCHES),
    Mutant("vectors enter a test", "tile_control.py", "buffer.valid & ~testing", "buffer.valid"),
    Mutant("busy only in OPCs", "tile_control.py", "said | still << Status.BUSY", "said"),
    Mutant(
        "disagreements wrap around",
        "tile_control.py",
        "Mux(disagreements[32:].any(), 0xFFFFFFFF, disagreements)",
        "disagreements",
    ),
    Mutant("disagreements of all OPCs set", "tile_control.py", "Mux(counted, 0, given)", "given"),
    Mutant("unknown tests begin", "tile_control.py", "& (start.test < len(SelfTest))", ""),
    Mutant(
        "sum of the first OPC", "tile_control.py", "sum(opc.o.payload.sum for opc in opcs)", "opcs[0].o.payload.sum"
    ),
    Mutant("no upper limit", "requantise.py", "Mux(shifted > high, high, shifted)", "shifted"),
    Mutant("no offset", "requantise.py", "scaled.sum + offsets.own_entry.offset", "scaled.sum"),
    Mutant("lowest bit first", "input_buffer.py", "values[n][bits - 1 - b]", "values[n][b]"),
    Mutant("one half of the buffer", "input_buffer.py", "m.d.sync += used_half.eq(~used_half)", "pass"),
    Mutant("short vectors go on", "input_buffer.py", "m.d.sync += [place.eq(0), block.eq(0), opc.eq(0)]", "pass"),
    Mutant("what strays is kept", "input_buffer.py", "m.If(astray | strays)", "m.If(astray)"),
    Mutant("long vectors count", "input_buffer.py", "ends & kept_last\n        with", "ends\n        with"),
    Mutant(
        "misframed is not said", "tile_control.py", "Status.MISFRAMED: buffer.misframed", "Status.MISFRAMED: Const(0)"
    ),
    Mutant("events cannot be cleared", "tile_control.py", "kept[bit] & ~(writes_status & word[bit]) |", "kept[bit] |"),
    Mutant("events do not interrupt", "tile_control.py", "(enabled & status).any()", "(enabled & status)[0]"),
    Mutant("driven before held", "reader.py", "loaded_all & (~driving | self.sample)", "loaded_all"),
    Mutant("no time to settle", "reader.py", "driving & (left == 0)", "driving & (left == p.read_clocks - 1)"),
)


def benches_of(mutant: Mutant | None) -> tuple[str, ...]:
    """The benches that may find a mutant; all of them for the unchanged hardware."""
    if mutant is None:
        return (*BENCHES, *TILE_BENCHES, *LOG_BENCHES, *CHECKSUM_BENCHES)
    if mutant.benches:
        return mutant.benches
    return TILE_BENCHES if mutant.file in TILE_FILES else BENCHES


def key(mutant: Mutant | None) -> str:
    """What a mutant's verdict is kept under."""
    return f"{mutant.file}: {mutant.fault}: {mutant.old} -> {mutant.new}" if mutant else "unchanged"


BY_KEY = {key(mutant): mutant for mutant in (None, *MUTANTS)}
