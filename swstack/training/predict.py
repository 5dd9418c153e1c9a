"""Predictions of a model on encoded examples, and its metrics on a task."""

from __future__ import annotations

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from crossvote.sim.common.progress import Progress, no_progress
from crossvote.swstack.tasks import Task
from crossvote.swstack.tasks.batches import Encoded, batches, encode
from crossvote.swstack.tasks.metrics import compute_metrics


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
    return predicted_metrics(model, encode(tokenizer, task.dev[:limit], task.max_length), task, batch_size, progress)


def predicted_metrics(
    model: PreTrainedModel, encoded: Encoded, task: Task, batch_size: int, progress: Progress
) -> dict[str, float]:
    """The task's metrics of the model on encoded examples, in percent, primary metric first."""
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
