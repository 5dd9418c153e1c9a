"""The table of token embeddings where it lies in crossbars as plain memory: bits row after row, read without ADCs."""

from __future__ import annotations

from dataclasses import dataclass

from crossvote.sim.chip.config import ChipConfig


@dataclass(frozen=True)
class TokenTable:
    """A table of ``words`` vectors of ``width`` values of ``bits`` one-bit cells, as ``faults.embeddings`` lays it out.

    A word line is read at once, and the word lines of a vector one after the other, each in a read cycle of the array:
    a bound, for a read without ADCs could be shorter. The sense amplifiers of such a read have no price here.
    """

    words: int
    width: int
    bits: int = 8

    @property
    def cells(self) -> int:
        """Cells of all values."""
        return self.words * self.width * self.bits

    def crossbars(self, chip: ChipConfig) -> int:
        """Crossbars that they fill, one vector behind the other."""
        return -(-self.cells // (chip.crossbar.rows * chip.crossbar.columns))

    def reads(self, chip: ChipConfig) -> int:
        """Word lines that hold a vector; one more where vectors do not start at a word line's first cell."""
        whole, rest = divmod(self.width * self.bits, chip.crossbar.columns)
        return whole + 2 if rest else whole

    def lookup_ps(self, chip: ChipConfig) -> int:
        """Time of one vector."""
        return self.reads(chip) * chip.read_cycle_ps

    def actions(self, chip: ChipConfig) -> dict[str, int]:
        """Counts of one vector; half of its cells are taken to conduct."""
        moved = -(-self.width * self.bits // 8)
        return {
            "row_drive": self.reads(chip),
            "cell_read": self.width * self.bits // 2,
            "buffer_byte": 2 * moved,
            "bus_byte": moved,
        }
