"""Gradual structured magnitude pruning (Zhu and Gupta 2017): the smallest norms of the moment are closed."""

from __future__ import annotations

import torch

from crossvote.swstack.pruning.axes import settle
from crossvote.swstack.pruning.method import PruningMethod, Setup, StackedNorms
from crossvote.swstack.pruning.methods import METHODS


@METHODS.register("magnitude")
class Magnitude(PruningMethod):
    """Ranks anew in every step."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._norms = StackedNorms(self.stacks, setup.weights)

    def scores(self) -> dict[str, torch.Tensor]:
        """Euclidean norms of the trained weights, relative to their matrix."""
        return self._norms()

    def factors(self, ramp: float) -> dict[str, torch.Tensor]:
        """0 for the smallest norms, 1 for the others."""
        scores = self.scores()
        return {stack.name: settle(scores[stack.name], stack, ramp).float() for stack in self.stacks}
