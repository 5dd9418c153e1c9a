from __future__ import annotations

import csv
import gzip
import json
import xml.etree.ElementTree as ET

import pytest

from crossvote.sim.chip.config import chip_presets, load_chip
from crossvote.sim.kernel import Trace
from crossvote.sim.system.diagram import diagram
from crossvote.sim.system.energy import total_actions
from crossvote.sim.system.model import simulate
from crossvote.sim.system.report import (
    bottleneck_table,
    bottlenecks,
    compare,
    crossbar_rows,
    read_energy,
    summary,
    what_if,
    write_report,
)
from crossvote.sim.system.workload import Dimensions, bert_workload

CHIP = load_chip("crossvote")
TINY = Dimensions(layers=2, hidden=64, intermediate=128, heads=2)


def run(**options):
    return simulate(bert_workload(TINY, CHIP, 12, **options), CHIP, sequences=2)


def test_everything_is_written_and_equal_runs_give_equal_files(tmp_path):
    def once(folder):
        trace = Trace()
        results = {
            "unprotected": run(),
            "protected": simulate(
                bert_workload(TINY, CHIP, 12, replicas=2, vote="crossbar"), CHIP, sequences=2, trace=trace
            ),
        }
        files = write_report(folder, results, trace)
        return results, {path.name: path.read_bytes() for path in files}

    results, first = once(tmp_path / "a")
    assert first == once(tmp_path / "b")[1]
    assert {"system.json", "units.csv", "trace.json.gz", "diagram.svg", "occupancy.svg"} <= set(first)
    for name, data in first.items():
        if name.endswith(".svg"):
            assert ET.fromstring(data).tag.endswith("svg")
    energies = read_energy(tmp_path / "a" / "system.json")
    assert energies == {name: result.dynamic_energy_pj for name, result in results.items()}
    spans = [e for e in json.loads(gzip.decompress(first["trace.json.gz"]))["traceEvents"] if e["ph"] == "X"]
    # Two sequences of 12 tokens: four groups and six digital operations in each of two layers, and the host link.
    assert len(spans) == 2 * 12 * (2 * 10 + 1)
    rows = list(csv.DictReader((tmp_path / "a" / "energy.csv").read_text().splitlines()))
    total = sum(float(row["energy_pj"]) for row in rows if row["result"] == "protected")
    assert total == pytest.approx(results["protected"].dynamic_energy_pj)


def test_the_energy_of_another_table_needs_no_simulation(tmp_path):
    write_report(tmp_path, {"a": run()})
    own = read_energy(tmp_path / "system.json")["a"]
    assert read_energy(tmp_path / "system.json", "neurosim-22nm")["a"] < own


@pytest.mark.parametrize("preset", ["crossvote", "prime-like", "isaac-ce"])
def test_every_crossbar_is_accounted_for_by_name(preset):
    chip = load_chip(preset)
    result = simulate(bert_workload(TINY, chip, 6), chip, sequences=2)
    rows = crossbar_rows(result)
    assert len(rows) == len({row["crossbar"] for row in rows}) == result.placement.crossbars
    assert rows[0]["crossbar"] == "chip0.tile0.ima0.xb0"
    totals = total_actions(result.actions)
    assert sum(row["reads"] for row in rows) == totals["crossbar_read"]
    assert sum(row["conversions"] for row in rows) == totals["conversion"]
    assert all(0 < float(row["utilisation"]) <= 1 for row in rows)


def test_schemes_stand_side_by_side():
    table = compare({"unprotected": run(), "protected": run(replicas=2, vote="crossbar")})
    assert table[0] == ["", "unprotected", "protected"]
    rows = {row[0]: row[1:] for row in table[1:]}
    assert float(rows["dynamic energy per sequence, uJ"][0].replace(",", "")) > 0
    assert "(+" in rows["energy of ADCs, uJ"][1]
    assert rows["bound by"][0] == "crossbars (crossbar read)"


def test_the_busiest_unit_comes_first():
    result = run()
    shares = [unit.utilisation for unit in bottlenecks(result)]
    assert shares == sorted(shares, reverse=True)
    table = bottleneck_table(result, most=3)
    assert [row[0] for row in table] == ["unit", *(unit.unit for unit in bottlenecks(result)[:3])]
    assert summary(result)["bound_by"] == bottlenecks(result)[0].kind


def test_what_if_finds_the_bottleneck():
    chip = load_chip("crossvote", {"digital": {"lanes_per_tile": 1}})
    work = bert_workload(Dimensions(1, 64, 512, 2), chip, 16)
    ratios = {name: latency for name, latency, _ in what_if(work, chip)}
    assert min(ratios, key=ratios.get) == "twice the vector lanes"
    assert ratios["twice the ADCs"] == 1.0


@pytest.mark.parametrize("preset", chip_presets())
def test_the_diagram_shows_the_chip_s_own_numbers(preset):
    chip = load_chip(preset)
    text = "".join(ET.fromstring(diagram(chip)).itertext())
    assert f"{chip.crossbar.rows} x {chip.crossbar.columns}" in text
    assert f"chip '{preset}': {chip.package.tiles} tiles" in text
    assert f"{chip.adc.bits} bit" in text
