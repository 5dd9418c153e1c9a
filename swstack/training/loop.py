"""The training loop that fine-tuning and pruning share: schedule, clipping, checkpoints, resume."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, get_linear_schedule_with_warmup

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.progress import Progress
from crossvote.sim.common.schema import to_mapping
from crossvote.sim.common.seeds import seed_sequence
from crossvote.swstack.models.tensors import tensor_bytes
from crossvote.swstack.tasks.batches import Batch, Encoded, batch_indices, collate
from crossvote.swstack.tasks.kinds import kind_of
from crossvote.swstack.training.checkpoint import (
    load_checkpoint,
    optimizer_tensors,
    part_of,
    restore_optimizer,
    save_checkpoint,
)
from crossvote.swstack.training.config import TrainingConfig
from crossvote.swstack.training.predict import output_logits

#: Checkpoint file inside the work directory.
CHECKPOINT = "checkpoint.safetensors"


class TrainingHooks:
    """What a pruning method adds to the loop; fine-tuning adds nothing."""

    def begin_step(self, step: int) -> None:
        """Called before the forward pass of step ``step`` (from 0)."""

    def penalty(self, step: int) -> torch.Tensor | None:
        """A term to add to the loss."""
        return None

    def end_step(self, step: int) -> None:
        """Called after the weights were updated; gradients are still there."""

    def describe(self) -> dict[str, float]:
        """Numbers to put into the history of the epoch that just ended."""
        return {}

    def tensors(self) -> dict[str, torch.Tensor]:
        """State to put into checkpoints, besides the model's own."""
        return {}

    def restore(self, tensors: Mapping[str, torch.Tensor], step: int) -> None:
        """Put back what ``tensors`` gave, at the start of step ``step``."""


@dataclass(frozen=True, eq=False)
class Forward:
    """What a forward pass gave.

    logits: float32[batch, num_labels], or one vector for each token.
    hidden: the embeddings' output and that of every layer, [batch, length, width] in the precision of the pass; empty
        if not asked for.
    """

    logits: torch.Tensor
    hidden: tuple[torch.Tensor, ...]


def forward(model: PreTrainedModel, batch: Batch, hidden: bool = False) -> Forward:
    """Run the model on a batch; hidden: keep the hidden states."""
    output = model(**batch.inputs, output_hidden_states=hidden)
    return Forward(output_logits(output).float(), tuple(output.hidden_states) if hidden else ())


#: (what the forward pass gave, batch) -> scalar loss.
LossFunction = Callable[[Forward, Batch], torch.Tensor]


@dataclass
class _Position:
    """Where training is, and what it has seen; all of it goes into checkpoints."""

    step: int
    loss_sum: float
    seconds: float
    history: list[dict[str, float]]
    best_score: float | None = None
    epochs_without_gain: int = 0


@dataclass(frozen=True)
class TrainingRun:
    """What the loop reports: one row per epoch (epoch, loss, ...) and the seconds spent, interruptions apart."""

    history: tuple[dict[str, float], ...]
    seconds: float


def best_device() -> torch.device:
    """The CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 matrices in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def task_loss(output: Forward, batch: Batch) -> torch.Tensor:
    """The loss of the batch's kind of task, over the labelled examples."""
    return kind_of(batch.asks).loss(output.logits, batch)


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Number of batches, the last one possibly short."""
    return -(-examples // batch_size)


def train(
    model: PreTrainedModel,
    encoded: Encoded,
    cfg: TrainingConfig,
    *,
    epochs: int,
    stage: str,
    seed: int,
    work_dir: Path,
    progress: Progress,
    hooks: TrainingHooks | None = None,
    loss_function: LossFunction = task_loss,
    hidden: bool = False,
    dropout: bool = True,
    augment: Callable[[Batch], Batch] | None = None,
    score: Callable[[], float] | None = None,
    patience: int = 0,
    lower_is_better: bool = False,
) -> TrainingRun:
    """Train ``model`` in place for ``epochs``; it must be on the device it is to be trained on.

    AdamW with a linear warm-up and decay; batches are bucketed by length and padded to their longest example. A
    checkpoint is written every ``cfg.checkpoint_steps`` steps; a run that finds a checkpoint of the same model, data,
    configuration and seed in ``work_dir`` continues there, and ends with exactly the weights of a run that was never
    interrupted. Dropout and order are drawn from ``seed`` and ``stage``.

    Raises:
        UserError: at the first loss that is NaN or infinite.

    hidden: whether the loss function wants the hidden states.
    dropout: whether the model's dropout is on.
    augment: changes every batch before it is learned from.
    score: called after every epoch if ``patience`` > 0; training stops after ``patience`` epochs without a better score
        and the best epoch's weights are put back. lower_is_better: whether a lower score is.
    """
    hooks = hooks or TrainingHooks()
    device = model.device
    mixed = cfg.precision == "auto" and has_bfloat16(device)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(_decay_groups(model, cfg.weight_decay), lr=cfg.learning_rate, fused=True)
    per_epoch = steps_per_epoch(len(encoded), cfg.batch_size)
    total = epochs * per_epoch
    schedule = get_linear_schedule_with_warmup(optimizer, round(cfg.warmup_ratio * total), total)
    checkpoint = Path(work_dir) / CHECKPOINT
    fingerprint = fingerprint_of(model, encoded, cfg, mixed, stage, seed, epochs)
    position = _Position(step=0, loss_sum=0.0, seconds=0.0, history=[])
    best: dict[str, torch.Tensor] = {}
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(int(seed_sequence(seed, stage, "dropout").generate_state(1)[0]))
        if checkpoint.is_file():
            tensors, state = load_checkpoint(checkpoint)
            if state["fingerprint"] == fingerprint:
                position = _Position(**state["position"])
                best = _restore(model, optimizer, schedule, hooks, tensors, state, position.step)
        started = time.monotonic() - position.seconds
        # Summed on the device: to read the loss in every step would keep a GPU waiting for the processor.
        loss_sum = torch.tensor(position.loss_sum, dtype=torch.float64, device=device)
        model.train(dropout)
        while position.step < total and not (patience and position.epochs_without_gain >= patience):
            epoch, offset = divmod(position.step, per_epoch)
            rng = np.random.default_rng(seed_sequence(seed, stage, "order", epoch))
            for indices in batch_indices(encoded.lengths, cfg.batch_size, rng)[offset:]:
                batch = collate(encoded, indices)
                batch = (batch if augment is None else augment(batch)).to(device)
                hooks.begin_step(position.step)
                with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed):
                    loss = loss_function(forward(model, batch, hidden), batch)
                penalty = hooks.penalty(position.step)
                total_loss = loss if penalty is None else loss + penalty
                if not bool(torch.isfinite(total_loss)):
                    raise UserError(
                        f"{stage}: the loss is {total_loss.item()} at step {position.step + 1} of {total}, so nothing "
                        f"can be learned from here on; a lower {stage.replace('-', '')}.learning_rate "
                        f"(now {cfg.learning_rate:g}) or precision = 'float32' may help."
                    )
                if not total_loss.requires_grad:
                    raise UserError("nothing of the model can learn: requires_grad is False for all of its parameters.")
                total_loss.backward()
                torch.nn.utils.clip_grad_norm_(weights, cfg.max_grad_norm)
                optimizer.step()
                hooks.end_step(position.step)
                schedule.step()
                model.zero_grad()
                position.step += 1
                loss_sum += loss.detach()
                progress(f"{stage} (epoch {epoch + 1} of {epochs})", position.step, total)
                if position.step % per_epoch == 0:
                    mean = loss_sum.item() / per_epoch
                    position.history.append({"epoch": epoch + 1, "loss": mean, **hooks.describe()})
                    loss_sum.zero_()
                    if score is not None and patience:
                        best = _keep_best(model, position, score(), best, lower_is_better)
                        model.train(dropout)
                if position.step % cfg.checkpoint_steps == 0:
                    position.seconds, position.loss_sum = time.monotonic() - started, loss_sum.item()
                    _save(checkpoint, model, optimizer, schedule, hooks, position, best, fingerprint)
        position.seconds = time.monotonic() - started
    if best:
        model.load_state_dict(best)
    model.eval()
    return TrainingRun(tuple(position.history), position.seconds)


def _decay_groups(model: PreTrainedModel, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases and layer norms do not."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]


def _keep_best(
    model: PreTrainedModel, position: _Position, score: float, best: dict[str, torch.Tensor], lower_is_better: bool
) -> dict[str, torch.Tensor]:
    position.history[-1]["score"] = score
    before = position.best_score
    if before is not None and not (score < before if lower_is_better else score > before):
        position.epochs_without_gain += 1
        return best
    position.best_score, position.epochs_without_gain = score, 0
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _save(
    path: Path,
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
    hooks: TrainingHooks,
    position: _Position,
    best: dict[str, torch.Tensor],
    fingerprint: str,
) -> None:
    tensors = {
        **{f"model.{name}": tensor for name, tensor in model.state_dict().items()},
        **{f"best.{name}": tensor for name, tensor in best.items()},
        **{f"hooks.{name}": tensor for name, tensor in hooks.tensors().items()},
        **optimizer_tensors(optimizer, "optimizer."),
        "rng.cpu": torch.get_rng_state(),
    }
    if model.device.type == "cuda":
        tensors["rng.cuda"] = torch.cuda.get_rng_state(model.device)
    state = {"fingerprint": fingerprint, "position": vars(position), "schedule": schedule.state_dict()["last_epoch"]}
    save_checkpoint(path, tensors, state)


def _restore(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
    hooks: TrainingHooks,
    tensors: dict[str, torch.Tensor],
    state: dict[str, Any],
    step: int,
) -> dict[str, torch.Tensor]:
    """Put a checkpoint back; returns the best epoch's weights, if any."""
    hooks.restore(part_of(tensors, "hooks."), step)
    model.load_state_dict(part_of(tensors, "model."))
    restore_optimizer(optimizer, tensors, "optimizer.")
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and model.device.type == "cuda":
        torch.cuda.set_rng_state(tensors["rng.cuda"], model.device)
    # The schedule is a function of the step alone: set it, and the rate that goes with it.
    schedule.last_epoch = state["schedule"]
    for group, base, factor in zip(optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True):
        group["lr"] = base * factor(schedule.last_epoch)
    return part_of(tensors, "best.")


def fingerprint_of(
    model: PreTrainedModel, encoded: Encoded, cfg: TrainingConfig, mixed: bool, stage: str, seed: int, epochs: int
) -> str:
    """Hash of everything that decides the result; a checkpoint of anything else is not continued."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([to_mapping(cfg), mixed, stage, seed, epochs, model.device.type], sort_keys=True).encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor_bytes(tensor))
    for rows in encoded.features.values():
        digest.update(torch.cat(rows).numpy().tobytes())
    labels = encoded.labels if isinstance(encoded.labels, torch.Tensor) else torch.cat(encoded.labels)
    digest.update(labels.numpy().tobytes())
    return digest.hexdigest()
