"""Training for faults: the pruned model goes on learning while its weights are as wrong as on a chip.

In every step a fault rate is drawn, uniform from 0 to the design rate or always that one, and every matrix gets what
the registered kind of noise makes of it (``crossvote.swstack.pruning.noise``): by default errors of its code's law.
Gradients pass straight through to the weights that are kept. Chips are never seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.common.seeds import seed_sequence
from crossvote.swstack.models.layouts import is_transposed
from crossvote.swstack.models.masks import MatrixMask, apply_masks
from crossvote.swstack.pruning.code_law import MatrixLaw
from crossvote.swstack.pruning.distillation import loss_for
from crossvote.swstack.pruning.fault_training_config import FaultTrainingConfig
from crossvote.swstack.pruning.noise import Noise
from crossvote.swstack.tasks import Task
from crossvote.swstack.tasks.batches import encode
from crossvote.swstack.training.loop import TrainingHooks, best_device, steps_per_epoch, train

STAGE = "fault_training"


@dataclass(frozen=True)
class FaultTrainingResult:
    """What training for faults gives besides the model.

    history: one row per epoch. seconds: wall time.
    """

    history: tuple[dict[str, float], ...]
    seconds: float


def train_for_faults(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    masks: Mapping[str, MatrixMask],
    laws: Mapping[str, MatrixLaw],
    cfg: FaultTrainingConfig,
    seed: int,
    work_dir: Path,
    progress: Progress = no_progress,
) -> FaultTrainingResult:
    """Train the pruned ``model`` in place (on a CUDA device if there is one; it comes back on the CPU).

    Pruned rows and columns stay zero. Continues after an interruption with the same weights in the end.

    masks, laws: by matrix name.
    """
    model.to(best_device())  # type: ignore[arg-type]
    encoded = encode(tokenizer, task.train, task.max_length)
    loss = loss_for(model, cfg)
    faults = FaultyWeights(laws, masks, cfg, seed, cfg.epochs * steps_per_epoch(len(encoded), cfg.batch_size))
    with faults.attached(model):
        run = train(
            model,
            encoded,
            cfg,
            epochs=cfg.epochs,
            stage=STAGE,
            seed=seed,
            work_dir=work_dir,
            progress=progress,
            hooks=faults,
            loss_function=loss,
            hidden=cfg.layer_distillation > 0,
            dropout=cfg.dropout,
        )
        faults.rate = None
    apply_masks(model, masks)
    model.to("cpu")  # type: ignore[arg-type]
    return FaultTrainingResult(run.history, run.seconds)


class _FaultyMatrix(nn.Module):
    """Parametrization of one weight: the mask, then the errors of this step."""

    mask: torch.Tensor

    def __init__(self, faults: FaultyWeights, law: MatrixLaw, mask: torch.Tensor, transposed: bool) -> None:
        super().__init__()
        self._faults, self._law, self._transposed = [faults], law, transposed  # a list: no submodule
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight as the forward pass sees it, in torch's layout."""
        faults = self._faults[0]
        kept = weight * self.mask
        if faults.rate is None or faults.generator is None:
            return kept
        seen = faults.perturbed(self._law, kept.T if self._transposed else kept)
        return (seen.T if self._transposed else seen) * self.mask


class FaultyWeights(TrainingHooks):
    """Draws the fault rate of every step and lays the errors over the weights of the matrices that have a law.

    Attributes:
        rate: of this step; None: the weights are free of errors. generator: draws the errors of this step.
    """

    def __init__(
        self,
        laws: Mapping[str, MatrixLaw],
        masks: Mapping[str, MatrixMask],
        cfg: FaultTrainingConfig,
        seed: int,
        steps: int,
    ) -> None:
        self.rate: float | None = None
        self.generator: torch.Generator | None = None
        self._laws, self._masks, self._cfg, self._seed, self._steps = laws, masks, cfg, seed, steps
        self._device = torch.device("cpu")
        self._penalties: list[torch.Tensor] = []

    @contextmanager
    def attached(self, model: nn.Module) -> Iterator[None]:
        """The matrices go through masks and errors while the context lasts."""
        self._device = next(model.parameters()).device
        modules = []
        for name, law in self._laws.items():
            module = model.get_submodule(name)
            transposed = not is_transposed(model, name)  # the law takes N x K, as Linear keeps it
            weight = cast(torch.Tensor, module.weight)
            keep = torch.ones((), device=self._device).expand(weight.shape)
            if name in self._masks:
                mask = self._masks[name]
                outer = torch.from_numpy(np.outer(mask.rows, mask.columns).astype(np.float32)).to(self._device)
                keep = outer if transposed else outer.T
            faulty = _FaultyMatrix(self, law.to(self._device), keep.contiguous(), transposed)
            parametrize.register_parametrization(module, "weight", faulty)
            modules.append(module)
        try:
            yield
        finally:
            self.rate = None
            for module in modules:
                parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)

    def perturbed(self, law: MatrixLaw, weight: torch.Tensor) -> torch.Tensor:
        """A matrix [N, K] as this step sees it; what it adds to the loss is kept for ``penalty``."""
        assert self.rate is not None
        assert self.generator is not None
        noise: Noise = self._cfg.noise
        if (penalty := noise.penalty(law, weight, self.rate)) is not None:
            self._penalties.append(penalty)
        return noise.perturbed(law, weight, self.rate, self.generator)

    def penalty(self, step: int) -> torch.Tensor | None:
        """The mean of what the matrices of this forward pass add to the loss; None where the noise adds nothing."""
        return torch.stack(self._penalties).mean() if self._penalties else None

    def begin_step(self, step: int) -> None:
        """Draw the rate and seed the errors of this step; both depend on the seed and the step alone."""
        sequence = seed_sequence(self._seed, STAGE, "errors", step)
        share = 1.0 if self._cfg.draw == "fixed" else float(np.random.default_rng(sequence).random())
        ramp = 1.0 if not self._cfg.ramp_share else min(1.0, (step + 1) / (self._cfg.ramp_share * self._steps))
        self._penalties = []
        self.rate = share * ramp * self._cfg.design_rate
        self.generator = torch.Generator(self._device)
        self.generator.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))
