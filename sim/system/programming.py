"""What programming a model costs: its cells once, the column maps of its output peripherals, and how long cells
live."""

from __future__ import annotations

from dataclasses import dataclass

from crossvote.sim.chip.bill import prices
from crossvote.sim.system.result import SystemResult

SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class Programming:
    """Cost of programming a model.

    Attributes:
        cells: programmed, in bit lines in use. energy_uj, time_us: of cells and maps; tiles work at the same time, the
            crossbars of a tile one after the other, row by row, because a tile has one write circuit.
        map_words: entries of all column maps. writes_per_sequence: of each cell that holds keys or values, where these
            are written into crossbars. endurance: writes that a cell survives.
    """

    cells: int
    energy_uj: float
    time_us: float
    map_words: int
    writes_per_sequence: int
    endurance: float

    def lifetime_days(self, interval_ps: float | None) -> float | None:
        """Days of running without a pause until cells wear out; None where no cell is written while running."""
        if not self.writes_per_sequence or not interval_ps:
            return None
        return self.endurance / self.writes_per_sequence * interval_ps * 1e-12 / SECONDS_PER_DAY


def programming(result: SystemResult) -> Programming:
    """Of the model of a run. Sources: ``crossvote.sim.chip.components.array``; a map takes a word per clock."""
    chip, table = result.chip, prices(result.chip)
    groups = list(result.workload.groups)
    held = result.workload.table
    cells = sum(group.programmed for group in groups) + (held.cells if held else 0)
    mapped = chip.pipeline.peripheral == "rtl"
    words = sum(
        int(g.opc_lines.sum()) * (1 if g.vote == "output" else g.row_blocks)
        for g in groups
        if mapped and g.variant != "plain"
    )
    rows = int(result.placement.blocks_used.max()) * chip.signs * chip.crossbar.rows
    map_us = words / result.placement.tiles * chip.opc.clock_ps / 1e6
    return Programming(
        cells=cells,
        energy_uj=(cells * chip.cell.write_pj + words * table["map_lookup"]) / 1e6,
        time_us=rows * chip.cell.write_row_ps / 1e6 + map_us,
        map_words=words,
        writes_per_sequence=1 if chip.digital.attention == "reram-write" else 0,
        endurance=chip.cell.endurance,
    )
