"""Magnitude with the start and the schedule of the gates: columns close in the order of their norms at that step."""

from __future__ import annotations

import torch

from crossvote.swstack.pruning.method import Setup, StackedNorms
from crossvote.swstack.pruning.methods import METHODS
from crossvote.swstack.pruning.methods._fixed_order import FixedOrder


@METHODS.register("magnitude-start")
class MagnitudeOrder(FixedOrder):
    """All is as in 'saliency' but what the order is by."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._norms = StackedNorms(self.stacks, setup.weights)

    def _start(self, saliency: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return self._norms()
