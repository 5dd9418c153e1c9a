"""Fine-tuning: it learns, it is reproducible, and it continues exactly after a kill."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from interruption import killed_and_resumed, same_weights

from crossvote.sim.common.errors import UserError
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.tasks import Example
from crossvote.swstack.tasks.batches import encode
from crossvote.swstack.training.config import FinetuneConfig
from crossvote.swstack.training.finetune import finetune
from crossvote.swstack.training.loop import CHECKPOINT, has_bfloat16
from crossvote.swstack.training.predict import evaluate, predict

CONFIG = FinetuneConfig(epochs=3, batch_size=8, learning_rate=2e-3, checkpoint_steps=5, precision="float32")


@pytest.fixture
def fresh(tiny_directory):
    return lambda labels=2, regression=False: load_model(
        ModelConfig(source=str(tiny_directory)), labels, regression, seed=0
    )


def test_it_learns_and_equal_seeds_give_equal_weights(fresh, tiny_task, tmp_path):
    model, tokenizer = fresh()
    before = evaluate(model, tokenizer, tiny_task)["accuracy"]
    result = finetune(model, tokenizer, tiny_task, dataclasses.replace(CONFIG, epochs=12), 0, tmp_path / "a")
    assert evaluate(model, tokenizer, tiny_task)["accuracy"] > max(before, 60.0) + 15
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    models = [fresh()[0] for _ in range(3)]
    for index, (seed, other) in enumerate(zip((1, 1, 2), models, strict=True)):
        finetune(other, tokenizer, tiny_task, dataclasses.replace(CONFIG, epochs=1), seed, tmp_path / f"b{index}")
    assert same_weights(models[0], models[1])
    assert not same_weights(models[0], models[2])


# 12 steps an epoch, a checkpoint every 5 steps and at the end of every epoch.
@pytest.mark.parametrize(("stop", "next_step"), [(3, 1), (12, 11), (17, 16), (25, 21)])
def test_a_killed_run_continues_to_the_same_weights(fresh, tiny_task, tmp_path, stop, next_step):
    straight, tokenizer = fresh()
    expected = finetune(straight, tokenizer, tiny_task, CONFIG, 0, tmp_path / "straight")
    steps = []
    resumed, result = killed_and_resumed(
        stop,
        fresh,
        lambda model, progress: finetune(model, tokenizer, tiny_task, CONFIG, 0, tmp_path / "killed", progress),
        progress=lambda what, done, total: steps.append(done),
    )
    assert steps[0] == next_step
    assert same_weights(straight, resumed)
    assert result.history == expected.history


@pytest.mark.skipif(not has_bfloat16(torch.device("cpu")), reason="this CPU has no bfloat16 multiplication")
def test_mixed_precision_learns_and_continues_exactly(fresh, tiny_task, tmp_path):
    config = dataclasses.replace(CONFIG, epochs=12, precision="auto")
    straight, tokenizer = fresh()
    finetune(straight, tokenizer, tiny_task, config, 0, tmp_path / "a")
    assert evaluate(straight, tokenizer, tiny_task)["accuracy"] > 75
    resumed, _ = killed_and_resumed(
        100, fresh, lambda model, progress: finetune(model, tokenizer, tiny_task, config, 0, tmp_path / "b", progress)
    )
    assert same_weights(straight, resumed)
    assert {parameter.dtype for parameter in resumed.parameters()} == {torch.float32}


def test_a_checkpoint_of_another_run_is_not_continued(fresh, tiny_task, tmp_path):
    model, tokenizer = fresh()
    finetune(model, tokenizer, tiny_task, CONFIG, 0, tmp_path)
    steps = []
    again, _ = fresh()
    finetune(again, tokenizer, tiny_task, CONFIG, 1, tmp_path, lambda what, done, total: steps.append(done))
    assert steps[0] == 1


def test_a_file_that_is_no_checkpoint_is_named(fresh, tiny_task, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"not a checkpoint")
    model, tokenizer = fresh()
    with pytest.raises(UserError, match="damaged training checkpoint"):
        finetune(model, tokenizer, tiny_task, CONFIG, 0, tmp_path)


def test_early_stopping_keeps_the_best_epoch_and_survives_a_kill(fresh, tiny_task, tmp_path):
    config = dataclasses.replace(CONFIG, epochs=30, patience=2)
    straight, tokenizer = fresh()
    expected = finetune(straight, tokenizer, tiny_task, config, 0, tmp_path / "straight")
    scores = [row["score"] for row in expected.history]
    assert len(scores) < 30
    assert scores.index(max(scores)) == len(scores) - 3
    resumed, _ = killed_and_resumed(
        20,
        fresh,
        lambda model, progress: finetune(model, tokenizer, tiny_task, config, 0, tmp_path / "killed", progress),
    )
    assert same_weights(straight, resumed)


def test_training_stops_at_the_first_loss_that_is_no_number(fresh, tiny_task, tmp_path):
    model, tokenizer = fresh()
    with torch.no_grad():
        model.classifier.weight[0, 0] = torch.inf
    steps = []
    with pytest.raises(UserError, match=r"fine-tune: the loss is (nan|inf) at step 1 of 36.*finetune\.learning_rate"):
        finetune(model, tokenizer, tiny_task, CONFIG, 0, tmp_path, lambda what, done, total: steps.append(done))
    assert not steps


@pytest.mark.parametrize("config", [FinetuneConfig(skip=True), FinetuneConfig(epochs=0)])
def test_a_model_is_taken_as_it_is(fresh, tiny_task, tmp_path, config):
    model, tokenizer = fresh()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = finetune(model, tokenizer, tiny_task, config, 0, tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert result.history == ()
    assert result.seconds == 0


def test_a_head_that_was_drawn_is_not_taken_as_it_is(fresh, tiny_task, tmp_path):
    task = dataclasses.replace(tiny_task, labels=("a", "b", "c"))
    model, tokenizer = fresh(3)
    with pytest.raises(UserError, match=r"finetune\.skip: the model has no head with 3 outputs for the task 'tiny'"):
        finetune(model, tokenizer, task, FinetuneConfig(skip=True), 0, tmp_path)


def test_regression_trains(fresh, tiny_task, tmp_path):
    scored = tuple(Example(e.sentence1, None, 2.5 * e.sentence1.count("red")) for e in tiny_task.train)
    task = dataclasses.replace(tiny_task, train=scored, dev=scored[:30], labels=(), metrics=("spearman", "pearson"))
    model, tokenizer = fresh(1, True)
    finetune(model, tokenizer, task, dataclasses.replace(CONFIG, epochs=15), 0, tmp_path)
    assert evaluate(model, tokenizer, task)["spearman"] > 50


def test_predictions_do_not_depend_on_the_batch_size(fresh, tiny_task):
    model, tokenizer = fresh()
    encoded = encode(tokenizer, tiny_task.dev, 16)
    np.testing.assert_allclose(predict(model, encoded, 1), predict(model, encoded, 16), atol=1e-5)
    assert evaluate(model, tokenizer, tiny_task, limit=10).keys() == {"accuracy", "f1"}
