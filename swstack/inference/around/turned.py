"""Signs of outputs and of single bit lines chosen for a chip whose faults are known.

A line that is read with the other sign offers the digits of its pair negated: a cell that is stuck where its weight
needs the other value may be just right then (sign flip per column and bit flip per slice, Malhotra and Gupta, arXiv
2512.18459, on top of the closest value).
"""

from __future__ import annotations

import torch

from crossvote.swstack.inference.around import PROGRAMS, Arrangement
from crossvote.swstack.inference.around.closest import Blocks, ClosestProgram


@PROGRAMS.register("turned")
class TurnedProgram(ClosestProgram):
    """Tries the other sign for whole outputs, then for their lines from the largest weight down; keeps what helps."""

    def arrange(self, blocks: Blocks) -> Arrangement:
        """Outputs do not meet, so each try is one for all of them at once: 2 + lines of an output programmings."""
        placed, arrangement = self.dense.placed, self.unmoved
        output = torch.from_numpy(placed.output.astype("int64")).to(self.dense.device)
        every = output >= 0
        best = self.missed(blocks, arrangement)
        line_sets = [every]
        for lines in self.rounds:
            own = torch.zeros_like(every)
            own[lines.line] = True
            line_sets.append(own)
        for tried in line_sets:
            turned = arrangement.turned ^ tried
            missed = self.missed(blocks, Arrangement(arrangement.line, turned, arrangement.word))
            better = missed < best
            best = torch.where(better, missed, best)
            kept = torch.where(tried & better[output.clamp(min=0)], turned, arrangement.turned)
            arrangement = Arrangement(arrangement.line, kept, arrangement.word)
        return arrangement
