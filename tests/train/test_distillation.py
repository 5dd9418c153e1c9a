"""Distillation: its distances by hand, and that it keeps the pruned model near the dense one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.pruning.config import PruneConfig
from crossvote.swstack.pruning.distillation import Distillation, hidden_distance
from crossvote.swstack.pruning.pruning import prune
from crossvote.swstack.tasks.batches import Batch, batches, encode
from crossvote.swstack.training.loop import Forward, forward, task_loss

CONFIG = PruneConfig(
    batch_size=8, learning_rate=1e-3, gate_epochs=2, final_epochs=2, column_sparsity=0.5, precision="float32"
)


def _batch(labels: torch.Tensor, mask: list[list[int]]) -> Batch:
    labelled = torch.ones(len(labels), dtype=torch.bool)
    return Batch(np.arange(len(labels)), {"attention_mask": torch.tensor(mask)}, labels, labelled)


def test_the_hidden_distance_is_relative_and_leaves_padding_out():
    wanted = Forward(torch.zeros(1, 2), (torch.zeros(1, 3, 2), torch.full((1, 3, 2), 2.0), torch.ones(1, 3, 2)))
    own = Forward(torch.zeros(1, 2), (torch.ones(1, 3, 2), torch.full((1, 3, 2), 3.0), torch.ones(1, 3, 2)))
    own.hidden[1][0, 2] = 100.0
    batch = _batch(torch.tensor([0]), [[1, 1, 0]])
    assert hidden_distance(own, wanted, batch).item() == pytest.approx((1 / 4 + 0) / 2)
    assert hidden_distance(wanted, wanted, batch).item() == 0


def test_the_loss_is_the_stated_mixture(tiny_directory, tiny_task):
    model, tokenizer = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)
    batch = next(iter(batches(encode(tokenizer, tiny_task.train, tiny_task.max_length), 4)))
    loss = Distillation(model, outputs=0.25, temperature=3.0, layers=2.0)
    teacher = forward(model, batch, hidden=True)
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight.mul_(0.5)
    own = forward(model, batch, hidden=True)
    p, q = (functional.softmax(logits / 3, dim=1) for logits in (teacher.logits, own.logits))
    kl = 9 * (p * (p / q).log()).sum(dim=1).mean()
    expected = 0.75 * task_loss(own, batch) + 0.25 * kl + 2 * hidden_distance(own, teacher, batch)
    assert loss(own, batch).item() == pytest.approx(expected.item(), rel=1e-5)
    assert hidden_distance(own, teacher, batch) > 0


def test_a_regression_is_distilled_by_the_squared_error(tiny_directory):
    model, tokenizer = load_model(ModelConfig(source=str(tiny_directory)), 1, True, seed=0)
    inputs = dict(tokenizer(["alpha red"], return_tensors="pt"))
    batch = Batch(np.arange(1), inputs, torch.tensor([2.0]), torch.tensor([True]))
    wanted = forward(model, batch).logits
    loss = Distillation(model, outputs=1.0, temperature=2.0, layers=0.0)
    assert loss(Forward(wanted + 0.5, ()), batch).item() == pytest.approx(0.25)


@pytest.mark.parametrize("change", [{"distillation": 0.9}, {"layer_distillation": 5.0}])
def test_distillation_keeps_the_pruned_model_nearer_to_the_dense_one(tiny_directory, tiny_task, tmp_path, change):
    def distance(config: PruneConfig, name: str) -> float:
        model, tokenizer = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)
        dense, _ = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)
        prune(model, tokenizer, tiny_task, config, 0, tmp_path / name)
        batch = next(iter(batches(encode(tokenizer, tiny_task.dev, tiny_task.max_length), len(tiny_task.dev))))
        with torch.no_grad():
            own, wanted = (forward(one, batch, hidden=True) for one in (model, dense))
        if "layer_distillation" in change:
            return hidden_distance(own, wanted, batch).item()
        return (own.logits - wanted.logits).square().mean().item()

    assert distance(dataclasses.replace(CONFIG, **change), "distilled") < 0.7 * distance(CONFIG, "plain")


def test_without_dropout_an_unpruned_model_has_nothing_to_copy(tiny_directory, tiny_task, tmp_path):
    def loss(dropout: bool) -> float:
        model, tokenizer = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)
        config = dataclasses.replace(
            CONFIG, column_sparsity=0.0, learning_rate=1e-9, distillation=1.0, layer_distillation=1.0, dropout=dropout
        )
        return prune(model, tokenizer, tiny_task, config, 0, tmp_path / str(dropout)).history[-1]["loss"]

    assert loss(dropout=True) > 0.01
    assert loss(dropout=False) < 1e-6
