"""Augmentation: what is exchanged and what is not, that labels stop counting, exact resume, and the refusal."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from interruption import killed_and_resumed, same_weights

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import build
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.pruning.augmentation import EXCHANGED_TOKENS, TokenExchange
from crossvote.swstack.pruning.config import PruneConfig
from crossvote.swstack.pruning.pruning import prune
from crossvote.swstack.tasks.batches import Batch, batches, collate, encode
from crossvote.swstack.training.loop import Forward, task_loss

SPECIAL = [0, 1, 2, 3, 4]
CONFIG = PruneConfig(
    batch_size=8, gate_epochs=1, final_epochs=1, checkpoint_steps=5, distillation=0.5, augmentation=0.5
)


def _batch(tokens: torch.Tensor) -> Batch:
    count = len(tokens)
    return Batch(
        np.arange(count), {"input_ids": tokens}, torch.zeros(count, dtype=torch.int64), torch.ones(count).bool()
    )


def test_only_ordinary_tokens_of_the_share_asked_for_are_exchanged():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokens = torch.randint(0, 1000, (65, 400))
        changed = TokenExchange(0.5, SPECIAL)(_batch(tokens))
    mixed = changed.inputs["input_ids"]
    special = tokens < len(SPECIAL)
    assert int((~changed.labelled).sum()) == 32
    assert torch.equal(mixed[changed.labelled], tokens[changed.labelled])
    assert torch.equal(mixed[special], tokens[special])
    assert not torch.isin(mixed[~special], torch.tensor(SPECIAL)).any()
    differs = (mixed != tokens)[~changed.labelled][~special[~changed.labelled]]
    assert differs.float().mean().item() == pytest.approx(EXCHANGED_TOKENS, abs=0.02)


def test_new_tokens_come_from_the_batch_and_the_batch_stays_as_it_was():
    tokens = torch.tensor([[2, 7, 7, 7, 7, 7, 3]] * 8 + [[2, 9, 9, 9, 9, 9, 3]] * 8)
    batch = _batch(tokens.clone())
    mixed = TokenExchange(0.9, SPECIAL)(batch).inputs["input_ids"]
    assert torch.equal(batch.inputs["input_ids"], tokens)
    assert batch.labelled.all()
    assert set(mixed.flatten().tolist()) == {2, 3, 7, 9}
    assert not torch.equal(mixed, tokens)


def test_a_batch_of_special_tokens_and_a_batch_of_one_stay_as_they_are():
    exchange = TokenExchange(0.9, SPECIAL)
    only_special = torch.tensor([[2, 3], [2, 3]])
    assert torch.equal(exchange(_batch(only_special)).inputs["input_ids"], only_special)
    one = exchange(_batch(torch.tensor([[2, 7, 8, 3]])))
    assert one.inputs["input_ids"].tolist() == [[2, 7, 8, 3]]
    assert one.labelled.all()


@pytest.mark.parametrize("labels", [torch.tensor([0, 1, 1]), torch.tensor([0.5, 3.0, 1.0])])
def test_examples_without_label_do_not_count_in_the_tasks_loss(labels):
    logits = torch.tensor([[0.1, 0.4], [0.9, -0.3], [2.0, 5.0]])
    indices = np.arange(3)
    part = Batch(indices, {}, labels, torch.tensor([True, False, True]))
    kept = Batch(indices[[0, 2]], {}, labels[[0, 2]], torch.tensor([True, True]))
    assert task_loss(Forward(logits, ()), part) == task_loss(Forward(logits[[0, 2]], ()), kept)


def test_batches_are_labelled_throughout(tiny_directory, tiny_task):
    _, tokenizer = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)
    encoded = encode(tokenizer, tiny_task.train, tiny_task.max_length)
    assert all(batch.labelled.all() for batch in batches(encoded, 8))
    changed = TokenExchange(0.5, tokenizer.all_special_ids)(collate(encoded, np.arange(8)))
    assert int(changed.labelled.sum()) == 4


def test_augmented_pruning_resumes_exactly_and_differs_from_plain(tiny_directory, tiny_task, tmp_path):
    def tuned():
        return load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)

    straight, tokenizer = tuned()
    prune(straight, tokenizer, tiny_task, CONFIG, 0, tmp_path / "straight")
    resumed, _ = killed_and_resumed(
        17, tuned, lambda model, progress: prune(model, tokenizer, tiny_task, CONFIG, 0, tmp_path / "killed", progress)
    )
    assert same_weights(straight, resumed)
    plain, _ = tuned()
    prune(plain, tokenizer, tiny_task, dataclasses.replace(CONFIG, augmentation=0.0), 0, tmp_path / "plain")
    assert not same_weights(straight, plain)


def test_augmentation_without_distillation_is_refused():
    with pytest.raises(UserError, match="augmentation needs distillation or layer_distillation above 0"):
        build(PruneConfig, {"augmentation": 0.5}, "prune")
