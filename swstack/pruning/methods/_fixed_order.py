"""What closes rows and columns in an order that is fixed at the start, gradually, and learns nothing."""

from __future__ import annotations

from abc import abstractmethod

import torch

from crossvote.swstack.pruning.axes import settle
from crossvote.swstack.pruning.method import PruningMethod, Setup
from crossvote.swstack.pruning.saliency import Saliency


class FixedOrder(PruningMethod):
    """Everything is open for the steps in which gates measure their start; then the lowest close, as the ramp says."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._saliency = Saliency(setup)
        self._ones = {
            stack.name: torch.ones(len(stack.axes), stack.size, device=setup.device, requires_grad=True)
            for stack in self.stacks
        }
        self._order = {name: torch.zeros_like(ones, requires_grad=False) for name, ones in self._ones.items()}

    @abstractmethod
    def _start(self, saliency: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Scores float[G, size] by stack, which stay; ``saliency`` was measured up to this step."""

    def factors(self, ramp: float) -> dict[str, torch.Tensor]:
        """Ones while measuring; then 0 for the lowest scores and 1 for the others."""
        if self._saliency.measuring:
            return dict(self._ones)
        return {stack.name: settle(self._order[stack.name], stack, ramp).float() for stack in self.stacks}

    @torch.no_grad()
    def update(self, ramp: float) -> None:
        """Measure the saliency, and fix the order when that is done."""
        if not self._saliency.measuring:
            return
        gradients = {}
        for name, ones in self._ones.items():
            assert ones.grad is not None
            gradients[name], ones.grad = ones.grad, None
        self._saliency.add(gradients)
        if not self._saliency.measuring:
            for name, scores in self._start(self._saliency.sums()).items():
                self._order[name].copy_(scores)

    def scores(self) -> dict[str, torch.Tensor]:
        """The order fixed at the start."""
        return self._order

    def tensors(self) -> dict[str, torch.Tensor]:
        """The order, and what is measured."""
        return {**{f"order.{name}": value for name, value in self._order.items()}, **self._saliency.tensors()}
