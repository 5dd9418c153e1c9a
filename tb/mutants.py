"""Mutation check: every deliberate fault in the hardware description must make a bench fail.

    python -m tb.mutants                 # all mutants, prints the score
    python -m tb.mutants --only voter    # those whose file name contains "voter"

Each mutant is a small change of one source line in a copy of the packages; the benches run there under Icarus Verilog
until one of them fails.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tb.run import missing

ROOT = Path(__file__).resolve().parents[1]
#: Benches in the order they are tried, fastest to find faults first.
BENCHES = ("opc_axi", "opc_scale", "opc_wide", "opc_small")


@dataclass(frozen=True)
class Mutant:
    """``old`` occurs once in rtl/``file`` and becomes ``new``."""

    fault: str
    file: str
    old: str
    new: str


MUTANTS = (
    Mutant("operands swapped", "difference.py", "~total[1:], total[1:]", "total[1:], ~total[1:]"),
    Mutant("flip does not negate", "difference.py", "Mux(self.flip, ~total[1:], total[1:])", "total[1:]"),
    Mutant(
        "flipped difference off by one",
        "difference.py",
        "carry = Signal(self._adc_bits + 2), ~self.flip",
        "carry = Signal(self._adc_bits + 2), self.flip | ~self.flip",
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
    Mutant("mark `last` not checked", "sequencer.py", " | (self.last != self.complete)", ""),
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
    Mutant(
        "stuck map bit",
        "column_map.py",
        "self.o.payload.entry.eq(step_port.data)",
        "self.o.payload.entry.eq(step_port.data.as_value() & ~1)",
    ),
    Mutant("map ends one entry early", "column_map.py", "last = step == p.columns - 1", "last = step == p.columns - 2"),
    Mutant("map entry lost under stall", "column_map.py", "fetch.eq(~fetched | move)", "fetch.eq(1)"),
    Mutant("stale entries after a write", "column_map.py", "with m.If(self.write):", "with m.If(0):"),
    Mutant(
        "off-by-one plane",
        "readout.py",
        "self.o.valid.eq(valued & (value_step.entry.plane == 0))",
        "self.o.valid.eq(valued & (value_step.entry.plane == 1))",
    ),
    Mutant(
        "outputs run into each other",
        "readout.py",
        "Mux(begins, 0, self.o.payload.sum << 1)",
        "(self.o.payload.sum << 1)",
    ),
    Mutant("output lost under stall", "readout.py", "self.ready.eq(~self.o.valid | self.o.ready)", "self.ready.eq(1)"),
    Mutant(
        "second replica counts as a plane",
        "readout.py",
        "valued.eq(compared & (only | third))",
        "valued.eq(compared & (compared_step.entry.replica != 1))",
    ),
    Mutant(
        "first replica instead of the median",
        "readout.py",
        "Mux(only, voter.newest, voter.median)",
        "Mux(only | (compared_step.entry.replica == 1), voter.newest, voter.newest)",
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
    Mutant("illegal map spoils the next vector", "readout.py", "begins.eq(1)  #", "begins.eq(begins)  #"),
    Mutant("beat dropped under stall", "opc.py", "forward.eq(~pending | commit)", "forward.eq(1)"),
    Mutant(
        "bank overwritten while read", "opc.py", "commit.eq(pending & ~full.bit_select(bank, 1))", "commit.eq(pending)"
    ),
    Mutant("input accepts while full", "opc.py", "self.i.ready.eq(~captured | forward)", "self.i.ready.eq(1)"),
    Mutant("banks never change", "opc.py", "bank.eq(~bank)]", "bank.eq(bank)]"),
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
    Mutant("flip bits of all lanes written", "opc.py", " & (written.line[: p.lane_bits] == number)", ""),
    Mutant(
        "settings change while busy",
        "registers.py",
        "bus.error.eq(bus.write & (self.busy | ~fits | ",
        "bus.error.eq(bus.write & (~fits | ",
    ),
    Mutant("plane range not checked", "registers.py", " & (given.plane < p.planes)", ""),
    Mutant("map reads back as 0", "registers.py", "with m.If(read_window == 1):", "with m.If(read_window == 3):"),
    Mutant(
        "status bits cannot be cleared", "registers.py", "status[bit] & ~clears[bit] | event", "status[bit] | event"
    ),
    Mutant(
        "disagreements cannot be cleared",
        "registers.py",
        "m.d.sync += disagreements.eq(0)",
        "m.d.sync += disagreements.eq(disagreements)",
    ),
    Mutant("an output may come twice", "map_check.py", "entry.output > before.output", "entry.output >= before.output"),
    Mutant("a plane may be missing", "map_check.py", "entry.plane + 1 == before.plane", "entry.plane < before.plane"),
    Mutant("map may end anywhere", "map_check.py", " | (self.step.last & ~closes)", ""),
    Mutant("halves below zero round up", "scale.py", " - (self.sum < 0)", ""),
    Mutant("high slice taken as unsigned", "scale.py", "piece = piece.as_signed()", "piece = piece.as_unsigned()"),
    Mutant("rounding shifted by one", "scale.py", "Const(1 << (p.scale_bits - 1))", "Const(1 << p.scale_bits)"),
    Mutant("shift of the next output", "scale.py", ">> p.scale_bits >> total_shift", ">> p.scale_bits >> shift"),
    Mutant("scale of another output", "scale.py", "use.addr.eq(self.i.payload.output)", "use.addr.eq(numbers[0])"),
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
        "bus.error.eq(bus.write & (self.busy | ~in_range))",
        "bus.error.eq(bus.write & ~in_range)",
    ),
    Mutant("shift range not checked", "registers.py", " & (asked.shift < 1 << SHIFT_BITS)", ""),
    Mutant("partial bus writes accepted", "axi_lite.py", "bus.write.eq(write & whole)", "bus.write.eq(write)"),
    Mutant("bus errors not reported", "axi_lite.py", "Mux(whole & ~bus.error, OKAY, SLVERR)", "OKAY"),
    Mutant(
        "bus reads while it writes",
        "axi_lite.py",
        "show = asked & ~shown & ~write & ~axi.rvalid",
        "show = asked & ~shown & ~axi.rvalid",
    ),
)

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
    passed, failed, log = run_bench(bench, "icarus", Path("build", bench.name).resolve())
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
        for bench in BENCHES:
            passed, failed = run_trial(folder, bench)
            if passed + failed < 2:
                return "broken", f"{bench} did not run"
            if failed:
                return "killed", f"{bench} ({failed} of {passed + failed} tests)"
    return "survived", ""


def main() -> None:
    """Command line; exit status 1 unless all mutants are killed."""
    parser = argparse.ArgumentParser(prog="python -m tb.mutants", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", default="", help="only mutants whose file or fault contains this text")
    options = parser.parse_args()
    if hint := missing("icarus"):
        print(hint, file=sys.stderr)
        sys.exit(1)
    verdict, by = kill(None)
    if verdict != "survived":
        print(f"the unchanged hardware does not pass: {verdict} by {by}", file=sys.stderr)
        sys.exit(1)
    chosen = [mutant for mutant in MUTANTS if options.only in mutant.file or options.only in mutant.fault]
    table = Table("fault", "file", "verdict", "by")
    killed = 0
    for number, mutant in enumerate(chosen, 1):
        verdict, by = kill(mutant)
        killed += verdict == "killed"
        table.add_row(mutant.fault, mutant.file, verdict, by)
        print(f"{number}/{len(chosen)} {mutant.fault}: {verdict}", file=sys.stderr, flush=True)
    Console(width=120).print(table)
    print(f"{killed} of {len(chosen)} mutants killed")
    sys.exit(0 if killed == len(chosen) else 1)


if __name__ == "__main__":
    main()
