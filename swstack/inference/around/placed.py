"""Every line of every code where it does least harm, on a chip whose faults are known.

Within a column of crossbars any bit line can hold any line of any output there: the column map says which, and with
which sign. The loss of a line on a bit line is summed over the word lines by one product of matrices; who goes where
is an assignment problem, solved exactly for each column of crossbars.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from crossvote.swstack.inference.around import PROGRAMS, Arrangement
from crossvote.swstack.inference.around.closest import Blocks, ClosestProgram
from crossvote.swstack.inference.around.loss import EXCHANGED, classes_of, line_losses


@PROGRAMS.register("placed")
class PlacedProgram(ClosestProgram):
    """Assigns lines to the bit lines of their column of crossbars, unused ones included, each with the better sign."""

    def arrange(self, blocks: Blocks) -> Arrangement:
        placed, columns = self.dense.placed, self.dense.placed.geometry.columns
        line = np.arange(len(placed.output))
        turned = np.zeros(len(line), np.bool_)
        for first in range(0, len(line), columns):
            own = first + np.flatnonzero(placed.output[first : first + columns] >= 0)
            if not len(own):
                continue
            straight, other = self._losses(blocks, own, slice(first, first + columns))
            row, column = linear_sum_assignment(np.minimum(straight, other))
            free = np.setdiff1d(np.arange(columns), column)
            unused = np.setdiff1d(np.arange(first, first + columns), own)
            line[own[row]], line[unused] = first + column, first + free
            turned[own[row]] = other[row, column] < straight[row, column]
        return Arrangement(
            torch.from_numpy(line).to(self.dense.device),
            torch.from_numpy(turned).to(self.dense.device),
            self.unmoved.word,
        )

    def _losses(self, blocks: Blocks, own: np.ndarray, slots: slice) -> tuple[np.ndarray, np.ndarray]:
        """Loss of the lines ``own`` of the image on each bit line of ``slots``, with the sign of the image and with
        the other one; float64[own, slots]."""
        total = torch.zeros((len(own), 2 * (slots.stop - slots.start)), device=self.dense.device)
        for span, chip in blocks:
            found = classes_of(chip[:, slots])
            # A line read with the other sign meets each class with its sides exchanged: both in one product.
            both = torch.cat((found, found[list(EXCHANGED)]), dim=1).permute(1, 0, 2).float().flatten(1)
            total.addmm_(line_losses(self.dense, own, span).transpose(0, 1).flatten(1), both.T)
        straight, other = total.double().cpu().numpy().reshape(len(own), 2, -1).swapaxes(0, 1)
        return straight, other
