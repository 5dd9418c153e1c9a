"""The report renders from results alone, the same way every time, and says what the numbers say."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest
import synthetic_run as synthetic

from crossvote.sim.array.faults import FaultMap
from crossvote.swstack.report import figures
from crossvote.swstack.report import page as report


def write(folder, results=None):
    report.write_report(folder, results or synthetic.results(), synthetic.images(), synthetic.chip())
    return (folder / report.PAGE).read_text(encoding="utf-8")


def test_the_page_is_self_contained_and_carries_the_numbers(tmp_path):
    page = write(tmp_path)
    assert "<script" not in page
    assert not re.search(r'(src|href)="https?:', page)
    assert page.count("<svg") == 2
    assert "71.50" in page
    assert "n = 5" in page
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "index.html", "accuracy.svg", "accuracy.png", "accuracy.csv", "occupancy.svg", "occupancy.png",
        "sparsity.csv", "crossbars.csv", "cosimulation.csv",
    }  # fmt: skip


def test_equal_results_give_equal_bytes(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b")
    for path in (tmp_path / "a" / "report").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / "report" / path.name).read_bytes(), path.name


def test_csv_holds_every_point(tmp_path):
    write(tmp_path)
    with (tmp_path / "report" / "accuracy.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(synthetic.results()["eval"]["points"])
    assert {row["scheme"] for row in rows} == {"none", "paper", "best"}


def test_best_scheme_of_each_rate_is_marked_unless_it_is_at_chance_level():
    accuracy = synthetic.results()["eval"]
    table = report.accuracy_table(accuracy)
    assert table["best"][0.002]["best"]
    assert not table["none"][0.002]["best"]
    assert not table["best"][0.0]["best"]
    accuracy["chance"]["noise"] = 45.0
    assert not report.accuracy_table(accuracy)["best"][0.002]["best"]


@pytest.mark.parametrize("equal", [True, False])
def test_a_page_without_a_hardware_description_speaks_of_none(tmp_path, equal):
    page = write(tmp_path, synthetic.results(equal=equal, backend="numpy"))
    assert "no hardware description was simulated" in page
    assert not re.search(r"verilog|\bRTL\b|clock cycles of", page, re.IGNORECASE)
    assert "960</b>" in page
    assert f"integers of the NumPy model of the output peripheral, {'' if equal else 'NOT '}exact" in page


@pytest.mark.parametrize(
    ("backend", "what"),
    [
        ("verilator", "the Verilog of the output peripheral, compiled by Verilator"),
        ("amaranth", "the RTL of the output peripheral in Amaranth&#39;s simulator"),
    ],
)
def test_a_page_names_the_back_end_that_ran(tmp_path, backend, what):
    page = write(tmp_path, synthetic.results(backend=backend))
    assert what in page
    assert f"clock cycles of {what}, exact" in page
    assert "no hardware description" not in page
    assert ("Verilog" in page) == (backend == "verilator")


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.44, "8.4 s"), (59.97, "60.0 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_durations_read_well(seconds, text):
    assert report.duration(seconds) == text


def fault_at(group, word_line, bit_line, stuck_at, crossbar=0):
    cell = ((2 * group.first_pair + crossbar) * group.rows + word_line) * group.columns + bit_line
    return FaultMap(group.rows, group.columns, 2 * group.pairs, np.array([cell]), np.array([stuck_at]))


def test_fault_effects():
    """One fault at a time: on an unused line, on an idle word line, on a right value, on a replica, on a weight."""
    group = synthetic.images()["paper"].groups[0]
    kept = np.flatnonzero(group.kept_inputs[:128])
    idle = np.flatnonzero(~group.kept_inputs[:128])
    bits = group.block_cells(0)[0]
    used = group.column_map.used[:128]
    replica = np.flatnonzero(group.column_map.replica[:128] > 0)[0]
    single = np.flatnonzero(used & (group.column_map.plane[:128] == 2))[0]
    unused = np.flatnonzero(~used)[0]

    def effect(word_line, bit_line, stuck_at):
        words, lines, effects = figures.fault_effects(group, fault_at(group, word_line, bit_line, stuck_at))
        assert (words.tolist(), lines.tolist()) == ([word_line], [bit_line])
        return effects[0]

    at = kept[0]
    assert effect(at, unused, True) == "harmless"
    assert effect(idle[0], single, not bits[idle[0], single]) == "harmless"
    assert effect(at, single, bool(bits[at, single])) == "harmless"
    assert effect(at, replica, not bits[at, replica]) == "outvoted"
    assert effect(at, single, not bits[at, single]) == "changes a weight"


def test_two_wrong_replicas_are_not_outvoted():
    group = synthetic.images()["paper"].groups[0]
    at = np.flatnonzero(group.kept_inputs[:128])[0]
    places = next(votes for votes in group.column_map.vote_groups if votes.lines.shape[1] == 3)
    lines = next(own for own in places.lines if (own < 128).sum() >= 2)
    lines = lines[lines < 128][:2]
    bits = group.block_cells(0)[0]
    cells = np.sort(at * 128 + lines)
    stuck = np.array([not bits[at, line] for line in np.sort(lines)])
    _, _, effects = figures.fault_effects(group, FaultMap(128, 128, 2 * group.pairs, cells, stuck))
    assert effects.tolist() == ["changes a weight"] * 2
