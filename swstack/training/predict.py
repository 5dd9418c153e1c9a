"""Predictions of a model on encoded examples, and its metrics on a task."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.swstack.models.causality import check_reads_left_to_right
from crossvote.swstack.tasks import Task
from crossvote.swstack.tasks.batches import Encoded, batches, encode
from crossvote.swstack.tasks.kinds import kind_of


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
    outcomes = _outcomes(model, encoded, batch_size, progress)
    return kind_of(encoded.asks).score(task.metrics, outcomes, encoded, task.labels)


def predict(
    model: PreTrainedModel, encoded: Encoded, batch_size: int = 64, progress: Progress = no_progress
) -> np.ndarray:
    """What scoring needs of each example, in their order: for a classifier or a regression its logits.

    Returns float32[n, num_labels], or for other kinds object[n] (see ``crossvote.swstack.tasks.kinds``).
    """
    outcomes = _outcomes(model, encoded, batch_size, progress)
    if kind_of(encoded.asks).one_answer:
        return np.stack(outcomes).astype(np.float32)
    held = np.empty(len(outcomes), dtype=object)
    held[:] = outcomes
    return held


def check_head(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task) -> None:
    """Refuse a module that does not answer the task, by a look at two dev examples.

    Raises:
        UserError: it has no head or one of another size, or the tokenizer is not its own.
    """
    was_training = model.training
    encoded = encode(tokenizer, task.dev[:2], task.max_length)
    try:
        found = predict(model, encoded, 2)
    except UserError:
        raise
    except Exception as error:  # of any module
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"the module does not answer the task {task.name!r} ({reason}); it needs the task's head, as "
            "AutoModelForSequenceClassification has one, and a tokenizer of its own."
        ) from None
    finally:
        model.train(was_training)
    if kind_of(encoded.asks).head == "causal-lm":
        check_reads_left_to_right(model)
    if kind_of(encoded.asks).one_answer and found.shape[-1] != task.num_labels:
        raise UserError(
            f"the module's head gives {found.shape[-1]} numbers, but the task {task.name!r} asks for {task.num_labels}."
        )


def _outcomes(model: PreTrainedModel, encoded: Encoded, batch_size: int, progress: Progress) -> list[np.ndarray]:
    """Runs where the model is, in evaluation mode.

    Always in full precision, so that a metric does not depend on what the device is good at.
    """
    was_training = model.training
    model.eval()
    kind = kind_of(encoded.asks)
    found: list[np.ndarray | None] = [None] * len(encoded)
    total = -(-len(encoded) // batch_size)
    with torch.inference_mode():
        for done, batch in enumerate(batches(encoded, batch_size), start=1):
            moved = batch.to(model.device)
            for index, outcome in zip(
                batch.indices, kind.outcomes(output_logits(model(**moved.inputs)), moved), strict=True
            ):
                found[index] = outcome
            progress("evaluate", done, total)
    model.train(was_training)
    return [outcome for outcome in found if outcome is not None]


def output_logits(output: Any) -> torch.Tensor:
    """The logits of a model's output; for answers [batch, length, 2], of the first and the last token."""
    if hasattr(output, "start_logits"):
        return torch.stack([output.start_logits, output.end_logits], dim=-1)
    logits: torch.Tensor = output.logits
    return logits
