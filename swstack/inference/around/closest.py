"""Programming around stuck cells: for a known fault map, every weight takes the value nearest to what was meant.

A cell stuck at 1 in one crossbar of a pair is cancelled by a 1 in the other, and what a bit line cannot hold its
neighbours make up for: a line gives any d from lo to hi, where lo and hi follow from which of its two cells are stuck.
Digits are chosen line by line, largest weight first, so that the rest stays within reach of the lines that follow.
"""

from __future__ import annotations

import numpy as np
import torch

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.self_test import RepeatedReads, found_by
from crossvote.sim.common.errors import UserError
from crossvote.swstack.inference.around import PROGRAMS, Arrangement
from crossvote.swstack.inference.dense_program import DenseProgram, Lines
from crossvote.swstack.inference.placed_group import PlacedGroup

#: Spans of inputs, and what the cells there are stuck at, as ``DenseProgram.blocks`` gives them.
Blocks = list[tuple[slice, torch.Tensor]]

#: Weighs the distance that no later line can make up for against the distance that one could.
_OUT_OF_REACH = 1 << 16


@PROGRAMS.register("closest")
class ClosestProgram:
    """Chooses what to program under a word-line group on a chip whose faults are known.

    A subclass arranges the group on the chip first.

    Args:
        placed: the group; its code must not vote. device: where the matrices are.
        test: how the faults become known; what it misses is not programmed around.

    Raises:
        UserError: a code that votes, or cells of several bits.
    """

    def __init__(self, placed: PlacedGroup, device: torch.device, test: RepeatedReads | None = None) -> None:
        if (placed.replicas > 1).any() or placed.cell_bits != 1:
            raise UserError("programming around stuck cells needs one-bit cells and a code that does not vote.")
        self.device = device
        self.dense = DenseProgram(placed, device)
        self.test = test or RepeatedReads()
        self._chip: FaultMap | None = None
        self._arrangement = self.unmoved
        used = np.flatnonzero(placed.output >= 0)
        order = used[np.lexsort((used, -placed.shift[used].astype(np.int64), placed.output[used]))]
        within = np.arange(len(order)) - np.searchsorted(placed.output[order], placed.output[order])
        #: Lines in rounds of one per output, the largest weight first.
        self.rounds = [self.dense.lines(order[within == i]) for i in range(int(within.max(initial=-1)) + 1)]

    def arrange(self, blocks: Blocks) -> Arrangement:
        """Where the group lies on a chip; here as the image has it."""
        return self.unmoved

    def arranged(self, faults: FaultMap) -> tuple[Blocks, Arrangement]:
        """What the chip's cells are known to be stuck at, and where the group lies on it; that of the last chip is
        kept."""
        blocks = list(self.dense.blocks(self.known(faults)))
        if self._chip is not faults:
            self._arrangement = self.arrange(blocks)
            self._chip = faults
        return blocks, self._arrangement

    def known(self, faults: FaultMap) -> FaultMap:
        """What the test finds of the stuck cells of the group's crossbars."""
        if not self.test.misread:
            return faults
        geometry = self.dense.placed.geometry
        geometry.check_fits(faults)
        pairs = geometry.row_blocks * geometry.column_blocks
        return found_by(self.test, faults, 2 * geometry.first_pair, 2 * (geometry.first_pair + pairs)).faults

    @property
    def unmoved(self) -> Arrangement:
        """The arrangement of the image."""
        return Arrangement.of_image(len(self.dense.placed.output), self.dense.placed.inputs, self.dense.device)

    def apply(self, faults: FaultMap) -> torch.Tensor:
        """The integers [N, K] that the chip holds when every weight is programmed as near as its cells seem to allow.

        Raises:
            UserError: the fault map is for another chip.
        """
        if self.test.misread:
            return self._read(faults)
        weight = torch.empty_like(self.dense.weight)
        blocks, arrangement = self.arranged(faults)
        for span, chip in blocks:
            stuck = arrangement.of_stuck(chip, span.start)
            weight[:, span] = self.dense.weight[:, span] - self._digits(stuck, span)[1].to(weight.dtype)
        return weight

    def _read(self, faults: FaultMap) -> torch.Tensor:
        """The integers [N, K] of what was programmed around the known faults, on the cells as they are."""
        weight = torch.empty_like(self.dense.weight)
        blocks, arrangement = self.arranged(faults)
        for (span, chip), (_, real) in zip(blocks, self.dense.blocks(faults), strict=True):
            known, stuck = arrangement.of_stuck(chip, span.start), arrangement.of_stuck(real, span.start)
            held = torch.zeros(weight[:, span].shape, dtype=torch.int32, device=weight.device)
            for lines, digit in zip(self.rounds, self._digits(known, span)[0], strict=True):
                sides = [
                    torch.where(side[lines.line] >= 0, side[lines.line].int(), own)
                    for side, own in zip(stuck, self._programmed(lines, digit, known), strict=True)
                ]
                difference = (sides[0] - sides[1]) * (1 - 2 * lines.flipped.int())
                held[lines.output] += difference * (1 << lines.shift.int())
            weight[:, span] = held.to(weight.dtype)
        return weight

    @staticmethod
    def _programmed(lines: Lines, digit: torch.Tensor, stuck: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cells of both sides of the pair that make the digits of some lines: a pair with a stuck cell takes what that
        leaves; otherwise the side that is not needed stays at 0."""
        difference = torch.where(lines.flipped.bool(), -digit, digit)
        positive, negative = stuck[0][lines.line].int(), stuck[1][lines.line].int()
        own = torch.where(negative >= 0, difference + negative, difference.clamp(min=0))
        own = torch.where(positive >= 0, positive, own)
        return own, own - difference

    def _digits(self, stuck: torch.Tensor, span: slice) -> tuple[list[torch.Tensor], torch.Tensor]:
        """d of every line of every round, and what is missing of every weight [N, word lines]."""
        intervals = []
        low = torch.zeros(self.dense.weight[:, span].shape, dtype=torch.int32, device=self.dense.device)
        high = torch.zeros_like(low)
        for lines in self.rounds:
            positive, negative = stuck[0][lines.line], stuck[1][lines.line]
            least = positive.clamp(min=0) - negative.masked_fill(negative < 0, 1)
            most = positive.masked_fill(positive < 0, 1) - negative.clamp(min=0)
            flipped = lines.flipped.bool()
            least, most = torch.where(flipped, -most, least), torch.where(flipped, -least, most)
            intervals.append((least.int(), most.int()))
            low[lines.output] += least.int() << lines.shift.int()
            high[lines.output] += most.int() << lines.shift.int()
        rest = self.dense.weight[:, span].int()
        digits = []
        for lines, (least, most) in zip(self.rounds, intervals, strict=True):
            shift = lines.shift.int()
            low[lines.output] -= least << shift
            high[lines.output] -= most << shift
            own, below, above = rest[lines.output], low[lines.output], high[lines.output]
            best = torch.full_like(own, torch.iinfo(torch.int32).max)
            digit = torch.zeros_like(own)
            for value in (0, 1, -1):
                left = own - (value << shift if value >= 0 else -(-value << shift))
                missed = (below - left).clamp(min=0) + (left - above).clamp(min=0)
                cost = missed * _OUT_OF_REACH + left.abs()
                cost = cost.masked_fill((value < least) | (value > most), torch.iinfo(torch.int32).max)
                digit = torch.where(cost < best, value, digit)
                best = torch.minimum(cost, best)
            rest[lines.output] = own - (digit << shift)
            digits.append(digit)
        return digits, rest

    def missed(self, blocks: Blocks, arrangement: Arrangement) -> torch.Tensor:
        """Squared distance of each output's weights from what was meant, float64[N]."""
        total = torch.zeros(len(self.dense.weight), dtype=torch.float64, device=self.dense.device)
        for span, chip in blocks:
            rest = self._digits(arrangement.of_stuck(chip, span.start), span)[1]
            total += rest.double().square().sum(dim=1)
        return total

    def cells(self, faults: FaultMap) -> torch.Tensor:
        """What to program, uint8[2, row blocks * rows, lines]: healthy cells so that the digits come out."""
        placed, geometry = self.dense.placed, self.dense.placed.geometry
        shape = (2, len(placed.output), geometry.row_blocks * geometry.rows)
        cells = torch.zeros(shape, dtype=torch.uint8, device=self.dense.device)
        blocks, arrangement = self.arranged(faults)
        for span, chip in blocks:
            stuck = arrangement.of_stuck(chip, span.start)
            for lines, digit in zip(self.rounds, self._digits(stuck, span)[0], strict=True):
                for sign, own in enumerate(self._programmed(lines, digit, stuck)):
                    cells[sign, lines.line, span] = own.to(torch.uint8)
        return arrangement.to_chip(cells).transpose(1, 2)
