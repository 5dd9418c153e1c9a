"""The interface of a pruning method; the schedule around it is the same for all (see `swstack.prune.pruning`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch

from swstack.prune.axes import Axis


class PruningMethod(ABC):
    """Decides, during training, which rows and columns matter.

    While the method is active, every step calls `factors` before the forward pass and `update` after the weights
    were updated. When it is frozen, `scores` decides what is kept.
    """

    def __init__(self, axes: Sequence[Axis]) -> None:
        self.axes = tuple(axes)

    @abstractmethod
    def factors(self, ramp: float) -> dict[str, torch.Tensor]:
        """Axis name -> factor float[size] of each row or column in this step; absent: ones.

        ramp: share of each axis' target that is asked for in this step, from 0 to 1.
        """

    def penalty(self, ramp: float) -> torch.Tensor | None:
        """A term to add to the loss of this step."""
        return None

    def update(self, ramp: float) -> None:
        """Learn from the gradients of this step."""
        return None

    @abstractmethod
    def scores(self) -> dict[str, torch.Tensor]:
        """Axis name -> float[size]: the higher, the sooner it is kept."""

    def closed(self) -> dict[str, int]:
        """Axis name -> how many rows or columns the method itself holds closed now; absent: it closes none."""
        return {}

    def reopened(self) -> int:
        """How often a row or column came back so far."""
        return 0

    def tensors(self) -> dict[str, torch.Tensor]:
        """State for checkpoints."""
        return {}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what `tensors` gave."""
        return None
