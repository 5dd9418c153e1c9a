"""Rows and columns in another order on a chip whose faults are known (Zhang et al., ASP-DAC 2019).

Outputs change places with their neighbours that fill a crossbar together, then the inputs of a row block with each
other. Both are assignment problems: the losses of single stuck pairs, summed over the pairs that an output or an input
meets, for every place it could take.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from crossvote.swstack.inference.around import PROGRAMS, Arrangement
from crossvote.swstack.inference.around.closest import Blocks, ClosestProgram
from crossvote.swstack.inference.around.loss import classes_of, line_losses


@PROGRAMS.register("permuted")
class PermutedProgram(ClosestProgram):
    """Assigns whole outputs to the places of their crossbar, then inputs to the word lines of their row block."""

    def arrange(self, blocks: Blocks) -> Arrangement:
        line = self._columns(blocks)
        moved = Arrangement(line, self.unmoved.turned, self.unmoved.word)
        return Arrangement(line, moved.turned, self._rows(blocks, moved))

    def _columns(self, blocks: Blocks) -> torch.Tensor:
        """The bit line of each line of the image, int64[lines]."""
        placed = self.dense.placed
        used = np.flatnonzero(placed.output >= 0)
        by_output = used[np.lexsort((used, placed.output[used]))]
        line = np.arange(len(placed.output))
        kept, width = np.unique(placed.output[used], return_counts=True)
        if not len(kept):
            return torch.from_numpy(line).to(self.dense.device)
        # The codes that do not vote are the same for every output.
        places = by_output.reshape(len(kept), int(width[0]))
        own = np.argsort(-placed.shift[places].astype(np.int64), axis=1, kind="stable")
        places = np.take_along_axis(places, own, axis=1)
        together = max(1, placed.geometry.columns // int(width[0]))
        for first in range(0, len(places), together):
            some = places[first : first + together]
            total = torch.zeros((len(some), len(some)), device=self.dense.device)
            for span, chip in blocks:
                for lines in some.T:  # one line of each output at a time
                    loss = line_losses(self.dense, lines, span)
                    total += torch.einsum("clk,csk->ls", loss, classes_of(chip[:, lines]).float())
            row, column = linear_sum_assignment(total.cpu().numpy())
            line[some[row]] = some[column]
        return torch.from_numpy(line).to(self.dense.device)

    def _rows(self, blocks: Blocks, moved: Arrangement) -> torch.Tensor:
        """The word line of each input, int64[K]."""
        placed = self.dense.placed
        used = np.flatnonzero(placed.output >= 0)
        word = np.arange(placed.inputs)
        for span, chip in blocks:
            stuck = moved.of_stuck(chip, span.start)
            for first in range(span.start, span.stop, placed.rows):
                stop = min(first + placed.rows, span.stop)
                total = torch.zeros((stop - first, stop - first), device=self.dense.device)
                for lines in np.array_split(used, max(1, len(used) // 1024)):
                    loss = line_losses(self.dense, lines, slice(first, stop))
                    found = classes_of(stuck[:, lines, first - span.start : stop - span.start]).float()
                    total += torch.einsum("clk,clw->kw", loss, found)
                row, column = linear_sum_assignment(total.cpu().numpy())
                word[first + row] = first + column
        return torch.from_numpy(word).to(self.dense.device)
