"""Stuck cells as bits: the compiled law and NumPy's give the same, and both are what the documentation says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from crossvote.sim.array import stuck_planes
from crossvote.sim.array.faults import PLANES_FROM, DrawnFaultMap, FaultMap
from crossvote.sim.array.silicon import Silicon
from crossvote.sim.array.stuck_planes import Law, StuckPlanes, bits_of, words_of
from crossvote.sim.common import libraries
from crossvote.sim.common.errors import UserError

KEYS = (0x0123456789ABCDEF, 0xFEDCBA9876543210)


@pytest.fixture
def uncompiled(monkeypatch):
    """Run something as where no compiler is."""

    def run(function):
        with monkeypatch.context() as patch:
            patch.setattr(stuck_planes, "_library", lambda: None)
            return function()

    return run


def assert_equal(one: StuckPlanes, other: StuckPlanes) -> None:
    np.testing.assert_array_equal(one.stuck, other.stuck)
    np.testing.assert_array_equal(one.sa1, other.sa1)


@pytest.mark.parametrize("rows", [1, 64, 100, 128])
@pytest.mark.parametrize("columns", [1, 7, 32])
@pytest.mark.parametrize(("rate", "sa1"), [(0.01, 0.84), (0.3, 0.0), (0.5, 0.5), (0.75, 1.0), (1.0, 0.1)])
def test_compiled_and_numpy_draw_the_same(rows, columns, rate, sa1, uncompiled):
    law = Law(KEYS, rate, sa1)
    assert_equal(law.draw(rows, columns, 5, 45), uncompiled(lambda: law.draw(rows, columns, 5, 45)))


def test_cells_that_are_open_after_the_first_bits_are_settled_alike(uncompiled):
    """One in 4,096 is open: half a million cells have a hundred. The rate's other bits are what they are settled by."""
    for rate in (0.3, 1228 / 4096, np.nextafter(1228 / 4096, 1)):
        law = Law(KEYS, rate, 0.7)
        assert_equal(law.draw(128, 128, 0, 32), uncompiled(lambda own=law: own.draw(128, 128, 0, 32)))
    fewer, more = (Law(KEYS, rate, 0.7).draw(128, 128, 0, 64).stuck for rate in (1228 / 4096, 1228.5 / 4096))
    assert not (fewer & ~more).any()
    added = np.bitwise_count(more & ~fewer).sum()
    assert added == pytest.approx(64 * 128 * 128 / 8192, abs=60)


def test_a_processor_without_avx2_draws_the_same(monkeypatch):
    law = Law(KEYS, 0.05, 0.84)
    own = law.draw(128, 128, 0, 40)
    monkeypatch.setattr(stuck_planes, "has_avx2", lambda: False)
    assert_equal(own, law.draw(128, 128, 0, 40))


def test_the_first_bits_come_from_sfc64():
    """NumPy's own SFC64, seeded with what SplitMix64 makes of the key, gives a crossbar's first four words."""
    golden, mask = 0x9E3779B97F4A7C15, 2**64 - 1

    def mixed(z):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        return z ^ (z >> 31)

    # Reference outputs of SplitMix64 for the seed 1234567.
    assert [mixed(1234567 + (i + 1) * golden & mask) for i in range(2)] == [6457827717110365317, 3203168211198807973]
    crossbar, rate = 3, 0.3
    seeds = [mixed(KEYS[0] + (crossbar * 12 + i) * golden & mask) for i in range(1, 13)]
    stuck = Law(KEYS, rate, 0.5).draw(64, 4, crossbar, crossbar + 1).stuck.reshape(4)
    for lane in range(4):
        generator = np.random.SFC64()
        words = np.array([seeds[lane], seeds[4 + lane], seeds[8 + lane], 1], np.uint64)
        generator.state = {**generator.state, "state": {"state": words}}
        generator.random_raw(12)
        numbers = np.zeros(64)
        for place, word in enumerate(generator.random_raw(12), start=1):
            numbers += (int(word) >> np.arange(64, dtype=object) & 1).astype(float) * 2.0**-place
        # 0.3 lies between two numbers of twelve bits, and nearly none of 64 cells is open.
        settled = np.abs(numbers - rate) > 2.0**-12
        found = bits_of(stuck[lane : lane + 1], 64).astype(bool)
        np.testing.assert_array_equal(found[settled], (numbers < rate)[settled])
        assert settled.sum() >= 62


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_cells_fail_independently_and_as_often_as_asked(rate):
    sa1 = 0.84
    planes = Law(KEYS, rate, sa1).draw(128, 128, 0, 1000)
    cells = 1000 * 128 * 128
    stuck = bits_of(planes.stuck, 128).reshape(1000, 128, 128)
    assert abs(int(stuck.sum()) - rate * cells) < 5 * (rate * (1 - rate) * cells) ** 0.5
    count = int(stuck.sum())
    assert abs(int(np.bitwise_count(planes.sa1).sum()) - sa1 * count) < 5 * (sa1 * (1 - sa1) * count) ** 0.5
    assert not (planes.sa1 & ~planes.stuck).any()
    for axis in range(3):
        sums = stuck.sum(axis=tuple(other for other in range(3) if other != axis))
        expected = cells / stuck.shape[axis] * rate
        spread = ((sums - expected) ** 2).mean() / (expected * (1 - rate))  # chi-squared by degrees of freedom
        assert spread == pytest.approx(1, abs=5 * (2 / len(sums)) ** 0.5)
        near = np.moveaxis(stuck, axis, 0)
        both = int((near[1:] & near[:-1]).sum())
        pairs = near[1:].size
        assert abs(both - rate**2 * pairs) < 5 * (rate**2 * pairs) ** 0.5


def test_lists_and_bits_are_the_same(uncompiled):
    planes = Law(KEYS, 0.07, 0.84).draw(100, 37, 2, 9)
    cells, values = planes.cells(2 * 3700)
    assert (np.diff(cells) > 0).all()
    for listed in (cells, values), uncompiled(lambda: planes.cells(2 * 3700)):
        np.testing.assert_array_equal(listed[0], cells)
        np.testing.assert_array_equal(listed[1], values)
    crossbar, inside = np.divmod(cells - 2 * 3700, 3700)
    line, column = np.divmod(inside, 37)
    for cell in range(0, len(cells), 17):
        word, bit = divmod(int(line[cell]), 64)
        at = (crossbar[cell], column[cell], word)
        assert int(planes.stuck[at]) >> bit & 1
        assert bool(int(planes.sa1[at]) >> bit & 1) == values[cell]
    assert len(cells) == planes.counts().sum()
    back = StuckPlanes.of_cells(100, 37, 7, (cells, values), 2 * 3700)
    assert_equal(back, planes)
    assert_equal(uncompiled(lambda: StuckPlanes.of_cells(100, 37, 7, (cells, values), 2 * 3700)), planes)


def test_words_hold_the_lowest_word_line_first():
    bits = np.zeros((1, 70), np.uint8)
    bits[0, [0, 5, 64]] = 1
    assert words_of(bits).tolist() == [[1 + 32, 1]]
    np.testing.assert_array_equal(bits_of(words_of(bits), 70), bits)


def test_a_chip_is_drawn_as_far_as_it_is_asked_for():
    chip = Silicon(3, 1, 0.05, 128, 128)
    drawn, listed = chip.faults(60), chip.faults(60)
    assert isinstance(drawn, DrawnFaultMap)
    cells, values = listed.cells, listed.stuck_at
    plain = FaultMap(128, 128, 60, cells, values)
    for first, stop in ((0, 60), (10, 20), (12, 13), (15, 40), (59, 60), (5, 5)):
        own, same = drawn.of_crossbars(first, stop), plain.of_crossbars(first, stop)
        np.testing.assert_array_equal(own[0], same[0])
        np.testing.assert_array_equal(own[1], same[1])
        assert drawn.count(first, stop) == plain.count(first, stop) == len(own[0])
        assert_equal(drawn.planes(first, stop), plain.planes(first, stop))
    fresh = chip.faults(60)
    assert fresh.count(20, 60) == plain.count(20, 60)
    assert fresh.count(0, 60) == len(cells)
    assert "_listed" not in fresh.__dict__


def test_what_tells_chips_apart_draws_nothing():
    chips = [Silicon(3, 1, 0.05, 32, 16), Silicon(3, 2, 0.05, 32, 16), Silicon(3, 1, 0.06, 32, 16)]
    chips.append(Silicon(3, 1, 0.05, 32, 16, sa0_sa1=(1.0, 1.0)))
    maps = [chip.faults(10) for chip in chips] + [chips[0].faults(11)]
    assert len({own.identity for own in maps}) == len(maps)
    assert maps[0].identity == chips[0].faults(10).identity
    assert all("_listed" not in own.__dict__ for own in maps)
    listed = Silicon(3, 1, 0.001, 32, 16).faults(10)
    assert listed.identity == listed.content_hash


def test_threads_may_share_a_chip():
    chip, plain = (Silicon(3, 1, 0.05, 64, 64).faults(200) for _ in range(2))
    cells = plain.cells

    def same(first: int) -> bool:
        own = chip.planes(first, first + 3).cells(first * 4096)[0]
        low, high = np.searchsorted(cells, [first * 4096, (first + 3) * 4096])
        return np.array_equal(own, cells[low:high])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(same, [n * 7 % 197 for n in range(2000)]))


def test_some_of_the_stuck_cells_alone():
    chip = Silicon(3, 1, 0.05, 32, 16).faults(10)
    some = chip.only(chip.stuck_at, "SA1 alone")
    assert some.stuck_at.all()
    assert len(some.cells) == chip.stuck_at.sum()
    assert (some.source, some.silicon, some.crossbars) == ("SA1 alone", (3, 1), 10)


def test_rare_faults_are_listed():
    assert not isinstance(Silicon(3, 1, PLANES_FROM / 2, 32, 16).faults(10), DrawnFaultMap)


def test_a_compiler_that_fails_is_said_and_not_needed(monkeypatch):
    def fails(*arguments):
        raise UserError("'c++' failed.")

    law = Law(KEYS, 0.05, 0.84)
    own = law.draw(64, 16, 0, 3)
    monkeypatch.setattr(libraries, "find_compiler", lambda: ["c++"])
    monkeypatch.setattr(libraries, "compiled_library", fails)
    stuck_planes._library.cache_clear()
    try:
        with pytest.warns(UserWarning, match=r"drawn without compiled code, which is slower: 'c\+\+' failed"):
            other = law.draw(64, 16, 0, 3)
        assert_equal(own, other)
    finally:
        monkeypatch.undo()
        stuck_planes._library.cache_clear()
