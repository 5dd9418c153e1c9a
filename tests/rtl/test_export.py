"""Verilog export: deterministic, described truthfully, and refused with a sentence where it cannot be done."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from verilog_text import registers_and_sources

from crossvote.rtl.export import export, to_verilog
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.registers import entry_word, scale_word

SMALL = OpcParameters(columns=16, lanes=4, planes=3, input_bits=4, adc_bits=5, row_blocks=3)
OPTIONS = ["--columns=16", "--lanes=4", "--planes=3", "--input-bits=4", "--adc-bits=5", "--row-blocks=3"]


def export_in_new_process(folder: Path, hash_seed: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "crossvote.rtl.export", str(folder), *options]
    environment = dict(os.environ, PYTHONHASHSEED=hash_seed)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_text_is_the_same_in_every_process(tmp_path: Path) -> None:
    source, description = export(SMALL, tmp_path / "here")
    for seed in ("1", "2"):
        result = export_in_new_process(tmp_path / seed, seed, *OPTIONS)
        assert result.returncode == 0, result.stderr
        assert (tmp_path / seed / "opc.v").read_text() == source.read_text()
        assert (tmp_path / seed / "opc.json").read_text() == description.read_text()
    assert str(Path(__file__).parents[2]) not in source.read_text()


def test_description_agrees_with_the_verilog(tmp_path: Path) -> None:
    source, description = export(SMALL, tmp_path)
    described = json.loads(description.read_text())
    assert described["parameters"] == dataclasses.asdict(SMALL)
    top = source.read_text().split("module opc(", 1)[1].split("endmodule", 1)[0]
    declared = {
        (name, {"input": "in", "output": "out"}[direction], int(high or 0) + 1)
        for direction, high, name in re.findall(r"^  (input|output)\s+(?:\[(\d+):0\] )?(\w+);", top, re.MULTILINE)
    }
    assert declared == {(port["name"], port["direction"], port["width"]) for port in described["ports"]}
    word = entry_word(line=1, operation=7, flip=True)
    fields = described["map"]["entry_fields"]
    values = {name: word >> low & (1 << width) - 1 for name, (low, width) in fields.items()}
    assert values == {"line": 1, "operation": 7, "flip": 1}
    operations = described["map"]["operations"]["values"]
    assert {"operation": 7, "vote": False, "end": True, "advance": 2} in operations


def test_impossible_parameters_are_one_sentence(tmp_path: Path) -> None:
    result = export_in_new_process(tmp_path / "out", "0", "--lanes=3")
    assert result.returncode == 2
    assert result.stderr == "error: lanes = 3 must be a power of two.\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("lanes", [1, 8])
def test_plain_opc_exports_without_map_and_voter(tmp_path: Path, lanes: int) -> None:
    plain = dataclasses.replace(SMALL, columns=8, lanes=lanes, voter=False, column_map=False)
    source, description = export(plain, tmp_path, "plain")
    assert "module plain(" in source.read_text()
    assert "voter" not in source.read_text()
    assert json.loads(description.read_text())["map"]["entries"] == 0


def test_scale_stage_is_described(tmp_path: Path) -> None:
    source, description = export(dataclasses.replace(SMALL, scale_bits=6), tmp_path)
    assert "scaler" in source.read_text()
    described = json.loads(description.read_text())["scales"]
    assert described["entries"] == SMALL.outputs
    word = scale_word(multiplier=37, shift=5)
    values = {name: word >> low & (1 << width) - 1 for name, (low, width) in described["entry_fields"].items()}
    assert values == {"multiplier": 37, "shift": 5}
    source, description = export(SMALL, tmp_path)
    assert "scale" not in source.read_text()
    assert json.loads(description.read_text())["scales"]["entries"] == 0


def test_every_register_has_a_name_and_a_source(tmp_path: Path) -> None:
    """Names are those of the description, so that waveforms and reports can be read; paths are relative."""
    source, _ = export(dataclasses.replace(SMALL, columns=32, lanes=16, scale_bits=6), tmp_path, bus="axi")
    text = source.read_text()
    names, sources = registers_and_sources(text)
    assert len(names) > 100
    assert [name for name in names if not re.fullmatch(r"[a-z]\w*(\.\w+)*", name)] == []
    assert {place.split("/")[0] for place in sources} <= {"rtl", "amaranth"}
    assert any(re.fullmatch(r"rtl/readout.py:\d+", place) for place in sources)


def test_nothing_follows_a_falling_edge(tmp_path: Path) -> None:
    """What lets the compiled model leave falling edges out, running the exported text as it is."""
    source, _ = export(dataclasses.replace(SMALL, scale_bits=6), tmp_path, bus="axi")
    edges = set(re.findall(r"@\s*\(([^)]*)\)", re.sub(r"/\*.*?\*/", "", source.read_text())))
    assert "posedge clk" in edges
    assert edges <= {"posedge clk", "*"}, edges


class Stepping(wiring.Component):  # type: ignore[misc]
    """A small state machine: what ends it, Amaranth makes while Python's ``contextlib`` closes its block."""

    def __init__(self) -> None:
        super().__init__({"go": In(1), "there": Out(1)})

    def elaborate(self, _: object) -> Module:
        m = Module()
        with m.FSM():
            with m.State("HERE"), m.If(self.go):
                m.next = "THERE"
            with m.State("THERE"):
                m.d.comb += self.there.eq(self.go)
                m.next = "AWAY"
            with m.State("AWAY"):
                m.d.comb += self.there.eq(1)
        return m


def test_no_line_of_pythons_library_is_named() -> None:
    """It would be another one in another version of Python, and the text with it."""
    _, sources = registers_and_sources(to_verilog(Stepping(), "stepping"))
    assert {place.split("/")[0] for place in sources} == {"rtl", "amaranth"}
