"""The throughput benchmark: what it measures is what it says, and docs/opc.md shows the result that is committed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from opc_hardware import needs_compiler

from benchmarks import opc_throughput
from benchmarks.opc_throughput import LANES, RESULTS, SECTION, Speed, row_blocks, section, table, verdict
from crossvote.rtl.parameters import OpcParameters
from crossvote.sim.peripheral import create_peripheral
from tb.stimulus import agreeing_codes, random_map

SPEEDS = [
    Speed(8, 1, "amaranth", 2_000, 1.0),
    Speed(8, 1, "cocotb, Icarus", 10_000, 0.5),
    Speed(8, 1, "cocotb, Verilator", 32_000, 0.5),
    Speed(8, 1, "compiled", 16_000_000, 2.0),
    Speed(32, 4, "cocotb, Verilator", 50_000, 1.0),
    Speed(32, 4, "compiled", 1_500_000, 1.0),
]


def test_the_document_shows_the_committed_result() -> None:
    if not RESULTS.is_file():
        pytest.skip("no committed measurement: run python -m benchmarks.opc_throughput")
    shown = SECTION.around(section(json.loads(RESULTS.read_text(encoding="utf-8"))))
    assert shown in SECTION.document.read_text(encoding="utf-8")


def test_goals_are_judged_by_the_numbers_in_the_table() -> None:
    lines = table(SPEEDS).splitlines()
    assert lines[2] == "| 8 | 1 | Amaranth's simulator | 2 k | 16 k | 4,000 |"
    assert lines[5] == "| 8 | 1 | compiled batch model (`verilator`) | 8 M | 64 M |  |"
    assert lines[6] == "| 32 | 4 | cocotb, Verilator | 50 k | 1.6 M | 30 |"
    assert verdict(SPEEDS).splitlines() == [
        "L = 8: 125 times cocotb on Verilator (goal 100, met), 64 M code pairs/s on one core (goal 50 M, met).",
        "L = 32: 30 times cocotb on Verilator (goal 100, missed), 48 M code pairs/s on one core (goal 50 M, missed).",
    ]


def test_publishing_replaces_the_table_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document, results = tmp_path / "opc.md", tmp_path / "results" / "opc_throughput.json"
    results.parent.mkdir()
    own = dataclasses.replace(SECTION, document=document)
    document.write_text(f"before\n{own.around('old')}\nafter\n")
    monkeypatch.setattr(opc_throughput, "SECTION", own)
    monkeypatch.setattr(opc_throughput, "RESULTS", results)
    for _ in range(2):
        opc_throughput.publish(SPEEDS)
        written = section(json.loads(results.read_text()))
        assert document.read_text() == f"before\n{own.around(written)}\nafter\n"
        assert table(SPEEDS) in written
    assert (tmp_path / "results" / "opc_throughput.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize("lanes", LANES)
def test_every_clock_cycle_of_the_measurement_takes_a_beat(lanes: int) -> None:
    parameters = OpcParameters(lanes=lanes)
    blocks = row_blocks(parameters)
    steps = parameters.columns
    ten, twenty = (parameters.cycles(vectors, blocks, steps) for vectors in (10, 20))
    assert twenty - ten == 10 * parameters.beats(blocks)
    assert blocks == 1 or parameters.cycles(2, blocks - 1, steps) - parameters.cycles(1, blocks - 1, steps) > (
        parameters.beats(blocks - 1)
    )


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("lanes", [32, 128])
def test_wide_compiled_models_give_the_integers_of_the_reference(lanes: int) -> None:
    parameters = OpcParameters(lanes=lanes)
    rng = np.random.default_rng(lanes)
    opc_map = random_map(rng, parameters)
    for blocks in (1, row_blocks(parameters)):
        codes = agreeing_codes(rng, parameters, opc_map, 5, blocks, wrong=0.3)
        results = []
        for backend in ("numpy", "verilator"):
            peripheral = create_peripheral(backend, parameters)
            peripheral.load_map(opc_map)
            results.append(peripheral.process(codes))
        expected, got = results
        assert got.outputs.tolist() == expected.outputs.tolist()
        assert (got.disagreements, got.cycles) == (expected.disagreements, expected.cycles)
