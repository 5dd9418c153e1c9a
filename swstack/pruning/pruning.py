"""Structured pruning while training: warm-up, ramp to the target, freeze, final fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from crossvote.sim.common.progress import Progress, no_progress
from crossvote.swstack.models.layouts import encoder_groups, is_transposed, matrix_weight, word_line_groups
from crossvote.swstack.models.masks import Masks, MatrixMask, Sparsity, apply_masks, dense_masks, sparsity_table
from crossvote.swstack.pruning.augmentation import TokenExchange
from crossvote.swstack.pruning.axes import Axis, pruning_axes, settle
from crossvote.swstack.pruning.config import DECIDED_FIRST, NO_PRUNING, GateGradient, PruneConfig
from crossvote.swstack.pruning.decided import decide_once
from crossvote.swstack.pruning.distillation import loss_for
from crossvote.swstack.pruning.folding import fold
from crossvote.swstack.pruning.method import PruningMethod, make_method
from crossvote.swstack.pruning.straight_through import gated_weight
from crossvote.swstack.tasks import Task
from crossvote.swstack.tasks.batches import encode
from crossvote.swstack.training.checkpoint import part_of
from crossvote.swstack.training.loop import TrainingHooks, best_device, steps_per_epoch, train


@dataclass(frozen=True)
class PruneResult:
    """What pruning gives besides the model, whose pruned rows and columns are zero afterwards.

    masks, sparsity: with the rows and query columns that folding adds to the exact shares asked for.
    completed: axis name (group and 'columns' or 'rows') -> how many were closed (positive) or opened again
        (negative) by score at the freeze, because the method itself ended off the target; axes on target are absent.
    reopened: how often a closed row or column came back while gates learned.
    """

    masks: Masks
    sparsity: tuple[Sparsity, ...]
    history: tuple[dict[str, float], ...]
    completed: dict[str, int]
    reopened: int
    seconds: float


def prune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    cfg: PruneConfig,
    seed: int,
    work_dir: Path,
    progress: Progress = no_progress,
) -> PruneResult:
    """Prune the fine-tuned ``model`` in place to exactly the asked share of columns (and rows) in every group.

    Runs on a CUDA device if there is one; the model comes back on the CPU, its pruned rows and columns set to zero.
    Biases are never masked, but constants that pruned columns deliver are folded into the biases after them, which
    leaves the outputs as they are and prunes rows and some query columns on top. Continues after an interruption like
    ``crossvote.swstack.training.finetune.finetune``.

    Raises:
        UserError: a group cannot reach the share.
    """
    if cfg.method == NO_PRUNING:
        dense = dense_masks(model)
        return PruneResult(dense, sparsity_table(model, dense), (), {}, 0, 0.0)
    axes = pruning_axes(model, cfg.column_sparsity, cfg.row_sparsity)
    model.to(best_device())  # type: ignore[arg-type]
    encoded = encode(tokenizer, task.train, task.max_length)
    per_epoch = steps_per_epoch(len(encoded), cfg.batch_size)
    decided_first = cfg.method == DECIDED_FIRST
    loss = loss_for(model, cfg)  # before anything is changed: the dense model teaches
    method = make_method(model, axes, cfg, cfg.gate_epochs * per_epoch)
    if decided_first:
        decide_once(method, model, encoded, cfg, seed, work_dir, progress)
    pruner = Pruner(
        axes,
        method,
        first_step=0 if decided_first else cfg.warmup_epochs * per_epoch,
        freeze_step=0 if decided_first else (cfg.warmup_epochs + cfg.gate_epochs) * per_epoch,
        ramp_share=cfg.ramp_share,
        gradient=cfg.gate_gradient,
    )
    with pruner.attached(model):
        run = train(
            model,
            encoded,
            cfg,
            epochs=cfg.epochs,
            stage="prune",
            seed=seed,
            work_dir=work_dir,
            progress=progress,
            hooks=pruner,
            loss_function=loss,
            hidden=cfg.layer_distillation > 0,
            dropout=cfg.dropout,
            augment=TokenExchange(cfg.augmentation, tokenizer.all_special_ids) if cfg.augmentation else None,
        )
        pruner.freeze()
    masks = pruner.masks(model)
    model.to("cpu")  # type: ignore[arg-type]
    apply_masks(model, masks)
    masks = fold(model, masks)
    return PruneResult(
        masks=masks,
        sparsity=sparsity_table(model, masks),
        history=run.history,
        completed=pruner.completed(),
        reopened=pruner.method.reopened(),
        seconds=run.seconds,
    )


class _GatedMatrix(nn.Module):
    """Parametrization of one weight by the pruner's current factors."""

    def __init__(self, transform: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self._transform = transform

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight as the forward pass sees it, in torch's layout."""
        return self._transform(weight)


class Pruner(TrainingHooks):
    """Runs a method through the schedule: dense until first_step, active until ``freeze_step``, then fixed masks."""

    def __init__(
        self,
        axes: Sequence[Axis],
        method: PruningMethod,
        *,
        first_step: int,
        freeze_step: int,
        ramp_share: float,
        gradient: GateGradient,
    ) -> None:
        self.method = method
        self._axes = {axis.name: axis for axis in axes}
        self._first_step = first_step
        self._freeze_step = freeze_step
        self._ramp_share = ramp_share
        self._gradient = gradient
        self._factors: dict[str, torch.Tensor] = {}
        self._frozen: dict[str, torch.Tensor] = {}
        self._frozen_factors: dict[str, torch.Tensor] = {}
        self._closed_at_freeze: dict[str, torch.Tensor] = {}

    @contextmanager
    def attached(self, model: nn.Module) -> Iterator[None]:
        """Every encoder matrix goes through the pruner's factors while the context lasts."""
        modules = []
        for group in encoder_groups(model):
            first = 0
            for name in group.matrices:
                outputs = matrix_weight(model, name).shape[1]
                module = model.get_submodule(name)
                transform = self._transform(group.name, slice(first, first + outputs), is_transposed(model, name))
                parametrize.register_parametrization(module, "weight", _GatedMatrix(transform))
                modules.append(module)
                first += outputs
        try:
            yield
        finally:
            self._factors = {}
            for module in modules:
                parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)

    def _transform(self, group: str, columns: slice, transposed: bool) -> Callable[[torch.Tensor], torch.Tensor]:
        def transform(weight: torch.Tensor) -> torch.Tensor:
            by_row = self._factors.get(f"{group}.rows")
            by_column = self._factors.get(f"{group}.columns")
            if by_row is None and by_column is None:
                return weight
            by_column = None if by_column is None else by_column[columns]
            seen = gated_weight(weight.T if transposed else weight, by_row, by_column, self._gradient)
            return seen.T if transposed else seen

        return transform

    def _active(self, step: int) -> bool:
        return self._first_step <= step < self._freeze_step

    def _ramp(self, step: int) -> float:
        """Share of the target asked for at ``step``."""
        progress = (step - self._first_step + 1) / (self._freeze_step - self._first_step)
        return self.method.ramp(progress, self._ramp_share)

    def _by_axis(self, stacked: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Axis name -> its part of what a method gives by stack."""
        return {
            axis.name: part
            for stack in self.method.stacks
            if stack.name in stacked
            for axis, part in zip(stack.axes, stacked[stack.name].unbind(), strict=True)
        }

    def begin_step(self, step: int) -> None:
        """Set the factors of this step."""
        if self._active(step):
            self._factors = self._by_axis(self.method.factors(self._ramp(step)))
        elif step >= self._freeze_step:
            self.freeze()

    def penalty(self, step: int) -> torch.Tensor | None:
        """The method's penalty while it is active."""
        return self.method.penalty(self._ramp(step)) if self._active(step) else None

    def end_step(self, step: int) -> None:
        """Let the method learn while it is active."""
        if self._active(step):
            self.method.update(self._ramp(step))

    def freeze(self) -> None:
        """Fix the masks by the method's scores, once; they are the factors from here on."""
        if not self._frozen:
            self._closed_at_freeze = self._by_axis(self.method.closed())
            scores = self._by_axis(self.method.scores())
            self._frozen = {name: settle(scores[name], axis) for name, axis in self._axes.items()}
            self._frozen_factors = {name: keep.float() for name, keep in self._frozen.items()}
        self._factors = self._frozen_factors

    def completed(self) -> dict[str, int]:
        """Axis name -> target minus what the method had closed itself, where that is not zero."""
        missing = {name: self._axes[name].prune - int(held) for name, held in self._closed_at_freeze.items()}
        return {name: count for name, count in missing.items() if count}

    def masks(self, model: nn.Module) -> Masks:
        """The frozen masks per matrix."""
        masks = dense_masks(model)
        for group in word_line_groups(model):
            first = 0
            for name in group.matrices:
                dense = masks[name]
                outputs = dense.columns.size
                columns = self._frozen.get(f"{group.name}.columns")
                rows = self._frozen.get(f"{group.name}.rows")
                masks[name] = MatrixMask(
                    dense.rows if rows is None else rows.cpu().numpy(),
                    dense.columns if columns is None else columns[first : first + outputs].cpu().numpy(),
                )
                first += outputs
        return masks

    def describe(self) -> dict[str, float]:
        """Smallest and largest share of columns that is closed in a group, and the gates reopened so far."""
        closed = {name: (~keep).sum() for name, keep in self._frozen.items()} or self._by_axis(self.method.closed())
        counts = {name: int(count) for name, count in closed.items()}
        shares = [counts[name] / axis.size for name, axis in self._axes.items() if name in counts]
        if not shares:
            return {}
        return {
            "least_sparsity": min(shares),
            "most_sparsity": max(shares),
            "reopened": float(self.method.reopened()),
        }

    def tensors(self) -> dict[str, torch.Tensor]:
        """The method's state and the frozen masks."""
        return {
            **{f"method.{name}": value for name, value in self.method.tensors().items()},
            **{f"frozen.{name}": value for name, value in self._frozen.items()},
            **{f"closed.{name}": value for name, value in self._closed_at_freeze.items()},
        }

    def restore(self, tensors: Mapping[str, torch.Tensor], step: int) -> None:
        """Put back the method's state and the frozen masks."""
        self.method.restore(part_of(tensors, "method."))
        device = best_device()
        self._frozen = {name: value.to(device) for name, value in part_of(tensors, "frozen.").items()}
        self._frozen_factors = {name: keep.float() for name, keep in self._frozen.items()}
        self._closed_at_freeze = part_of(tensors, "closed.")
