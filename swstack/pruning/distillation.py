"""Distillation: the pruned model learns from the outputs, and the hidden states, of the dense one."""

from __future__ import annotations

import copy
from typing import Protocol

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from crossvote.swstack.tasks.encoded import Batch
from crossvote.swstack.tasks.kinds import kind_of
from crossvote.swstack.training.loop import Forward, LossFunction, forward, task_loss


class Distilled(Protocol):
    """The part of a configuration that says how a dense model teaches."""

    @property
    def distillation(self) -> float: ...
    @property
    def temperature(self) -> float: ...
    @property
    def layer_distillation(self) -> float: ...


def loss_for(model: PreTrainedModel, cfg: Distilled) -> LossFunction:
    """The loss that a configuration asks for: the task's own, or with ``model`` as it is now for a teacher."""
    if cfg.distillation or cfg.layer_distillation:
        return Distillation(model, cfg.distillation, cfg.temperature, cfg.layer_distillation)
    return task_loss


class Distillation:
    """A loss function that keeps a copy of the dense model as the teacher.

    (1 - outputs) of the task's loss, plus ``outputs`` of the distance to the teacher's outputs, plus ``layers`` times
    the distance to its hidden states. The first distance is Hinton's (2015) T^2 KL of the softened classes, or the
    squared error of a regression; the second the squared error relative to the teacher's mean square, averaged over the
    layers (which correspond one to one, as nothing is pruned but rows and columns).
    """

    def __init__(self, model: PreTrainedModel, outputs: float, temperature: float, layers: float) -> None:
        """model: the dense model as it is now."""
        self._teacher = copy.deepcopy(model).eval()
        self._outputs = outputs
        self._temperature = temperature
        self._layers = layers

    def __call__(self, output: Forward, batch: Batch) -> torch.Tensor:
        """The scalar loss of a batch; the teacher runs in the precision that is set where this is called."""
        with torch.no_grad():
            wanted = forward(self._teacher, batch, hidden=self._layers > 0)
        loss = (1 - self._outputs) * task_loss(output, batch)
        if self._outputs:
            loss = loss + self._outputs * self._output_distance(output.logits, wanted.logits, batch)
        if self._layers:
            loss = loss + self._layers * hidden_distance(output, wanted, batch)
        return loss

    def _output_distance(self, logits: torch.Tensor, wanted: torch.Tensor, batch: Batch) -> torch.Tensor:
        if batch.labels.is_floating_point():
            return functional.mse_loss(logits, wanted)
        kind = kind_of(batch.asks)
        logits, wanted = kind.choices(logits, batch), kind.choices(wanted, batch)
        return self._temperature**2 * functional.kl_div(
            functional.log_softmax(logits / self._temperature, dim=1),
            functional.log_softmax(wanted / self._temperature, dim=1),
            reduction="batchmean",
            log_target=True,
        )


def hidden_distance(output: Forward, wanted: Forward, batch: Batch) -> torch.Tensor:
    """Mean over the layers of |h - h'|^2 / |h'|^2, over the tokens that are no padding."""
    mask = batch.inputs.get("attention_mask")
    tokens = torch.ones(output.hidden[0].shape[:2], dtype=torch.bool) if mask is None else mask.bool()
    parts = []
    for own, other in zip(output.hidden[1:], wanted.hidden[1:], strict=True):
        mine, teachers = own[tokens].float(), other[tokens].float()
        parts.append((mine - teachers).square().sum() / teachers.square().sum())
    return torch.stack(parts).mean()
