"""Mutation check: every deliberate fault in the hardware description must make a bench fail.

    python -m tb.mutants                 # all mutants, prints the score
    python -m tb.mutants --only voter    # those whose file name contains "voter"
    python -m tb.mutants --seconds 200   # in pieces: verdicts are kept while their hardware and benches stay the same
    python -m tb.mutants --random 200    # as many that Yosys draws over an OPC's netlist (see tb.random_mutants)
    python -m tb.mutants --random 200 --target tile --seconds 200

Each mutant is a small change of one source line in a copy of the packages; the benches run there under Icarus Verilog
until one of them fails.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rich.console import Console
from rich.table import Table

from crossvote.rtl.export import write_atomic
from crossvote.sim.common.code import code_digest, without_text
from tb.run import BENCHES as ALL_BENCHES
from tb.run import missing

ROOT = Path(__file__).resolve().parents[1]
VERDICTS = ROOT / "benchmarks" / "results" / "mutants.json"
DRAWN = VERDICTS.with_name("random_mutants.json")
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


#: Seconds after which a simulation is taken to hang.
TIMEOUT = 300
#: Run in the copy: one bench, results as JSON on the last line.
TRIAL = """
import json, os, sys
sys.path.insert(0, os.getcwd())
from contextlib import redirect_stdout
from pathlib import Path
from tb.run import BENCHES, run_bench
bench = next(bench for bench in BENCHES if bench.name == sys.argv[1])
with redirect_stdout(sys.stderr):
    passed, failed, log = run_bench(bench, "icarus", Path("build", bench.name).resolve(), most_failures=1)
print(json.dumps([passed, failed]))
"""


def run_trial(copy: Path, bench: str) -> tuple[int, int]:
    """Tests passed and failed by the packages in ``copy``; an error before any test gives (0, 0).

    A simulation that never ends counts as two failures.
    """
    command = [sys.executable, "-c", TRIAL, bench]
    with subprocess.Popen(
        command, cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as run:
        try:
            output, _ = run.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)  # the simulator, too
            return 0, 2
    return tuple(json.loads(output.splitlines()[-1])) if run.returncode == 0 else (0, 0)


def copy_packages(folder: Path) -> None:
    """A copy of what the benches import."""
    for package in ("rtl", "sim", "tb"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    # Everything is imported from below ``crossvote``: without one of its own the copy would run the original.
    (folder / "crossvote").mkdir()
    (folder / "crossvote" / "__init__.py").write_text("")
    for package in ("rtl", "sim"):
        (folder / "crossvote" / package).symlink_to(folder / package)


def kill(mutant: Mutant | None) -> tuple[str, str]:
    """Verdict ("killed", "survived" or "broken") and the bench that gave it; None is the unchanged hardware."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        copy_packages(folder)
        if mutant is not None:
            path = folder / "rtl" / mutant.file
            text = path.read_text()
            if text.count(mutant.old) != 1:
                return "broken", f"the text to change occurs {text.count(mutant.old)} times"
            path.write_text(text.replace(mutant.old, mutant.new))
        for bench in benches_of(mutant):
            passed, failed = run_trial(folder, bench)
            if passed + failed == 0:
                return "broken", f"{bench} did not run"
            if failed:
                return "killed", bench
    return "survived", ""


def draw(name: str, number: int, seed: int, kept: Path, seconds: float = float("inf")) -> float:
    """Try randomly drawn mutants of a target, print those that survive, and return the share that was killed.

    Those that ``tb.equivalents`` argues about, as they change nothing that can be seen, do not count. Verdicts are
    kept in the file ``kept``; after ``seconds`` no other mutant is begun, and the share is of those that were tried.
    """
    from tb.equivalents import EQUIVALENT
    from tb.random_mutants import TARGETS, trials

    begun = time.monotonic()
    document = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    argued = EQUIVALENT.get(name, {})
    found: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for mutant, one in trials(TARGETS[name], number, seed, Path(folder), document.get(name, {})):
            found[mutant.key] = one
            if one != document.get(name, {}).get(mutant.key):
                document[name] = document.get(name, {}) | {mutant.key: one}
                write_atomic(kept, json.dumps(document, indent=1) + "\n")
                print(f"{mutant.key}: {one['verdict']}", file=sys.stderr, flush=True)
            if time.monotonic() - begun > seconds:
                break
    table = Table("survivor", "source", "why nothing of it can be seen")
    for key, one in found.items():
        if one["verdict"] == "survived":
            table.add_row(key, one["source"], argued.get(key, ""))
    Console(width=160).print(table)
    killed = sum(one["verdict"] == "killed" for one in found.values())
    equivalent = sum(one["verdict"] == "survived" and key in argued for key, one in found.items())
    counted = max(1, len(found) - equivalent)
    print(
        f"{name}: {killed} of {counted} random mutants killed ({100 * killed / counted:.1f} %), "
        f"{equivalent} change nothing, {number - len(found)} not tried"
    )
    return killed / counted


def _named(tree: ast.AST, package: str) -> set[str]:
    """Modules of a package that a module's code imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name.startswith(f"{package}.") and _is_module(name)}


def _is_module(name: str) -> bool:
    path = ROOT / name.removeprefix("crossvote.").replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _tests(modules: Sequence[str]) -> tuple[str, set[str]]:
    """Digest of the code of bench modules and all of the benches they import, and which hardware these import."""
    waiting, code, used = list(modules), {}, set()
    while waiting:
        module = waiting.pop()
        if module in code or not module.startswith("tb.") or module == "tb.run":
            continue
        tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
        waiting += sorted(_named(tree, "tb"))
        used |= _named(tree, "crossvote.rtl")
        code[module] = without_text(tree)
    return hashlib.sha256(json.dumps(sorted(code.items())).encode()).hexdigest(), used


@cache
def module_digest(name: str) -> str:
    """Of a module of tests, without any hardware."""
    return _tests([name])[0]


@cache
def bench_digest(name: str) -> str:
    """Of what a bench's verdicts follow from: its hardware and its tests.

    Comments do not count, nor does what the bench does not import. Nor do the references that tests compare with: these
    give the integers of the unchanged hardware, or the benches say so; a change of how leaves a fault as wrong.
    """
    bench = next(bench for bench in ALL_BENCHES if bench.name == name)
    made_by = bench.create.__module__
    # What is made in tb.run is a tile on crossbars.
    hardware = {"crossvote.rtl.tile_axi"} if made_by == "tb.run" else {made_by} - {"tb.march_case"}
    own, used = _tests([*bench.modules, *(("tb.tile_case", "tb.crossbars") if made_by == "tb.run" else ()), made_by])
    return hashlib.sha256(f"{own} {code_digest('crossvote.rtl.export', *sorted(hardware | used))}".encode()).hexdigest()


def digest(mutant: Mutant | None, bench: str) -> str:
    """Of what a verdict follows from that came with ``bench``: this one and those that were tried before it."""
    tried = benches_of(mutant)
    tried = tried[: tried.index(bench) + 1] if bench in tried else tried
    return hashlib.sha256(" ".join(map(bench_digest, tried)).encode()).hexdigest()


def read_verdicts(path: Path) -> dict[str, list[str]]:
    """(verdict, bench) by mutant in a file of ``write_verdicts``, those that are about today's hardware and benches."""
    if not path.is_file():
        return {}
    kept: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return {
        name: [one["verdict"], one["bench"]]
        for name, one in kept.items()
        if name in BY_KEY and one["digest"] == digest(BY_KEY[name], one["bench"])
    }


def write_verdicts(path: Path, verdicts: dict[str, list[str]]) -> None:
    """Keep verdicts for the next run, which goes on where this one ended."""
    kept = {
        name: {"verdict": verdict, "bench": bench, "digest": digest(BY_KEY[name], bench)}
        for name, (verdict, bench) in verdicts.items()
    }
    write_atomic(path, json.dumps(kept, indent=1) + "\n")


def key(mutant: Mutant | None) -> str:
    """What a mutant's verdict is kept under."""
    return f"{mutant.file}: {mutant.fault}: {mutant.old} -> {mutant.new}" if mutant else "unchanged"


BY_KEY = {key(mutant): mutant for mutant in (None, *MUTANTS)}


def main() -> None:
    """Command line; exit status 1 unless all mutants are killed."""
    parser = argparse.ArgumentParser(prog="python -m tb.mutants", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", default="", help="only mutants whose file or fault contains this text")
    parser.add_argument("--verdicts", type=Path, default=VERDICTS, help="where they are kept, and not found out again")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no other mutant after so long")
    parser.add_argument("--trust", action="store_true", help="do not try the unchanged hardware first (make sim does)")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="N mutants drawn by Yosys instead")
    parser.add_argument("--target", choices=("opc", "tile"), default="opc", help="whose netlist they are drawn in")
    parser.add_argument("--drawn", type=Path, default=DRAWN, help="where verdicts on drawn mutants are kept")
    parser.add_argument("--seed", type=int, default=1, help="of the drawn mutants")
    parser.add_argument("--goal", type=float, default=0.95, help="share of the drawn ones that must be killed")
    options = parser.parse_args()
    if hint := missing("icarus"):
        print(hint, file=sys.stderr)
        sys.exit(1)
    if options.random:
        share = draw(options.target, options.random, options.seed, options.drawn, options.seconds)
        sys.exit(0 if share >= options.goal else 1)
    begun = time.monotonic()
    chosen = [mutant for mutant in MUTANTS if options.only in mutant.file or options.only in mutant.fault]
    verdicts = read_verdicts(options.verdicts)
    for number, mutant in enumerate([*([] if options.trust else [None]), *chosen]):
        if key(mutant) not in verdicts and time.monotonic() - begun < options.seconds:
            verdicts[key(mutant)] = list(kill(mutant))
            write_verdicts(options.verdicts, verdicts)
            name = mutant.fault if mutant else "unchanged hardware"
            print(f"{number}/{len(chosen)} {name}: {verdicts[key(mutant)][0]}", file=sys.stderr, flush=True)
        if mutant is None and verdicts.get(key(None), ["survived"])[0] != "survived":
            print(f"the unchanged hardware does not pass: {verdicts[key(None)]}", file=sys.stderr)
            sys.exit(1)
    table = Table("fault", "file", "verdict", "by")
    for mutant in chosen:
        table.add_row(mutant.fault, mutant.file, *verdicts.get(key(mutant), ["not tried", ""]))
    Console(width=120).print(table)
    killed = sum(verdicts.get(key(mutant), [""])[0] == "killed" for mutant in chosen)
    print(f"{killed} of {len(chosen)} mutants killed")
    sys.exit(0 if killed == len(chosen) else 1)


if __name__ == "__main__":
    main()
