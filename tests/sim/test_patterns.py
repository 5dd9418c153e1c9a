"""Fault patterns keep rate and kinds, and are what their settings say."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.patterns import PATTERNS, independent, parse_pattern, pattern_words
from crossvote.sim.array.patterns.clustered import Clustered
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.registry import kind_mapping


def draw(pattern, rate=0.02, crossbars=1500, seed=0, rows=64, columns=48) -> FaultMap:
    return FaultMap.sample(rows, columns, crossbars, rate, np.random.SeedSequence(seed), pattern=parse_pattern(pattern))


@pytest.mark.parametrize("pattern", PATTERNS.names())
def test_every_pattern_keeps_rate_and_kinds(pattern):
    maps = [draw(pattern, seed=seed) for seed in range(6)]
    share = sum(len(m.cells) for m in maps) / sum(m.size for m in maps)
    ones = sum(m.stuck_at.sum() for m in maps) / sum(len(m.cells) for m in maps)
    tolerance = 0.05 if "lines" in pattern else 0.01
    assert share == pytest.approx(0.02, rel=tolerance)
    assert ones == pytest.approx(9.04 / 10.79, rel=tolerance / 2)


@pytest.mark.parametrize("pattern", PATTERNS.names())
@pytest.mark.parametrize("rate", [0.0, 0.3, 0.8, 1.0])
def test_every_rate_can_be_drawn(pattern, rate):
    fault_map = draw(pattern, rate)
    assert len(fault_map.cells) == pytest.approx(rate * fault_map.size, rel=0.02)
    assert (np.diff(fault_map.cells) > 0).all()
    if rate == 1.0:
        assert len(fault_map.cells) == fault_map.size


@pytest.mark.parametrize("pattern", PATTERNS.names())
def test_a_smaller_chip_is_the_beginning_of_a_larger_one(pattern):
    """Also where a block of crossbars that is drawn together ends, which is at 1365 here."""
    large = draw(pattern, crossbars=3000)
    for crossbars in (1, 17, 1365, 1366, 2999):
        small = draw(pattern, crossbars=crossbars)
        cells, stuck = large.of_crossbars(0, crossbars)
        np.testing.assert_array_equal(small.cells, cells)
        np.testing.assert_array_equal(small.stuck_at, stuck)


@pytest.mark.parametrize("pattern", PATTERNS.names())
def test_a_chip_of_bert_base_is_drawn_in_sparse_form(pattern):
    """1.5 billion cells at 0.05 %: memory for the faults, not for the cells."""
    crossbars = 92_000
    tracemalloc.start()
    fault_map = draw(pattern, 0.0005, crossbars, rows=128, columns=128)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert fault_map.size > 1.5e9
    assert len(fault_map.cells) == pytest.approx(0.0005 * fault_map.size, rel=0.05)
    assert peak < 100e6


@pytest.mark.parametrize("pattern", PATTERNS.names())
def test_equal_seeds_give_equal_chips_and_other_seeds_others(pattern):
    assert draw(pattern, seed=3).content_hash == draw(pattern, seed=3).content_hash
    assert draw(pattern, seed=3).content_hash != draw(pattern, seed=4).content_hash
    stream = np.random.SeedSequence(3)
    kind = parse_pattern(pattern)
    again = [FaultMap.sample(64, 48, 1500, 0.02, stream, pattern=kind).content_hash for _ in range(2)]
    assert again == [draw(pattern, seed=3).content_hash] * 2


@pytest.mark.parametrize(("pattern", "axis", "length"), [("word_lines", 1, 48), ("bit_lines", 2, 64)])
def test_lines_fail_as_a_whole_and_at_one_value(pattern, axis, length):
    fault_map = draw(pattern)
    coordinates = fault_map.coordinates(fault_map.cells)
    line = coordinates[0] * 1000 + coordinates[axis]
    _, index, counts = np.unique(line, return_inverse=True, return_counts=True)
    assert (counts == length).all()
    ones = np.bincount(index, fault_map.stuck_at)
    assert np.isin(ones, [0, length]).all()
    assert 0 < ones.sum() < len(fault_map.cells)


@pytest.mark.parametrize(("size", "radius"), [(1, 2), (1.5, 2), (8, 2), (50, 2), (50, 5), (3, 0.5), (30, 40)])
def test_the_mean_size_of_a_cluster_is_what_was_asked(size, radius):
    """Seen from outside: so few clusters that a crossbar has one or none, and all its stuck cells are of that one."""
    crossbars, expected = 40_000, 4_000
    rate = expected * size / (crossbars * 64 * 48)
    fault_map = draw({"kind": "clustered", "cluster_size": size, "cluster_radius": radius}, rate, crossbars)
    cells = np.bincount(fault_map.coordinates(fault_map.cells)[0], minlength=crossbars)
    clusters = -np.log((cells == 0).mean()) * crossbars  # Poisson: some crossbars have two
    assert len(fault_map.cells) / clusters == pytest.approx(size, rel=0.06)


@pytest.mark.parametrize(("size", "radius"), [(8, 2), (50, 2), (8, 20)])
def test_clusters_are_as_dense_in_corners_and_at_edges_as_elsewhere(size, radius):
    fault_map = draw(
        {"kind": "clustered", "cluster_size": size, "cluster_radius": radius}, 0.05, 8_000, rows=24, columns=16
    )
    _, word_line, bit_line = fault_map.coordinates(fault_map.cells)
    density = np.bincount(word_line * 16 + bit_line, minlength=24 * 16) / (8_000 * 0.05)
    spread = (size / (8_000 * 0.05)) ** 0.5 / 3
    assert abs(density - 1).max() < max(6 * (1 / (8_000 * 0.05)) ** 0.5, spread)
    corners = density.reshape(24, 16)[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.mean() == pytest.approx(1, abs=3 * (1 / (4 * 8_000 * 0.05)) ** 0.5)


def _close_pairs(fault_map: FaultMap) -> float:
    """Share of faults with another fault of the same crossbar within two word lines and two bit lines."""
    chip = np.zeros((fault_map.crossbars, fault_map.rows + 4, fault_map.columns + 4), bool)
    crossbar, word_line, bit_line = fault_map.coordinates(fault_map.cells)
    chip[crossbar, word_line + 2, bit_line + 2] = True
    near = sum(
        chip[crossbar, word_line + 2 + a, bit_line + 2 + b] for a in range(-2, 3) for b in range(-2, 3) if a or b
    )
    return float((near > 0).mean())


def test_clusters_are_closer_together_than_chance_and_wider_ones_less_so():
    uniform, clustered, wide = (
        _close_pairs(draw(pattern, 0.002, 200))
        for pattern in ("uniform", "clustered", {"kind": "clustered", "cluster_radius": 20})
    )
    assert uniform < 0.08
    assert clustered > 0.8
    assert wide < 0.2
    assert _close_pairs(draw({"kind": "clustered", "cluster_size": 1}, 0.002, 200)) < 0.08


@pytest.mark.parametrize("size", [10, 1_000_000])
@pytest.mark.parametrize("rate", [1e-300, 1e-7, 0.4, 0.9, 1.0])
def test_things_that_fail_on_their_own(size, rate):
    failed = independent(np.random.default_rng(0), size, rate)
    assert (np.diff(failed) > 0).all()
    assert failed.size == 0 or 0 <= failed[0] <= failed[-1] < size
    assert abs(failed.size - rate * size) <= 6 * (rate * (1 - rate) * size) ** 0.5 + 1


def test_gaps_have_the_law_of_independent_cells():
    counts = np.bincount(
        np.concatenate([independent(np.random.default_rng(seed), 8, 0.3) for seed in range(20_000)]), minlength=8
    )
    assert abs(counts - 6000).max() < 6 * (20_000 * 0.3 * 0.7) ** 0.5


def test_a_pattern_is_a_name_or_a_table():
    assert parse_pattern("clustered") == Clustered()
    wide = parse_pattern({"kind": "clustered", "cluster_radius": 9.0})
    assert wide == Clustered(cluster_radius=9.0)
    assert parse_pattern(kind_mapping(wide)) == wide
    assert pattern_words(wide) == "clustered (cluster size 8, cluster radius 9)"


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("xxx", "unknown fault pattern 'xxx'; there are bit_lines, clustered, uniform, word_lines"),
        ("clusterd", "did you mean 'clustered'"),
        (3, "name .* or a table"),
        ({"cluster_size": 8}, "needs its kind"),
        ({"kind": "uniform", "cluster_size": 8}, "unknown key 'cluster_size'"),
        ({"kind": "clustered", "cluster_size": 0.5}, "greater than or equal to 1"),
        ({"kind": "clustered", "cluster_size": True}, "valid number"),
        ({"kind": "clustered", "cluster_radius": 0.0}, "greater than 0"),
        ({"kind": "clustered", "cluster_radius": 1e9}, "less than or equal to 256"),
        ({"kind": "clustered", "cluster_size": 50, "cluster_radius": 0.5}, "do not fit within a radius of 0.5"),
        ({"kind": "clustered", "cluster_size": 2000, "cluster_radius": 200}, "larger than half a crossbar"),
    ],
)
def test_impossible_patterns_are_refused(pattern, message):
    with pytest.raises(UserError, match=message) as caught:
        draw(pattern)
    assert "\n" not in str(caught.value)
