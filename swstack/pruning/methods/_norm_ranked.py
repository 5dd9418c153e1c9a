"""What methods share that shrink whole rows and columns by a penalty and cut the smallest norms at the freeze."""

from __future__ import annotations

import torch

from crossvote.swstack.pruning.method import PruningMethod, Setup, StackedNorms

#: Steps between two updates of the auxiliary variables.
_INTERVAL = 25


class NormRanked(PruningMethod):
    """Keeps the largest norms of the trained weights; counts its steps."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._weights = setup.weights
        self._norms = StackedNorms(self.stacks, setup.weights)
        self._step = torch.zeros((), dtype=torch.int64)

    def scores(self) -> dict[str, torch.Tensor]:
        """Euclidean norms, relative to their matrix."""
        return self._norms()

    def update(self, ramp: float) -> None:
        """Count the step."""
        self._step += 1

    def _due(self) -> bool:
        return int(self._step) % _INTERVAL == 0
