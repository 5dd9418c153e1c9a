"""The self-test of crossbars in NumPy: which faults it finds, what it takes, and the fault map that comes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crossvote.rtl.march_elements import MARCH_C_STAR, SENSING, Order, SelfTest, length, top_level
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.chip.config import load_chip
from crossvote.sim.common.seeds import seed_sequence
from crossvote.sim.peripheral.march import (
    CellBank,
    behind_tile,
    self_test,
    tile_bank,
    tile_fault_map,
)
from crossvote.sim.peripheral.tile_sizes import tile_parameters
from crossvote.sim.system.self_test_cost import self_test_cost

SHAPE = (4, 64, 24)


def bank(rate: float, seed: int = 1) -> tuple[CellBank, FaultMap]:
    crossbars, rows, columns = SHAPE
    faults = FaultMap.sample(rows, columns, crossbars, rate, seed_sequence(seed, "march"))
    levels = np.random.default_rng(seed).integers(0, 2, SHAPE).astype(np.uint8)
    return CellBank.with_faults(levels, faults), faults


@pytest.mark.parametrize("test", list(SelfTest))
@pytest.mark.parametrize("adc_bits", [3, 8])
@pytest.mark.parametrize("rate", [0.0, 0.001, 0.05, 1.0])
def test_every_stuck_cell_is_found_and_no_other(test: SelfTest, adc_bits: int, rate: float) -> None:
    cells, faults = bank(rate)
    found = self_test(test, cells, adc_bits)
    stuck = np.zeros(SHAPE, np.int8) - 1
    stuck[faults.coordinates(faults.cells)] = faults.stuck_at
    assert np.array_equal(found.read_one, stuck == 1)
    assert np.array_equal(found.read_zero, stuck == 0)
    assert not found.unstable.any()
    writes, fewest, most = length(test, SHAPE[1], adc_bits)
    assert found.writes == writes
    if rate in (0.0, 1.0):
        assert found.reads == (most if rate else fewest)
    assert fewest <= found.reads <= most


def test_the_fast_test_reads_less_where_few_cells_are_stuck() -> None:
    reads = [self_test(SelfTest.SENSING, bank(rate)[0], 8).reads for rate in (0.0, 0.0005, 0.005, 0.05)]
    assert reads == sorted(set(reads))
    assert reads[-1] < self_test(SelfTest.MARCH, bank(0.05)[0], 8).reads
    first, second = length(SelfTest.SENSING, 64, 8)[:2]
    assert (first, second) == (128, 2)


@pytest.mark.parametrize("kind", ["no_set", "no_reset", "disturbed"])
def test_soft_faults(kind: str) -> None:
    """March finds cells that cannot be switched, and those that a read of 1 resets; one read of a sum does not."""
    cells, _ = bank(0.0)
    getattr(cells, kind)[1, 5, 7] = True
    found = self_test(SelfTest.MARCH, cells, 8)
    wrong = found.read_one if kind == "no_reset" else found.read_zero
    assert np.argwhere(wrong).tolist() == [[1, 5, 7]]
    assert not (found.read_one & found.read_zero).any()
    fast, _ = bank(0.0)
    getattr(fast, kind)[1, 5, 7] = True
    verdicts = self_test(SelfTest.SENSING, fast, 8)
    # A cell that cannot be reset shows only if it held 1: the first pattern of the fast test is 0.
    expected = {"no_set": True, "no_reset": bool(bank(0.0)[0].levels[1, 5, 7]), "disturbed": False}[kind]
    assert (verdicts.read_one | verdicts.read_zero)[1, 5, 7] == expected


def test_elements_are_those_of_the_literature() -> None:
    """March C- with a second read of 1; both tests begin with the write that clears older verdicts."""
    orders = [own.order for own in MARCH_C_STAR]
    assert orders == [Order.UP, Order.UP, Order.UP, Order.DOWN, Order.DOWN, Order.UP]
    assert sum(len(own.operations) for own in MARCH_C_STAR) == 11
    for own in (MARCH_C_STAR[0], SENSING[0]):
        assert [(o.write, o.level) for o in own.operations] == [(True, 0)]
    assert (top_level(128, 8), top_level(48, 8), top_level(128, 5), top_level(7, 8)) == (7, 4, 4, 0)


@pytest.mark.parametrize("vote", ["output", "crossbar"])
def test_verdicts_of_a_tile_become_the_fault_map_of_the_chip(make_group, vote) -> None:
    """Crossbars of all OPCs and row blocks, bit lines of two column blocks: each comes back to its place."""
    chip = load_chip("crossvote", {"crossbar": {"rows": 64, "columns": 32}, "opc": {"columns": 32, "planes": 4}})
    group, _ = make_group(np.random.default_rng(5), vote=vote, voted={3: 3})
    faults = FaultMap.sample(64, 32, 2 * (group.first_pair + group.pairs) + 2, 0.02, seed_sequence(6))
    p = replace(tile_parameters(chip, group.row_blocks, vote), self_test=True)
    bundles = group.bundles(32, chip.opc.outputs)
    chosen = next(b for b in bundles if len(np.unique(b.lines // group.columns)) > 1)
    bank = tile_bank(p, group, chosen, faults)
    blocks = group.row_blocks // p.opcs
    verdicts = []
    for block in range(blocks):
        own = [2 * (opc * blocks + block) + sign for opc in range(p.opcs) for sign in (0, 1)]
        verdicts.append(self_test(SelfTest.SENSING, CellBank(bank.levels[own], bank.stuck[own]), 8))
    found, expected = tile_fault_map(group, chosen, verdicts, faults.crossbars), behind_tile(group, chosen, faults)
    assert len(expected.cells) > 20
    assert found.content_hash == expected.content_hash


def test_cost_follows_from_the_chip() -> None:
    """Eleven operations a word line; the fast test writes less and takes less of everything."""
    chip = load_chip("crossvote")
    march, fast = (self_test_cost(chip, 6, 3, test) for test in SelfTest)
    rows = chip.crossbar.rows
    assert (march.writes, march.reads, march.fewest_reads) == (5 * rows, 6 * rows, 6 * rows)
    expected = 3 * rows * (10 * chip.cell.write_row_ps + 6 * chip.read_cycle_ps)
    assert march.time_us == pytest.approx(expected / 1e6)
    assert fast.writes == 2 * rows
    assert fast.time_us < march.time_us
    assert fast.energy_uj < march.energy_uj
    assert self_test_cost(chip, 12, 3, SelfTest.MARCH).energy_uj == pytest.approx(2 * march.energy_uj)
