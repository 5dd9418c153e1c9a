"""Fault patterns keep rate and kinds, and have the shape their name says."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from crossvote.sim.array.fault_models import sample_faults
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.common.errors import UserError

PATTERNS = ["uniform", "clustered", "word_lines", "bit_lines"]


def draw(pattern, rate=0.02, crossbars=200, seed=0, **options) -> FaultMap:
    return sample_faults(pattern, 64, 48, crossbars, rate, np.random.SeedSequence(seed), **options)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_keeps_rate_and_kinds(pattern):
    maps = [draw(pattern, seed=seed) for seed in range(6)]
    share = sum(len(m.cells) for m in maps) / sum(m.size for m in maps)
    ones = sum(m.stuck_at.sum() for m in maps) / sum(len(m.cells) for m in maps)
    tolerance = 0.1 if "lines" in pattern else 0.02
    assert share == pytest.approx(0.02, rel=tolerance)
    assert ones == pytest.approx(9.04 / 10.79, rel=tolerance / 2)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_nothing_and_everything_can_be_stuck(pattern, rate):
    fault_map = draw(pattern, rate, crossbars=4)
    assert len(fault_map.cells) == rate * fault_map.size


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_chip_of_bert_base_is_drawn_in_sparse_form(pattern):
    """1.5 billion cells at 0.05 %: memory for the faults, not for the cells."""
    crossbars = 92_000
    tracemalloc.start()
    fault_map = sample_faults(pattern, 128, 128, crossbars, 0.0005, np.random.SeedSequence(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert fault_map.size > 1.5e9
    assert len(fault_map.cells) == pytest.approx(0.0005 * fault_map.size, rel=0.05)
    assert peak < 100e6


@pytest.mark.parametrize("pattern", PATTERNS)
def test_equal_seeds_give_equal_chips_and_other_seeds_others(pattern):
    assert draw(pattern, seed=3).content_hash == draw(pattern, seed=3).content_hash
    assert draw(pattern, seed=3).content_hash != draw(pattern, seed=4).content_hash
    stream = np.random.SeedSequence(3)
    again = [sample_faults(pattern, 64, 48, 200, 0.02, stream).content_hash for _ in range(2)]
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
        draw("uniform", 0.002),
        draw("clustered", 0.002),
        draw("clustered", 0.002, cluster_radius=20),
    )
    assert len(uniform.cells) == len(clustered.cells)
    assert _close_pairs(uniform) < 0.08
    assert _close_pairs(clustered) > 0.8
    assert _close_pairs(wide) < 0.2
    single = draw("clustered", 0.002, cluster_size=1.0)
    assert _close_pairs(single) < _close_pairs(clustered)


def test_clusters_hit_every_part_of_a_crossbar():
    crossbar, word_line, bit_line = (fault_map := draw("clustered", 0.02, 400)).coordinates(fault_map.cells)
    assert len(np.unique(crossbar)) == 400
    assert np.bincount(word_line, minlength=64).min() > 0.5 * len(word_line) / 64
    assert np.bincount(bit_line, minlength=48).min() > 0.5 * len(bit_line) / 48


@pytest.mark.parametrize(
    ("options", "message"),
    [({"cluster_size": 0.5}, "at least 1"), ({"cluster_radius": 0.0}, "above 0"), ({"rate": 1.5}, "between 0 and 1")],
)
def test_impossible_values_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        draw("clustered", **options)
    with pytest.raises(UserError, match="there are uniform, clustered"):
        draw("striped")
