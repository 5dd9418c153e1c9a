from __future__ import annotations

import numpy as np
import pytest

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.seeds import seed_sequence


def test_drawn_rates_are_what_was_asked():
    """Also apart for SA0 and SA1: a known tool draws 0.009 % SA0 where 0.9 % was asked."""
    fault_map = FaultMap.sample(128, 128, 2000, 0.01, seed_sequence(1, "rates"), (0.9, 0.1))
    cells = fault_map.size
    for drawn, rate in ((np.sum(~fault_map.stuck_at), 0.009), (np.sum(fault_map.stuck_at), 0.001)):
        assert abs(drawn - cells * rate) < 5 * np.sqrt(cells * rate)


def test_the_papers_ratio_is_the_default():
    fault_map = FaultMap.sample(128, 128, 1000, 0.02, seed_sequence(2))
    share = 9.04 / (1.75 + 9.04)
    count = len(fault_map.cells)
    assert abs(fault_map.stuck_at.mean() - share) < 5 * np.sqrt(share * (1 - share) / count)


def test_faults_are_spread_evenly_over_crossbars_and_lines():
    fault_map = FaultMap.sample(64, 32, 50, 0.2, seed_sequence(3))
    crossbar, word_line, bit_line = fault_map.coordinates(fault_map.cells)
    for axis, size in ((crossbar, 50), (word_line, 64), (bit_line, 32)):
        counts = np.bincount(axis, minlength=size)
        assert abs(counts - counts.mean()).max() < 6 * np.sqrt(counts.mean())


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.7, 1.0])
def test_every_rate_can_be_drawn(rate):
    fault_map = FaultMap.sample(16, 16, 40, rate, seed_sequence(4))
    size = fault_map.size
    assert abs(len(fault_map.cells) - rate * size) <= 5 * np.sqrt(rate * (1 - rate) * size)
    assert len(np.unique(fault_map.cells)) == len(fault_map.cells)


def test_equal_seeds_give_equal_chips_and_other_seeds_others():
    draw = lambda *key: FaultMap.sample(32, 32, 10, 0.05, seed_sequence(7, *key)).content_hash  # noqa: E731
    assert draw("faults", 0, 1) == draw("faults", 0, 1)
    assert len({draw("faults", 0, 1), draw("faults", 1, 0), draw("other", 0, 1)}) == 3


def test_faults_of_a_range_of_crossbars():
    fault_map = FaultMap.sample(16, 16, 12, 0.1, seed_sequence(8))
    cells, stuck = fault_map.of_crossbars(3, 6)
    crossbar = fault_map.coordinates(fault_map.cells)[0]
    inside = (crossbar >= 3) & (crossbar < 6)
    assert np.array_equal(cells, fault_map.cells[inside])
    assert np.array_equal(stuck, fault_map.stuck_at[inside])


def test_round_trip_through_a_file(tmp_path):
    fault_map = FaultMap.sample(16, 16, 12, 0.1, seed_sequence(9))
    fault_map.save(tmp_path / "chip.safetensors")
    loaded = FaultMap.load(tmp_path / "chip.safetensors")
    assert loaded.content_hash == fault_map.content_hash
    assert loaded.source == fault_map.source
    assert np.array_equal(loaded.cells, fault_map.cells)
    assert np.array_equal(loaded.stuck_at, fault_map.stuck_at)


def test_bad_maps_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"fault rate 1\.5"):
        FaultMap.sample(4, 4, 1, 1.5, seed_sequence(0))
    with pytest.raises(UserError, match="no ratio"):
        FaultMap.sample(4, 4, 1, 0.5, seed_sequence(0), (0.0, 0.0))
    with pytest.raises(UserError, match="increasing indices below 16"):
        FaultMap(4, 4, 1, np.array([3, 3]), np.array([True, False]))
    with pytest.raises(UserError, match="no such file"):
        FaultMap.load(tmp_path / "absent")
    (tmp_path / "junk").write_bytes(b"not a file of ours")
    with pytest.raises(UserError, match="damaged"):
        FaultMap.load(tmp_path / "junk")
    with pytest.raises(UserError, match="covers 1 crossbars, the image needs 2"):
        FaultMap.empty(4, 4, 1).check_fits(4, 4, 2)
    with pytest.raises(UserError, match="4 x 4 cells, the image for 8 x 4"):
        FaultMap.empty(4, 4, 1).check_fits(8, 4, 1)
