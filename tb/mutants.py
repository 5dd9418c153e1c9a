"""Mutation check: every deliberate fault in the hardware description must make a bench fail.

    python -m tb.mutants                 # all mutants, prints the score
    python -m tb.mutants --only voter    # those whose file name contains "voter"
    python -m tb.mutants --seconds 200   # in pieces: verdicts are kept while their hardware and benches stay the same
    python -m tb.mutants --random 200    # as many that Yosys draws over an OPC's netlist (see tb.random_mutants)
    python -m tb.mutants --random 200 --target tile --seconds 200 --simulator verilator    # faster

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
from functools import cache
from pathlib import Path

from rich.console import Console
from rich.table import Table

from crossvote.rtl.export import write_atomic
from crossvote.sim.common.code import code_digest, without_text
from tb.named_mutants import BY_KEY, MUTANTS, Mutant, benches_of, key
from tb.run import BENCHES as ALL_BENCHES
from tb.run import SIMULATORS, missing

ROOT = Path(__file__).resolve().parents[1]
VERDICTS = ROOT / "benchmarks" / "results" / "mutants.json"
DRAWN = VERDICTS.with_name("random_mutants.json")
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


def draw(
    name: str, number: int, seed: int, kept: Path, seconds: float = float("inf"), simulator: str = "icarus"
) -> float:
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
        for mutant, one in trials(TARGETS[name], number, seed, Path(folder), document.get(name, {}), simulator):
            found[mutant.key] = one
            if one != document.get(name, {}).get(mutant.key):
                document[name] = document.get(name, {}) | {mutant.key: one}
                write_atomic(kept, json.dumps(document, indent=1) + "\n")
                print(f"{mutant.key}: {one['verdict']}", file=sys.stderr, flush=True)
            if time.monotonic() - begun > seconds:
                break
    table = Table("survivor", "source", "why nothing of it can be seen")
    for drawn, one in found.items():
        if one["verdict"] == "survived":
            table.add_row(drawn, one["source"], argued.get(drawn, ""))
    Console(width=160).print(table)
    killed = sum(one["verdict"] == "killed" for one in found.values())
    equivalent = sum(one["verdict"] == "survived" and drawn in argued for drawn, one in found.items())
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


def main() -> None:
    """Command line; exit status 1 unless all mutants are killed."""
    parser = argparse.ArgumentParser(prog="python -m tb.mutants", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", default="", help="only mutants whose file or fault contains this text")
    parser.add_argument("--verdicts", type=Path, default=VERDICTS, help="where they are kept, and not found out again")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no other mutant after so long")
    parser.add_argument("--trust", action="store_true", help="do not try the unchanged hardware first (make sim does)")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="N mutants drawn by Yosys instead")
    parser.add_argument("--target", choices=("opc", "tile"), default="opc", help="whose netlist they are drawn in")
    parser.add_argument("--simulator", choices=SIMULATORS, default="icarus", help="what drawn mutants are tried under")
    parser.add_argument("--drawn", type=Path, default=DRAWN, help="where verdicts on drawn mutants are kept")
    parser.add_argument("--seed", type=int, default=1, help="of the drawn mutants")
    parser.add_argument("--goal", type=float, default=0.95, help="share of the drawn ones that must be killed")
    options = parser.parse_args()
    if hint := missing(options.simulator if options.random else "icarus"):
        print(hint, file=sys.stderr)
        sys.exit(1)
    if options.random:
        share = draw(options.target, options.random, options.seed, options.drawn, options.seconds, options.simulator)
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
