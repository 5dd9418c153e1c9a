"""Prune at once, before training, and solve what is left by least squares; only the final epochs train."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from crossvote.sim.common.progress import Progress
from crossvote.sim.common.schema import config_dataclass
from crossvote.sim.common.seeds import seed_sequence
from crossvote.swstack.pruning.axes import Axis, settle
from crossvote.swstack.pruning.config import DECIDED_FIRST
from crossvote.swstack.pruning.method import PruningMethod, Setup
from crossvote.swstack.pruning.methods import METHODS
from crossvote.swstack.pruning.reconstruction import KeptLines, check_reconstructible, reconstruct, rotate
from crossvote.swstack.pruning.saliency import gradient_saliency
from crossvote.swstack.tasks.batches import Batch, Encoded, batch_indices, collate


@config_dataclass
class LeastSquaresSettings:
    """Of least squares."""

    calibration_tokens: int = Field(
        default=32_768,
        ge=1,
        le=10_000_000,
        description="Tokens of train examples on which matrices are solved (about 40 kB of memory each for BERT-base).",
    )
    ridge: float = Field(
        default=0.1,
        gt=0,
        le=1e6,
        description="Pull towards the dense weights, in units of the mean square of a matrix' inputs.",
    )


@METHODS.register(DECIDED_FIRST)
class LeastSquares(PruningMethod):
    """Turns the bases of the heads, chooses, and solves (``crossvote.swstack.pruning.reconstruction``).

    Columns go by their saliency; a query and its key column are worth one product, so each counts half. Those of the
    first feed-forward matrix go by what the second can do without (``crossvote.swstack.pruning.brain_surgeon``).
    """

    Settings = LeastSquaresSettings

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._settings = setup.own(LeastSquaresSettings)
        self._setup = setup
        self._scores = {
            stack.name: torch.zeros(len(stack.axes), stack.size, device=setup.device) for stack in self.stacks
        }

    @classmethod
    def check(cls, model: nn.Module) -> None:
        """Layers must have matrices that can be solved one after the other."""
        check_reconstructible(model)

    def prepare(self, model: PreTrainedModel, encoded: Encoded, seed: int, progress: Progress) -> None:
        """Choose what is kept, prune and solve ``model`` in place.

        Raises:
            UserError: as ``check``.
        """
        self.check(model)
        model.eval()
        batches = self._calibration(encoded, seed)
        rotate(model, batches, progress)
        steps = max(1, min(self._setup.config.saliency_steps, len(batches)))
        saliency = gradient_saliency(model, self._setup.weights, self.axes, batches[:steps], progress)
        kept = {}
        for group, weights in self._setup.weights.items():
            inputs, outputs = weights.joined().shape
            masks = {kind: torch.ones(n, dtype=torch.bool, device=self._setup.device)
                     for kind, n in (("columns", outputs), ("rows", inputs))}  # fmt: skip
            for axis in self.axes:
                if axis.group.name == group:
                    masks[axis.kind] = settle(_paired(saliency[axis.name], axis), axis)
            kept[group] = KeptLines(masks["columns"], masks["rows"])
        chosen = {a.group.name: a.prune for a in self.axes if a.kind == "columns" and a.group.role == "ffn1"}
        kept = reconstruct(model, batches, kept, self._settings.ridge, chosen, progress)
        for stack in self.stacks:
            masks_of = [getattr(kept[axis.group.name], axis.kind) for axis in stack.axes]
            self._scores[stack.name].copy_(torch.stack(masks_of).float())

    def _calibration(self, encoded: Encoded, seed: int) -> Sequence[Batch]:
        """Batches of train examples until there are enough tokens, or none are left."""
        rng = np.random.default_rng(seed_sequence(seed, "prune", "calibration"))
        found, tokens = [], 0
        for indices in batch_indices(encoded.lengths, self._setup.config.batch_size, rng):
            found.append(collate(encoded, indices).to(self._setup.device))
            tokens += int(encoded.lengths[indices].sum())
            if tokens >= self._settings.calibration_tokens:
                break
        return found

    def scores(self) -> dict[str, torch.Tensor]:
        """One for what is kept, zero for what is not."""
        return self._scores

    def tensors(self) -> dict[str, torch.Tensor]:
        """The scores."""
        return {f"scores.{name}": value for name, value in self._scores.items()}

    def closed(self) -> dict[str, torch.Tensor]:
        """What is pruned, from the first step on."""
        return {name: (scores == 0).sum(dim=1) for name, scores in self._scores.items()}


def _paired(saliency: torch.Tensor, axis: Axis) -> torch.Tensor:
    """Saliency of columns, halved for queries and keys."""
    if axis.kind != "columns" or axis.group.role != "qkv":
        return saliency
    query, key, value = saliency.split(list(axis.widths))
    return torch.cat([query / 2, key / 2, value])
