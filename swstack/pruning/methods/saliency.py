"""The start of the gates alone: columns close in the order of their saliency, and nothing is learned."""

from __future__ import annotations

import torch

from crossvote.swstack.pruning.methods import METHODS
from crossvote.swstack.pruning.methods._fixed_order import FixedOrder


@METHODS.register("saliency")
class SaliencyOrder(FixedOrder):
    """Closes what the gates would close if no gate ever learned."""

    def _start(self, saliency: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return saliency
