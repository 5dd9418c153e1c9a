"""Fine-tuning on the train examples of a sentence task; dev examples are for whoever measures the result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from crossvote.sim.common.errors import UserError, counted
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.common.seeds import seed_sequence
from crossvote.swstack.models.loading import FRESH_HEAD
from crossvote.swstack.tasks import Task
from crossvote.swstack.tasks.base import AnyExample
from crossvote.swstack.tasks.batches import encode
from crossvote.swstack.tasks.kinds import head_of
from crossvote.swstack.tasks.metrics import METRICS
from crossvote.swstack.training.config import FinetuneConfig
from crossvote.swstack.training.loop import best_device, train
from crossvote.swstack.training.predict import predicted_metrics

#: Share of the train examples set aside to decide when to stop early; dev data never decides anything.
_VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class TrainingResult:
    """What fine-tuning gives besides the model, which is trained in place.

    history: one row per epoch: epoch, loss, and score where early stopping is on.
    seconds: wall time of training.
    """

    history: tuple[dict[str, float], ...]
    seconds: float


def check_own_head(model: PreTrainedModel, task: Task, cfg: FinetuneConfig) -> None:
    """Refuse to take a model as it is that has no head for the task.

    Raises:
        UserError: its head was drawn at random.
    """
    if cfg.skip and getattr(model, FRESH_HEAD, False):
        outputs = head_of(task).outputs
        wanted = f"with {counted(outputs, 'output')} " if outputs else ""
        raise UserError(
            f"finetune.skip: the model has no head {wanted}for the task {task.name!r} ({task.asks}), so its answers "
            "would be drawn at random; train one, or name a model that has it."
        )


def finetune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    cfg: FinetuneConfig,
    seed: int,
    work_dir: Path,
    progress: Progress = no_progress,
) -> TrainingResult:
    """Fine-tune ``model`` in place (on a CUDA device if there is one; it comes back on the CPU).

    Checkpoints go to ``work_dir``; called again after an interruption it continues and ends with the same weights. With
    ``cfg.skip`` or no epochs the model stays as it is.

    Raises:
        UserError: a model without a head for the task is to be taken as it is.
    """
    check_own_head(model, task, cfg)
    if cfg.skip or not cfg.epochs:
        return TrainingResult((), 0.0)
    model.to(best_device())  # type: ignore[arg-type]
    examples, held_out = _split(task.train, seed) if cfg.patience else (task.train, ())

    def score() -> float:
        encoded = encode(tokenizer, held_out, task.max_length)
        return predicted_metrics(model, encoded, task, cfg.batch_size, no_progress)[task.primary_metric]

    run = train(
        model,
        encode(tokenizer, examples, task.max_length),
        cfg,
        epochs=cfg.epochs,
        stage="fine-tune",
        seed=seed,
        work_dir=work_dir,
        progress=progress,
        score=score,
        patience=cfg.patience,
        lower_is_better=METRICS[task.primary_metric].lower_is_better,
    )
    setattr(model, FRESH_HEAD, False)
    model.to("cpu")  # type: ignore[arg-type]
    return TrainingResult(run.history, run.seconds)


def _split(examples: tuple[AnyExample, ...], seed: int) -> tuple[tuple[AnyExample, ...], tuple[AnyExample, ...]]:
    order = np.random.default_rng(seed_sequence(seed, "validation")).permutation(len(examples))
    held_out = max(1, round(_VALIDATION_SHARE * len(examples)))
    return tuple(examples[i] for i in order[held_out:]), tuple(examples[i] for i in order[:held_out])
