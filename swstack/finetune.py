"""Fine-tuning on a sentence task, and the accuracy of a model on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sim.progress import Progress, no_progress
from sim.schema import config_dataclass
from sim.seeds import seed_sequence
from swstack.encoding import Encoded, batches, encode
from swstack.metrics import compute_metrics
from swstack.tasks import Example, Task
from swstack.training import TrainingConfig, best_device, train

#: Share of the train examples set aside to decide when to stop early; dev data never decides anything.
_VALIDATION_SHARE = 0.1


@config_dataclass
class FinetuneConfig(TrainingConfig):
    """How to fine-tune."""

    epochs: int = Field(3, ge=1, le=1000, description="Passes over the train examples.")
    patience: int = Field(
        0,
        ge=0,
        description="Stop after so many epochs without a better primary metric on a tenth of the train examples "
        "set aside for it, and keep the best epoch; 0: train on all examples to the end.",
    )


@dataclass(frozen=True)
class TrainingResult:
    """What fine-tuning gives besides the model, which is trained in place.

    history: one row per epoch: epoch, loss, and score where early stopping is on.
    dev_metrics: name -> percent, primary metric first.
    seconds: wall time of training.
    """

    history: tuple[dict[str, float], ...]
    dev_metrics: dict[str, float]
    seconds: float


def finetune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    cfg: FinetuneConfig,
    seed: int,
    work_dir: Path,
    progress: Progress = no_progress,
) -> TrainingResult:
    """Fine-tune `model` in place (on a CUDA device if there is one; it comes back on the CPU).

    Checkpoints go to `work_dir`; called again after an interruption it continues and ends with the same weights.
    """
    model.to(best_device())  # type: ignore[arg-type]
    examples, held_out = _split(task.train, seed) if cfg.patience else (task.train, ())

    def score() -> float:
        encoded = encode(tokenizer, held_out, task.max_length)
        return _metrics(model, encoded, task, cfg.batch_size, no_progress)[task.primary_metric]

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
    )
    metrics = evaluate(model, tokenizer, task, progress=progress)
    model.to("cpu")  # type: ignore[arg-type]
    return TrainingResult(run.history, metrics, run.seconds)


def _split(examples: tuple[Example, ...], seed: int) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    order = np.random.default_rng(seed_sequence(seed, "validation")).permutation(len(examples))
    held_out = max(1, round(_VALIDATION_SHARE * len(examples)))
    return tuple(examples[i] for i in order[held_out:]), tuple(examples[i] for i in order[:held_out])


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    batch_size: int = 64,
    limit: int | None = None,
    progress: Progress = no_progress,
) -> dict[str, float]:
    """The task's metrics on its dev examples, in percent, primary metric first; runs where the model is.

    limit: use only the first so many dev examples.
    """
    return _metrics(model, encode(tokenizer, task.dev[:limit], task.max_length), task, batch_size, progress)


def _metrics(
    model: PreTrainedModel, encoded: Encoded, task: Task, batch_size: int, progress: Progress
) -> dict[str, float]:
    logits = predict(model, encoded, batch_size, progress)
    return compute_metrics(task.metrics, logits, encoded.labels.numpy(), task.regression)


def predict(
    model: PreTrainedModel, encoded: Encoded, batch_size: int = 64, progress: Progress = no_progress
) -> np.ndarray:
    """Logits float32[n, num_labels] in the order of the examples; runs where the model is, in evaluation mode.

    Always in full precision, so that a metric does not depend on what the device is good at.
    """
    was_training = model.training
    model.eval()
    parts, indices = [], []
    total = -(-len(encoded) // batch_size)
    with torch.inference_mode():
        for done, batch in enumerate(batches(encoded, batch_size), start=1):
            parts.append(model(**batch.to(model.device).inputs).logits.cpu().numpy())
            indices.append(batch.indices)
            progress("evaluate", done, total)
    model.train(was_training)
    logits = np.empty((len(encoded), parts[0].shape[1]), dtype=np.float32)
    logits[np.concatenate(indices)] = np.concatenate(parts)
    return logits
