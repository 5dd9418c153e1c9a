"""The report renders from results alone, the same way every time, and says what the numbers say."""

from __future__ import annotations

import base64
import csv
import dataclasses
import html
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import synthetic_run as synthetic
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import GroupImage, Image, MatrixImage
from crossvote.sim.common.plot_style import FIXED_INK, FIXED_PAPER, PALETTE, rate_axis
from crossvote.swstack.mapping.programming import QuantizedGroup, place_group
from crossvote.swstack.mapping.scheme import scheme_from
from crossvote.swstack.report import (
    chip_charts,
    claims,
    comparison,
    differences,
    explorer,
    figures,
    model_charts,
    paper,
    pictures,
    tables,
    weights,
)
from crossvote.swstack.report import page as report

#: All planes flipped, nothing beside them.
FLIPPED = scheme_from({"flip": "all"})
#: The made-up run has no attention, so no heads.
DRAWN = [name for name in pictures.NAMES if name != "heads"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report that no test changes."""
    folder = tmp_path_factory.mktemp("run")
    report.write_report(folder, synthetic.results(), synthetic.images(), synthetic.chip())
    return folder


@pytest.fixture(scope="module")
def text(written: Path) -> str:
    return (written / report.PAGE).read_text(encoding="utf-8")


def page(results: Mapping[str, Any]) -> str:
    """The page without its pictures, whose drawing takes longest."""
    stub = pictures.Drawing("<svg></svg>", "data:,", "a picture")
    return report.page(results, dict.fromkeys(pictures.NAMES, stub), synthetic.images(), synthetic.chip())


def test_the_page_is_self_contained_and_carries_the_numbers(text: str, written: Path) -> None:
    page = text
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert not re.search(r"https?://(?!www\.w3\.org|purl\.org|creativecommons\.org|matplotlib\.org)", page)
    assert page.count("<svg") == page.count('role="img" aria-label="') - 1 == len(DRAWN)
    assert "71.50" in page
    assert "n = 5" in page
    files = {f"{name}.{kind}" for name in DRAWN for kind in ("svg", "png", "csv")}
    assert {path.name for path in (written / "report").iterdir()} == {
        "index.html", "crossbars.csv", "cosimulation.csv", "synthesis.csv", *files
    }  # fmt: skip


def test_drawing_a_report_loads_no_library_that_trains() -> None:
    heavy = "{'torch', 'transformers', 'scipy.stats'}"
    code = f"import sys, crossvote.swstack.report.page; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_dark_page_can_turn_every_colour_that_is_not_the_pictures_own() -> None:
    """What an SVG draws black without saying so stays black; numbers on the blues of a map stay as they are."""
    svg = figures.inline_svg(f'<svg style="fill: {PALETTE[6]}; stroke: #ffffff"></svg>', "x", "text")
    assert "fill: var(--ink); stroke: var(--paper)" in svg
    assert "#000000" not in PALETTE
    heads = model_charts.head_figure(
        [{"matrix": "0.query", "head": head, "pruned": share} for head, share in enumerate((0.1, 0.9, 0.1))]
    )
    colours = {
        (number.get_label(), to_hex(colour))
        for number in heads.axes[0].collections
        for colour in number.get_facecolor()
    }
    assert colours == {("10", FIXED_INK), ("90", FIXED_PAPER)}
    assert not {FIXED_INK, FIXED_PAPER} & set(figures.THEMED)


def test_a_dark_page_turns_the_ground_of_the_crossbars_and_not_their_cells_or_marks(text: str) -> None:
    (svg,) = re.findall(r'id="figure-occupancy".*?(<svg.*?</svg>)', text, re.DOTALL)
    assert "fill: var(--paper)" in svg
    assert "fill: var(--ink)" in svg
    assert not set(figures.THEMED) & set(re.findall("#[0-9a-fA-F]{6}", svg))
    assert f"stroke: {FIXED_INK}" in svg  # the rings of stuck cells lie on cells, whose colours stay
    assert svg.count(f"fill: {FIXED_PAPER}") == 2  # in the legend: what is unused, and the cell under a ring


def test_paper_has_every_colour_of_the_light_page_whatever_the_screen_shows() -> None:
    style = (Path(report.__file__).parent / "style.css").read_text(encoding="utf-8")
    light, dark, printed = re.findall(r":root \{([^}]*)\}", style)
    assert re.findall(r"(--\w+): (#\w+)", printed) == re.findall(r"(--\w+): (#\w+)", light)
    assert set(re.findall(r"--\w+", dark)) == set(re.findall(r"--\w+", light))


def test_further_metrics_have_a_table_each() -> None:
    results = synthetic.results()
    own = results["eval"]["points"]
    more = [{**point, "metric": "perplexity", "mean": 12345.678 if point["rate"] else 3.5} for point in own]
    lost = [{**point, "metric": "f1", "mean": None, "sd": None} for point in own]
    results["eval"]["all_points"] = [{**point, "metric": "accuracy"} for point in own] + more + lost
    further = tables.further_metrics(results["eval"])
    assert list(further) == ["perplexity", "f1"]
    assert list(further["perplexity"]) == ["none", "paper", "best"]
    text = page(results)
    assert "perplexity (less is better), mean" in text
    assert ">1.235e+04 " in text
    assert ">3.5<" in text
    assert "f1, %, mean" in text
    assert "perplexity" not in page(synthetic.results())


def test_ids_of_the_page_are_its_own(text: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_the_data_of_every_figure_is_in_the_page(text: str, written: Path) -> None:
    page = text
    for name in DRAWN:
        (data,) = re.findall(rf'download="{name}\.csv" href="data:text/csv;base64,([^"]+)"', page)
        assert base64.b64decode(data) == (written / "report" / f"{name}.csv").read_bytes()


def test_costs_stand_beside_what_is_kept(text: str) -> None:
    rows = {row["scheme"]: row for row in tables.overview(synthetic.results())}
    assert rows["paper"]["score"] == "82.10 %"
    assert rows["paper"]["tolerated"] == "0.05 %"
    assert rows["paper"]["costs"]["latency"] == pytest.approx(0.75)
    assert rows["none"]["tolerated"] == "none measured"
    assert "+75.0 %" in text
    assert "&#39;paper&#39; latency +75.0\N{NO-BREAK SPACE}%, throughput" in text


def test_a_run_without_costs_says_why() -> None:
    results = synthetic.results()
    results["simulate"] = {"tokens": 64, "skipped": "the chip is too odd.", "schemes": {}}
    found = page(results)
    assert "Costs were not simulated: the chip is too odd." in found
    assert "latency by" not in found


def test_a_model_at_chance_level_tolerates_nothing_on_the_page() -> None:
    found = page(synthetic.results(dense=51.0, pruned=50.2))
    assert 'class="verdict warn"' in found
    assert "stays within" not in found
    assert {row["tolerated"] for row in tables.overview(synthetic.results(pruned=50.2))} == {"none measured"}


def test_no_band_exceeds_what_a_metric_can_reach() -> None:
    points = synthetic.results()["eval"]["points"]
    high = [{**point, "mean": 99.0, "low": 80.0, "high": 118.0} for point in points]
    figure = figures.accuracy_figure(high, "accuracy", 99.5)
    (axes,) = figure.axes
    bands = [np.asarray(path.vertices)[:, 1].max() for band in axes.collections for path in band.get_paths()]
    assert max(bands) == 100
    assert axes.get_ylim()[1] <= 102


@pytest.mark.parametrize(("metric", "least"), [("accuracy", 0), ("matthews", -40), ("kendall", -40)])
def test_no_band_falls_below_what_the_metric_can_be(metric: str, least: float) -> None:
    point = {"scheme": "none", "metric": metric, "mean": 20.0, "low": -40.0, "high": 80.0}
    figure = figures.accuracy_figure([{**point, "rate": rate} for rate in (0.001, 0.01)], metric, 50.0)
    paths = [path for band in figure.axes[0].collections for path in band.get_paths()]
    bands = np.concatenate([np.asarray(path.vertices)[:, 1] for path in paths]).tolist()
    assert min(bands) == least


def test_bands_of_perplexities_go_beyond_a_hundred() -> None:
    point = {"scheme": "none", "metric": "perplexity", "mean": 200.0, "low": 150.0, "high": 250.0}
    figure = figures.accuracy_figure([{**point, "rate": rate} for rate in (0.001, 0.01)], "perplexity", 50.0)
    paths = [path for band in figure.axes[0].collections for path in band.get_paths()]
    bands = np.concatenate([np.asarray(path.vertices)[:, 1] for path in paths]).tolist()
    assert max(bands) == 250
    assert figure.axes[0].get_ylim()[1] > 250
    assert figure.axes[0].get_ylabel() == "perplexity (less is better)"


def test_the_line_of_one_answer_is_in_the_picture() -> None:
    points = [{"scheme": "a", "rate": rate, "mean": 45.0, "low": 45.0, "high": 45.0} for rate in (0.1, 0.2)]
    (axes,) = figures.accuracy_figure(points, "accuracy", 45.0, 54.7).axes
    assert axes.get_ylim()[0] < 45.0
    assert axes.get_ylim()[1] > 54.7


def test_no_legend_lies_over_a_curve() -> None:
    results = synthetic.results()
    for figure in (
        figures.accuracy_figure(results["eval"]["points"], "accuracy", 91.2, 50.0),
        differences.difference_figure(
            differences.paired_differences(results["eval"]["points"], "none"),
            "none",
            "accuracy",
            ["none", "paper", "best"],
        ),
        chip_charts.breakdown_figure({"energy": {"a": {"x": 1.0, "y": 2.0}}}),
    ):
        figure.draw_without_rendering()
        (legend,) = figure.legends
        for axes in figure.axes:
            assert not legend.get_window_extent().overlaps(axes.get_window_extent())


def test_paired_differences_are_over_the_same_chips() -> None:
    points = [
        {"scheme": "a", "rate": 0.1, "scores": (50.0, 70.0, 90.0)},
        {"scheme": "b", "rate": 0.1, "scores": (52.0, 73.0, 91.0)},
        {"scheme": "b", "rate": 0.2, "scores": (1.0,)},
    ]
    (row,) = differences.paired_differences(points, "a")
    assert (row["scheme"], row["rate"], row["chips"], row["mean"]) == ("b", 0.1, 3, 2.0)
    # Student's t of 2 degrees of freedom, standard deviation 1 over sqrt(3).
    assert row["high"] - row["mean"] == pytest.approx(4.303 / 3**0.5, rel=1e-3)


def test_groups_with_the_same_numbers_share_a_row() -> None:
    results = synthetic.results()
    results["prune"]["groups"] = [{**results["prune"]["groups"][0], "name": f"layer.{i}.ffn1"} for i in range(3)]
    for scheme in results["map"]["schemes"]:
        scheme["groups"] = scheme["groups"] * 3
    (row,) = tables.group_rows(results)
    assert row["name"] == "3 groups: layer.0.ffn1 … layer.2.ffn1"


def test_the_explorer_holds_what_the_image_holds() -> None:
    images = synthetic.images()
    data = json.loads(explorer.explorer_data(images, synthetic.chip()))
    assert list(data) == list(images)
    one, group = data["paper"]["layer.0.ffn1"], images["paper"].groups[0]
    cells = np.unpackbits(np.frombuffer(base64.b64decode(one["cells"]), np.uint8))[: 128 * 128].reshape(128, 128)
    assert np.array_equal(cells, group.block_cells(0)[0][:, :128])
    assert one["output"] == group.column_map.output[:128].tolist()
    words, lines, effects = figures.fault_effects(group, synthetic.chip())
    named = ["harmless", "outvoted", "changes a weight"]
    assert [(w, b, named[e]) for w, b, _, e in one["stuck"]] == list(zip(words, lines, effects, strict=True))


def test_equal_results_give_equal_bytes(tmp_path: Path, written: Path) -> None:
    report.write_report(tmp_path, synthetic.results(), synthetic.images(), synthetic.chip())
    for path in (tmp_path / "report").iterdir():
        assert path.read_bytes() == (written / "report" / path.name).read_bytes(), path.name


def test_csv_holds_every_point(written: Path) -> None:
    with (written / "report" / "accuracy.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(synthetic.results()["eval"]["points"]) + len(paper.rows())
    assert {row["scheme"] for row in rows} == {"none", "paper", "best", *paper.MEANS}


def test_best_scheme_of_each_rate_is_marked_unless_it_is_at_chance_level() -> None:
    accuracy = synthetic.results()["eval"]
    table = tables.accuracy_table(accuracy)
    assert table["best"][0.002]["best"]
    assert not table["none"][0.002]["best"]
    assert not table["best"][0.0]["best"]
    accuracy["chance"]["noise"] = 45.0
    assert not tables.accuracy_table(accuracy)["best"][0.002]["best"]


def test_schemes_that_know_the_stuck_cells_have_tables_of_their_own() -> None:
    results, images = synthetic.results(), synthetic.images()
    images["best"] = dataclasses.replace(images["best"], protection={"name": "best", "knows_faults": True})
    stub = pictures.Drawing("<svg></svg>", "data:,", "a picture")
    found = report.page(results, dict.fromkeys(pictures.NAMES, stub), images, synthetic.chip())
    parts = re.findall(r"<caption>([^<]*)</caption>.*?<tbody>(.*?)</tbody>", found, re.DOTALL)
    for title in ("Protection schemes on the same chips", "mean ± standard deviation"):
        rows = {
            caption.endswith("known stuck cells of each chip"): re.findall(r'<th scope="row">(\w+)</th>', body)
            for caption, body in parts
            if title in caption
        }
        assert rows == {False: ["none", "paper"], True: ["best"]}
    parts = tables.scheme_parts({name: image.protection for name, image in images.items()})
    table = tables.accuracy_table(results["eval"], parts)
    assert table["best"][0.002]["best"]
    assert table["paper"][0.002]["best"]
    assert len(tables.scheme_parts({name: {"name": name} for name in images})) == 1


@pytest.mark.parametrize("equal", [True, False])
def test_a_page_without_a_hardware_description_speaks_of_none(equal: bool) -> None:
    # The command that counted gates, long before this run, has the word in its name.
    found = page(synthetic.results(equal=equal, backend="numpy")).replace("python -m crossvote.rtl.synthesis", "")
    assert "no hardware description was simulated" in found
    assert not re.search(r"verilog|\bRTL\b|clock cycles of", found, re.IGNORECASE)
    assert "960</b>" in found
    assert f"integers of the NumPy model of the output peripheral, {'' if equal else 'NOT '}exact" in found


@pytest.mark.parametrize(
    ("backend", "what"),
    [
        ("verilator", "the Verilog of the output peripheral (compiled by Verilator)"),
        ("amaranth", "the RTL of the output peripheral in Amaranth&#39;s simulator"),
    ],
)
def test_a_page_names_the_back_end_that_ran(backend: str, what: str) -> None:
    found = page(synthetic.results(backend=backend))
    assert what in found
    assert f"clock cycles of {what}, exact" in found
    assert "no hardware description" not in found
    assert ("Verilog" in found) == (backend == "verilator")


def fault_at(group: GroupImage, word_line: int, bit_line: int, stuck_at: bool, crossbar: int = 0) -> FaultMap:
    cell = ((2 * group.first_pair + crossbar) * group.rows + word_line) * group.columns + bit_line
    return FaultMap(group.rows, group.columns, 2 * group.pairs, np.array([cell]), np.array([stuck_at]))


def test_fault_effects() -> None:
    """One fault at a time: on an unused line, on an idle word line, on a right value, on a replica, on a weight."""
    group = synthetic.images()["paper"].groups[0]
    kept = np.flatnonzero(group.kept_inputs[:128])
    idle = np.flatnonzero(~group.kept_inputs[:128])
    bits = group.block_cells(0)[0]
    used = group.column_map.used[:128]
    replica = np.flatnonzero(group.column_map.replica[:128] > 0)[0]
    single = np.flatnonzero(used & (group.column_map.plane[:128] == 2))[0]
    unused = np.flatnonzero(~used)[0]

    def effect(word_line: int, bit_line: int, stuck_at: bool) -> str:
        words, lines, effects = figures.fault_effects(group, fault_at(group, word_line, bit_line, stuck_at))
        assert (words.tolist(), lines.tolist()) == ([word_line], [bit_line])
        return str(effects[0])

    at = kept[0]
    assert effect(at, unused, True) == "harmless"
    assert effect(idle[0], single, not bits[idle[0], single]) == "harmless"
    assert effect(at, single, bool(bits[at, single])) == "harmless"
    assert effect(at, replica, not bits[at, replica]) == "outvoted"
    assert effect(at, single, not bits[at, single]) == "changes a weight"


@pytest.mark.parametrize("checked", [False, True])
def test_the_lines_of_checksums_are_drawn_as_used(checked: bool) -> None:
    q = np.random.default_rng(1).integers(-127, 128, (40, 12)).astype(np.int32)
    matrix = MatrixImage("layer.0.dense", 0, 12, np.ones(1, np.float32), None)
    scheme = scheme_from({"checksum_bits": 3} if checked else {})
    group = place_group(
        QuantizedGroup("a", q, (matrix,), np.ones(40, np.bool_), np.ones(12, np.bool_)), scheme, 7, 128, 128
    )
    image = Image((group,), {}, input_bits=8, adc_bits=8)
    figure = figures.occupancy_figure([("own", image, FaultMap.empty(128, 128, 2 * group.pairs))], "a")
    title = figure.axes[0].get_title(loc="left")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert f"{84 + 3 * checked} of 128 bit lines used" in title
    assert ("3 hold checksums" in title, "checksum" in labels) == (checked, checked)


def test_two_wrong_replicas_are_not_outvoted() -> None:
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


def test_every_figure_is_laid_out_once_and_drawn_once_for_each_of_its_files_and_nothing_sticks_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Which most of a report's time goes into; left to Matplotlib it would be laid out anew for every file."""
    done: list[str] = []

    def count(kind: type, name: str) -> None:
        own = getattr(kind, name)
        monkeypatch.setattr(kind, name, lambda *given, **more: done.append(name) or own(*given, **more))  # type: ignore[func-returns-value]

    for kind, name in ((Figure, "draw"), (Figure, "get_tightbbox"), (ConstrainedLayoutEngine, "execute")):
        count(kind, name)
    results = synthetic.results()
    results["heads"] = (12, 12)
    pictures.write_pictures(tmp_path, results, synthetic.images(), synthetic.chip())
    files = sorted(tmp_path.glob("*.png"))
    assert {name: done.count(name) for name in done} == {"execute": len(files), "draw": 2 * len(files)}
    assert len(files) >= len(DRAWN)
    for file in files:
        paper = plt.imread(file)[:, :, :3].min(axis=2) == 1
        border = np.concatenate([paper[:8].ravel(), paper[-8:].ravel(), paper[:, :8].ravel(), paper[:, -8:].ravel()])
        assert border.all(), file.name


def test_long_names_are_not_cut_off(tmp_path: Path) -> None:
    """Of runs, schemes and metrics: in legends, and in titles and beside axes that are shorter than they are."""
    long = "a-scheme-whose-name-is-as-long-as-a-name-may-be-in-crossvote-64"
    costs = {scheme: {"latency": 0.5} for scheme in (long, f"{long}-too", "none")}
    chart = chip_charts.cost_figure(costs, dict.fromkeys(costs, 50.0), f"what is kept is called {long}")
    several = comparison.comparison_figure(dict.fromkeys((long, f"{long}-again"), synthetic.results()))
    for name, figure in (("cost", chart), ("several", several)):
        figures.save_figure(figure, tmp_path, name)
        pixels = plt.imread(tmp_path / f"{name}.png")
        for edge in (pixels[:6], pixels[-6:], pixels[:, :6], pixels[:, -6:]):
            assert edge[:, :, :3].min() == 1, name


def test_a_transfer_shorter_than_a_pixel_is_seen() -> None:
    rows = [{"unit": "bus", "start_us": 5.0, "end_us": 5.0001}, {"unit": "ADCs", "start_us": 0.0, "end_us": 1000.0}]
    (short, _) = chip_charts.timeline_figure(rows).axes[0].collections
    assert np.min(short.get_linewidth()) > 0.5
    assert np.array_equal(short.get_edgecolor(), short.get_facecolor())


def test_magnitudes_are_those_that_were_programmed() -> None:
    rng = np.random.default_rng(0)
    kept = rng.random(60) >= 0.35
    rows = rng.random(200) >= 0.1
    q = np.rint(rng.normal(0, 18, (200, 60))).clip(-127, 127).astype(int) * kept * rows[:, None]
    expected = np.bincount(np.abs(q[rows][:, kept]).ravel(), minlength=128)
    for image in synthetic.images().values():  # flipped planes and replicas change nothing
        counts, complete = weights.magnitudes(image)
        assert complete
        assert counts.tolist() == expected.tolist()
    value = np.arange(128)
    shares = [expected[(value >> plane) & 1 == 1].sum() / expected.sum() for plane in range(7)]
    assert weights.plane_shares(expected).tolist() == pytest.approx(shares)


@pytest.mark.parametrize("cell_bits", [2, 3])
def test_magnitudes_are_read_from_cells_of_several_bits_too(cell_bits: int) -> None:
    """Seven planes do not fill whole cells, and in flipped ones every level is the other way round."""
    q = np.random.default_rng(cell_bits).integers(-127, 128, (200, 12)).astype(np.int32)
    matrix = MatrixImage("layer.0.dense", 0, 12, np.ones(1, np.float32), None)
    every = np.ones(200, np.bool_), np.ones(12, np.bool_)
    group = place_group(QuantizedGroup("a", q, (matrix,), *every), FLIPPED, 7, 128, 128, cell_bits=cell_bits)
    assert group.column_map.flipped.any()
    counts, _ = weights.magnitudes(Image((group,), {}, input_bits=8, adc_bits=9))
    assert counts.tolist() == np.bincount(np.abs(q).ravel(), minlength=128).tolist()


def test_a_large_image_is_sampled_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MOST_CELLS", 1)
    counts, complete = weights.magnitudes(synthetic.images()["none"])
    assert not complete
    assert 0 < counts.sum() < 128 * 60


def test_heads_lose_the_columns_that_are_pruned() -> None:
    rows = weights.head_sparsity(synthetic.attention(), 4, 4)
    pruned = {(row["matrix"], row["head"]): row["pruned"] for row in rows}
    assert len(pruned) == 12
    assert pruned["layer.0.query", 0] == 1.0  # outputs 0 and 1
    assert pruned["layer.0.query", 1] == 0.5  # output 2 of 2 and 3
    assert pruned["layer.0.key", 0] == 0.5  # output 9 of 8 and 9
    assert sum(pruned.values()) == 2.0
    assert weights.head_sparsity(synthetic.attention(), 1, 1) == []
    assert model_charts.head_figure(rows).axes


def test_every_table_has_a_caption_and_its_headings_a_scope(text: str) -> None:
    tables_found = re.findall(r"<table[^>]*>(.*?)</table>", text, re.DOTALL)
    assert len(tables_found) >= 8
    for table in tables_found:
        assert table.strip().startswith("<caption>")
    assert re.findall(r"<th(?![^>]*scope=)[ >]", text) == []


def test_the_tolerated_rate_between_measured_rates_carries_an_interval() -> None:
    def points(first: list[float], second: list[float]) -> list[dict[str, Any]]:
        return [
            {"scheme": "a", "rate": rate, "mean": float(np.mean(scores)), "scores": scores}
            for rate, scores in ((0.001, first), (0.01, second))
        ]

    # From 0 to 2 points lost between 0.1 and 1 %: one point at the middle of the logarithms.
    assert tables.interpolated(points([90.0] * 3, [88.0] * 3), "a", 90.0, None) == "0.32 % (0.32 % to 0.32 %)"
    assert tables.interpolated(points([90.0] * 3, [89.5] * 3), "a", 90.0, None).startswith("at least 1 % (")
    assert tables.interpolated(points([90.0], [88.0]), "a", 90.0, None) == ""
    assert tables.interpolated(points([90.0] * 2, [88.0] * 3), "a", 90.0, None) == ""
    rising = [{**point, "metric": "perplexity"} for point in points([20.0] * 3, [22.0] * 3)]
    assert tables.interpolated(rising, "a", 20.0, None) == "0.32 % (0.32 % to 0.32 %)"


def test_the_best_of_perplexities_is_the_least() -> None:
    points = [{"scheme": name, "rate": 0.1, "mean": mean} for name, mean in (("a", 30.0), ("b", 20.0))]
    table = tables.accuracy_table({"metric": "perplexity", "points": points, "chance": None})
    assert [table[name][0.1]["best"] for name in ("a", "b")] == [False, True]


def test_the_synthesis_table_is_labelled_and_names_who_needs_what(text: str) -> None:
    rows = {row["variant"]: row for row in tables.synthesis_rows(synthetic.results())}
    assert rows["map + voter"]["schemes"] == "paper"
    assert {row["lanes"] for row in rows.values()} == {32}
    assert "not counted again for this run" in text
    results = synthetic.results()
    for own in results["simulate"]["schemes"].values():
        own["opc_variant"] = "plain"
    (plain,) = (row["schemes"] for row in tables.synthesis_rows(results) if row["variant"] == "plain")
    assert plain == "; ".join(results["simulate"]["schemes"])  # these have commas of their own
    results["opc"]["lanes"] = 5
    assert len(tables.synthesis_rows(results)) == len(results["opc"]["rows"])


def test_without_sensitivity_heads_or_costs_their_figures_are_left_out(tmp_path: Path) -> None:
    results = synthetic.results()
    results["sensitivity"] = []
    results["simulate"] = {"tokens": 64, "skipped": "the chip is too odd.", "schemes": {}}
    found = pictures.write_pictures(tmp_path, results, synthetic.images(), synthetic.chip())
    missing = {name for name, picture in found.items() if picture is None}
    assert missing == {"heads", "sensitivity", "cost", "breakdown", "timeline"}
    text = report.page(results, found, synthetic.images(), synthetic.chip())
    assert "Which parts are sensitive" not in text
    assert "Timeline excerpt" not in text


def test_the_papers_curve_is_the_papers() -> None:
    rows = paper.rows()
    with_voting = {row["rate"]: row["mean"] for row in rows if row["scheme"] == "paper, with voting"}
    without = {row["rate"]: row["mean"] for row in rows if row["scheme"] == "paper, without voting"}
    assert with_voting[0.0005] - without[0.0005] == pytest.approx(10.72)  # the paper's "about 10 points"
    assert {row["source"] for row in rows} == {paper.SOURCE}


def test_changed_keys_are_written_as_a_configuration_has_them(text: str) -> None:
    row = r'<code>([\w.]+)</code></th><td class="text">(.*?)</td><td class="text wrap">(.*?)</td>'
    rows = re.findall(row, text.replace("<wbr>", ""))
    assert [tuple(map(html.unescape, row)) for row in rows] == [
        ("faults.chips", "5", "7"),
        ("map.schemes", '["none", "paper", "best", "code"]', '["none", "best"]'),
        ("chip.opc.voter", "true", "false"),
        ("task.glue_dir", "\N{EN DASH}", "glue"),
    ]


def test_large_numbers_of_crossbars_are_written_alike_everywhere() -> None:
    results = synthetic.results()
    results["map"]["dense_crossbars"] = 54321
    results["map"]["schemes"][-1]["crossbars"] = 65432
    said = " ".join(claims.verdict(results))
    assert "(65,432 crossbars); the dense, unprotected model needs 54,321 crossbars" in said
    drawn = dict.fromkeys(pictures.NAMES, pictures.Drawing("", "", ""))
    said = report.page(results, drawn, synthetic.images(), synthetic.chip())
    assert "<b>54,321</b>" in said
    assert "<b>65,432</b>" in said
    assert not re.search("54321|65432", said)


def test_numbers_of_rates_that_lie_close_do_not_touch() -> None:
    """The nine rates of the paper, of which four lie between 0.1 and 0.2 %."""
    rates = [0.01, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.175, 0.2]
    figure = Figure(figsize=(7.4, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, rates)
    rate_axis(axes, rates, 5.5)
    figure.canvas.draw()
    shown = [label for label in axes.get_xticklabels() if label.get_text()]
    boxes = [label.get_window_extent() for label in shown]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    assert len(shown) > 5
    assert len(axes.get_xticks()) == len(rates)


@pytest.mark.parametrize(
    ("rates", "more"), [([0.01, 0.03], [0.0001, 0.0003, 0.001]), ([0.0001], [0.0003, 0.001]), ([0.0001, 0.003], [])]
)
def test_where_only_the_papers_curve_is_the_axis_has_numbers_too(rates: list[float], more: list[float]) -> None:
    points = [{"scheme": "none", "rate": rate, "mean": 80.0, "low": 79.0, "high": 81.0} for rate in rates]
    (axes,) = figures.accuracy_figure(points, "accuracy", 90.0, reference=paper.rows()).axes
    assert axes.get_xticks() == pytest.approx(sorted(100 * rate for rate in (*rates, *more)))
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == [f"{100 * rate:g}" for rate in sorted((*rates, *more))]
