from __future__ import annotations

import csv
import gzip
import itertools
import json
import math
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
import tomli_w

from crossvote.sim.chip.bill import prices
from crossvote.sim.chip.config import load_chip
from crossvote.sim.chip.shipped import chip_presets
from crossvote.sim.common.schema import to_mapping
from crossvote.sim.kernel import Trace
from crossvote.sim.system.cost_tables import bottleneck_table, compare, critical_path, ledger
from crossvote.sim.system.diagram import diagram
from crossvote.sim.system.dimensions import Dimensions, bert_workload
from crossvote.sim.system.energy import total_actions
from crossvote.sim.system.group_work import DenseLayout
from crossvote.sim.system.model import simulate
from crossvote.sim.system.report import crossbar_rows, read_energy, write_report
from crossvote.sim.system.run_pictures import occupancy
from crossvote.sim.system.summary import bottlenecks, summary
from crossvote.sim.system.what_if import what_if

CHIP = load_chip("crossvote")
TINY = Dimensions(layers=2, hidden=64, intermediate=128, heads=2)


def run(**options):
    return simulate(bert_workload(TINY, CHIP, 12, DenseLayout(**options)), CHIP, sequences=2)


def test_everything_is_written_and_equal_runs_give_equal_files(tmp_path):
    def once(folder):
        trace = Trace()
        results = {
            "unprotected": run(),
            "protected": simulate(
                bert_workload(TINY, CHIP, 12, DenseLayout(2, "crossbar")), CHIP, sequences=2, trace=trace
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
    traced = json.loads(gzip.decompress(first["trace.json.gz"]))["traceEvents"]
    spans = [e for e in traced if e["ph"] == "X"]
    # Two sequences of 12 tokens: four groups and six digital operations in each of two layers, and the host link;
    # bus, reads and conversions of every group; and the links that can hold a token back.
    names = {e["tid"]: e["args"]["name"] for e in traced if e["name"] == "thread_name"}
    links = [e for e in spans if names[e["tid"]].startswith("network.")]
    assert len(spans) - len(links) == 2 * 12 * (2 * (10 + 3 * 4) + 1)
    assert links
    assert [e["ts"] for e in spans] == sorted(e["ts"] for e in spans)
    for thread in names:
        own = sorted((e["ts"], e["ts"] + e["dur"]) for e in spans if e["tid"] == thread)
        assert all(a[1] <= b[0] + 1e-9 for a, b in itertools.pairwise(own)), names[thread]
    rows = list(csv.DictReader((tmp_path / "a" / "energy.csv").read_text().splitlines()))
    own = [row for row in rows if row["result"] == "protected"]
    dynamic = sum(float(row["energy_pj"]) for row in own if row["kind"] == "dynamic")
    assert dynamic == pytest.approx(results["protected"].dynamic_energy_pj)
    assert sum(float(row["energy_pj"]) for row in own) == pytest.approx(results["protected"].total_energy_pj)


def test_the_occupancy_picture_names_roles_and_votes():
    """One letter per tile in use; a dot where replicas vote."""
    plain, voted = run(), run(replicas=2, vote="crossbar")
    texts = [list(ET.fromstring(occupancy(r.placement)).itertext()) for r in (plain, voted)]
    assert sum(text.strip() in {"A", "O", "1", "2"} for text in texts[0]) == plain.placement.tiles
    assert sum(text.strip() in {"A.", "O.", "1.", "2."} for text in texts[1]) == voted.placement.tiles
    said = [" ".join(own) for own in texts]
    meanings = {"A": "Q, K and V", "O": "output", "1": "feed-forward, up", "2": "feed-forward, down"}
    for letter, meaning in meanings.items():
        assert (f"{letter}: {meaning}" in said[0]) == any(text.strip() == letter for text in texts[0])
    assert "A: Q, K and V" in said[1]
    assert ["dot: replicas vote" in text for text in said] == [False, True]
    assert not any("head" in text for text in said)


def test_the_occupancy_picture_shows_where_copies_are():
    """Copies in a crossbar darken it; what is said is counted in the image of the workload."""
    plain, voted = run(), run(replicas=2, vote="crossbar")
    groups = [place for layer in voted.placement.groups for place in layer.values()]
    blocks = sum(place.group.blocks for place in groups)
    assert f"{blocks} of {blocks} crossbar blocks hold copies" in occupancy(voted.placement)
    assert f"0 of {sum(p.group.blocks for g in plain.placement.groups for p in g.values())} crossbar" in occupancy(
        plain.placement
    )
    for place in groups:
        assert place.group.copies.tolist() == (place.group.lines * 2 // 9).tolist()


def test_the_energy_of_another_table_needs_no_simulation(tmp_path):
    write_report(tmp_path, {"a": run()})
    own = read_energy(tmp_path / "system.json")["a"]
    assert own == run().dynamic_energy_pj
    cheap = tmp_path / "cheap.toml"
    chip = to_mapping(CHIP)
    chip["override"] = {"adc": {"energy_pj": {"conversion": 0.0}}}
    cheap.write_text(tomli_w.dumps(chip))
    saved = total_actions(run().actions)["conversion"] * prices(CHIP)["conversion"]
    assert own - read_energy(tmp_path / "system.json", str(cheap))["a"] == pytest.approx(saved)


@pytest.mark.parametrize("preset", ["crossvote", "prime-like", "isaac-ce"])
def test_every_crossbar_is_accounted_for_by_name(preset):
    chip = load_chip(preset)
    result = simulate(bert_workload(TINY, chip, 6), chip, sequences=2)
    rows = crossbar_rows(result)
    assert len(rows) == len({row["crossbar"] for row in rows}) == result.placement.crossbars
    assert rows[0]["crossbar"] == "chip0.tile0.ima0.xb0"
    totals = total_actions(result.actions)
    blocks = sum(g.read_blocks for layer in result.workload.layers for g in layer.groups.values())
    assert sum(row["reads"] for row in rows) == 2 * 6 * blocks * chip.signs * chip.reads
    assert sum(row["conversions"] for row in rows) == totals["conversion"]
    assert all(0 < float(row["utilisation"]) <= 1 for row in rows)


def test_schemes_stand_side_by_side_with_their_totals():
    results = {"unprotected": run(), "protected": run(replicas=2, vote="crossbar")}
    table = compare(results)
    assert table[0] == ["", "unprotected", "protected"]
    rows = {row[0]: row[1:] for row in table[1:]}

    def shown(title):
        return float(rows[title][0].replace(",", ""))

    parts = ("of it dynamic, uJ", "of it leakage (alone), uJ", "of it static (alone), uJ")
    total = results["unprotected"].total_energy_pj / 2 / 1e6
    assert shown("TOTAL energy of a sequence alone, uJ") == pytest.approx(total, rel=1e-5)
    assert sum(shown(part) for part in parts) == pytest.approx(total, rel=1e-5)
    assert shown("TOPS/W of total energy, alone") < shown("TOPS/W of dynamic energy only") / 10
    assert "(+" in rows["dynamic energy of ADCs, uJ"][1]
    assert rows["bound by"][0] == "crossbars (crossbar read)"


def test_full_load_is_more_than_the_average_and_written_cells_have_a_lifetime():
    values = summary(run())
    assert values["average_power_w"] < values["full_load_power_w"]
    assert "lifetime of cells written for attention, days" not in {row[0] for row in compare({"a": run()})}
    chip = load_chip("crossvote", {"digital": {"attention": "reram-write"}})
    written = simulate(bert_workload(TINY, chip, 12), chip, resolution="matrix", sequences=8)
    rows = {row[0]: row[1:] for row in compare({"a": written})}
    days = 1e8 * written.interval_ps * 1e-12 / 86_400
    assert float(rows["lifetime of cells written for attention, days"][0]) == pytest.approx(days, rel=1e-4)


def test_one_sequence_has_no_throughput_and_says_so():
    result = simulate(bert_workload(TINY, CHIP, 12), CHIP, resolution="matrix")
    rows = {row[0]: row[1:] for row in compare({"a": result})[1:]}
    assert rows["throughput of a full pipeline, TOPS"] == ["not measured"]
    stream = simulate(bert_workload(TINY, CHIP, 12), CHIP, resolution="matrix", sequences=12)
    values = summary(result, stream)
    assert values["latency_us"] == result.latency_ps / 1e6
    assert values["interval_us"] == stream.interval_ps / 1e6 < values["latency_us"]
    still = values["power_at_rest_w"]
    streamed = (
        values["dynamic_uj_per_sequence"] + (still["static"] + still["leakage_gating_none"]) * values["interval_us"]
    )
    assert values["energy_uj_per_sequence_streamed"] == pytest.approx(streamed)


def test_the_ledger_names_what_protection_costs_against_both_baselines():
    options = {
        "dense": {},
        "plain": {"pruned": 0.25},
        "voted": {"pruned": 0.25, "replicas": 2, "vote": "crossbar", "embedded": True, "flipped": 1},
        "shared": {"pruned": 0.25, "replicas": 2, "vote": "output", "embedded": True, "flipped": 1},
    }
    table = ledger({name: run(**chosen) for name, chosen in options.items()}, "dense", "plain")
    assert table[0][1:] == ["dense", "plain", "voted", "shared"]
    rows = {row[0]: row[1:] for row in table[1:]}

    def against(title, scheme):
        """Shares against the dense and the pruned model."""
        text = rows[title][scheme].split("(")[1]
        return [float(part.strip(" )%")) for part in text.split(",")]

    dense, plain = against("energy of conversions, uJ", 2)
    assert dense == pytest.approx(100 * (0.75 * 9 / 7 - 1), abs=0.06)
    assert plain == pytest.approx(100 * (9 / 7 - 1), abs=0.06)
    # Look-ups and votes are protection's own: neither baseline has them.
    assert rows["energy of map look-ups, uJ"][:2] == ["0", "0 (-)"]
    assert rows["energy of votes, uJ"][:2] == ["0", "0 (-)"]
    assert against("conducting cells on driven word lines", 2)[1] > 100
    assert against("area, mm2", 2)[1] > 0
    assert against("programming once, uJ", 2)[1] > 28
    assert "energy of requantisation, uJ" in rows


def test_the_busiest_unit_comes_first():
    result = run()
    shares = [unit.utilisation for unit in bottlenecks(result)]
    assert shares == sorted(shares, reverse=True)
    table = bottleneck_table(result, most=3)
    assert float(table[1][3]) == pytest.approx(bottlenecks(result)[0].busy_ps / bottlenecks(result)[0].servers / 2e6)
    assert [row[0] for row in table] == ["unit", *(unit.unit for unit in bottlenecks(result)[:3])]
    assert summary(result)["bound_by"] == bottlenecks(result)[0].kind


def test_what_if_finds_the_bottleneck():
    chip = load_chip("crossvote", {"digital": {"lanes_per_tile": 1}})
    work = bert_workload(Dimensions(1, 64, 512, 2), chip, 16)
    ratios = {name: latency for name, latency, _ in what_if(work, chip)}
    assert min((name for name in ratios if " and " not in name), key=ratios.get) == "twice the vector lanes"
    assert ratios["twice the ADCs"] == 1.0


def test_what_if_shows_two_that_only_help_together():
    """Reads take 100 ns and 128 conversions 99.97: each alone brings nothing, both together nearly half."""
    chip = load_chip("crossvote", {"digital": {"lanes_per_tile": 64, "macs_per_tile": 64}})
    work = bert_workload(Dimensions(1, 128, 128, 2), chip, 32)
    rows = {name: (latency, interval) for name, latency, interval in what_if(work, chip)}
    assert min(rows["reads twice as fast"][0], rows["twice the ADCs"][0]) > 0.85
    assert rows["reads twice as fast and twice the ADCs"][1] == pytest.approx(0.5, abs=0.02)
    assert rows["reads twice as fast and twice the ADCs"][0] < 0.75
    assert "twice the OPC clock and twice the queues" not in rows


def test_what_no_model_covers_when_doubled_says_so():
    chip = load_chip("crossvote", {"network": {"flit_bits": 512}})
    rows = {name: ratios for name, *ratios in what_if(bert_workload(Dimensions(1, 64, 64, 2), chip, 4), chip)}
    assert all(math.isnan(ratio) for ratio in rows["twice the link width"])
    assert [name for name, ratios in rows.items() if math.isnan(ratios[0])] == ["twice the link width"]


def test_the_latency_is_split_at_the_barrier():
    result = run()
    rows = critical_path(result)
    assert [row[0] for row in rows] == ["layer", "0", "1"]
    assert rows[0][6] == "next begins after, us"
    for (start, end), barrier, row in zip(result.layer_ps, result.barrier_ps, rows[1:], strict=True):
        assert start < barrier < end
        assert float(row[4]) + float(row[5]) == pytest.approx((end - start) / 1e6, abs=2e-3)
    whole = (result.layer_ps[-1][1] - result.layer_ps[0][0]) / 1e6
    assert sum(float(row[6]) for row in rows[1:]) == pytest.approx(whole, abs=2e-3)


@pytest.mark.parametrize("preset", chip_presets())
def test_the_diagram_shows_the_chip_s_own_numbers(preset):
    chip = load_chip(preset)
    text = "".join(ET.fromstring(diagram(chip)).itertext())
    assert f"{chip.crossbar.rows} x {chip.crossbar.columns}" in text
    assert f"chip '{preset}': {chip.package.tiles} tiles" in text
    assert f"{chip.adc.bits} bit" in text


def test_results_are_read_without_the_library_of_the_rtl() -> None:
    """It takes as long to load as several figures take to draw, and a report needs nothing of it."""
    code = "import crossvote.sim.system.cost_tables, sys; sys.exit('amaranth' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
