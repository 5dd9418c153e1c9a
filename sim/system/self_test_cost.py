"""What it costs a chip to test its crossbars by itself (``crossvote.rtl.march``)."""

from __future__ import annotations

from dataclasses import dataclass

from crossvote.rtl.march_elements import TESTS, Order, SelfTest, length
from crossvote.sim.chip.bill import prices
from crossvote.sim.chip.config import ChipConfig


@dataclass(frozen=True)
class SelfTestCost:
    """Cost of testing all crossbars of a model once.

    Attributes:
        writes: of word lines, per crossbar. reads: of word lines or segments, per crossbar; fewest_reads: where no cell
            of the crossbars that are tested together is faulty.
        time_us, energy_uj: with the most reads. Tiles work at the same time; the pairs of a tile one after the other,
            because a tile has one write circuit, and their word lines one after the other.
    """

    writes: int
    reads: int
    fewest_reads: int
    time_us: float
    energy_uj: float


def self_test_cost(chip: ChipConfig, crossbars: int, pairs_per_tile: int, test: SelfTest) -> SelfTestCost:
    """Of ``crossbars`` crossbars; ``pairs_per_tile`` of them in the fullest tile."""
    rows, columns, table = chip.crossbar.rows, chip.crossbar.columns, prices(chip)
    writes, fewest, most = length(test, rows, chip.adc.bits)
    time_ps = pairs_per_tile * (writes * chip.signs * chip.cell.write_row_ps + most * chip.read_cycle_ps)
    driven, conducting = _driven(test, rows, chip.adc.bits)
    per_crossbar = (
        writes * columns * chip.cell.write_pj
        + most * columns * (table["sample_hold"] + table["conversion"])
        + driven * table["row_drive"]
        + conducting * columns * table["cell_read"]
    )
    return SelfTestCost(writes, most, fewest, time_ps / 1e6, crossbars * per_crossbar / 1e6)


def _driven(test: SelfTest, rows: int, adc_bits: int) -> tuple[int, int]:
    """Word lines driven in all reads, and those of them whose cells hold 1."""
    driven = conducting = 0
    for own in TESTS[test]:
        for operation in own.operations:
            if operation.write:
                continue
            # Each level of a search drives all word lines once.
            lines = rows * (own.levels(rows, adc_bits) if own.order == Order.SEARCH else 1)
            driven += lines
            conducting += lines * operation.level
    return driven, conducting
