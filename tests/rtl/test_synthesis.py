"""Cost tables that are made in pieces, and the wires that timing assumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crossvote.rtl import asic
from crossvote.rtl.liberty import read
from crossvote.rtl.synthesis import CellCounts, merged, read_table, write_table


def test_rows_are_sorted_and_replaced() -> None:
    rows: list[CellCounts] = []
    for variant, lanes, gates in (("map", 8, 1), ("plain", 8, 2), ("plain", 1, 3), ("map", 8, 4)):
        rows = merged(rows, CellCounts(variant, lanes, gates, 0, 0))
    assert [(row.variant, row.lanes, row.gates) for row in rows] == [("plain", 1, 3), ("plain", 8, 2), ("map", 8, 4)]


def test_a_table_goes_on_with_the_same_hardware_only(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    assert read_table(path) == {"cells": [], "ecp5": [], "asic": []}
    rows: dict[str, list[Any]] = {
        "cells": [CellCounts("plain", 1, 5, 6, 7)],
        "asic": [asic.AsicCost("plain", 1, 2.0, 1.0, 2.0, 2.0, (100.0,))],
    }
    write_table(path, rows)
    assert read_table(path) == {**rows, "ecp5": []}
    document = json.loads(path.read_text())
    document["cells"][0]["netlist"] = "of other hardware"
    path.write_text(json.dumps(document))
    assert read_table(path) == {"cells": [], "ecp5": [], "asic": rows["asic"]}


def test_a_liberty_file_gets_wires() -> None:
    text = asic.with_wires("/* cells */\nlibrary(osu) {\n  cell (INV) { }\n}\n")
    assert text.startswith('/* cells */\nlibrary(osu) {\n wire_load("assumed")')
    assert text.endswith('default_wire_load : "assumed";\n  cell (INV) { }\n}\n')
    with pytest.raises(ValueError, match="no library"):
        asic.with_wires("cell (INV) { }")


def test_no_concatenation_is_left_for_the_timing_tool() -> None:
    text = "module opc(a);\n  assign { \\a[3] , b, c } = { d, 2'h2 };\n  assign x = y;\nendmodule\n"
    wanted = ["  assign \\a[3] = d ;", "  assign b = 1'h1 ;", "  assign c = 1'h0 ;", "  assign x = y;"]
    assert asic.single_assignments(text).splitlines()[1:-1] == wanted


def test_a_latch_of_the_library_is_mapped_to() -> None:
    latch = """library(small) { cell (L) { latch (IQ, IQN) { data_in : "D"; enable : "G"; }
      pin(G) { direction : input; clock : true; } pin(D) { direction : input; }
      pin(Q) { direction : output; function : "IQ"; } } }"""
    assert "  L latch(.G(E), .D(D), .Q(Q));" in asic.latch_map(read(latch))
    with pytest.raises(ValueError, match="no latch"):
        asic.latch_map(read(latch.replace('"G"', '"!G"')))


def test_a_macro_is_as_large_as_those_it_follows_from() -> None:
    scale = (asic.LIBRARY_NM / asic.MACRO_NM) ** 2
    for words, size in ((16, 286.66 * 152.7), (256, 479.78 * 397.5)):
        assert asic.macro_um2(32 * words) == pytest.approx(size * scale, rel=1e-3)
