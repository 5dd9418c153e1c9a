"""The embedded encoder on an embedded task: minutes, so only on request."""

from __future__ import annotations

import pytest

from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import word_line_groups
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.pruning.config import PruneConfig
from crossvote.swstack.pruning.pruning import prune
from crossvote.swstack.tasks import TaskConfig, load_task
from crossvote.swstack.training.config import FinetuneConfig
from crossvote.swstack.training.finetune import finetune
from crossvote.swstack.training.predict import evaluate


def test_the_embedded_encoder_loads():
    model, tokenizer = load_model(ModelConfig(), 3, False, seed=0)
    assert sum(p.numel() for p in model.base_model.parameters()) == pytest.approx(22.7e6, rel=0.01)
    assert len(word_line_groups(model)) == 24
    assert tokenizer("hello world")["input_ids"] == [101, 7592, 2088, 102]


@pytest.mark.slow
def test_fine_tuning_beats_chance_and_pruning_keeps_it(tmp_path):
    task = load_task(TaskConfig(), seed=0)
    model, tokenizer = load_model(ModelConfig(), task.num_labels, task.regression, seed=0)
    assert evaluate(model, tokenizer, task)["accuracy"] < 56
    finetune(model, tokenizer, task, FinetuneConfig(epochs=4), 0, tmp_path / "finetune")
    dense = evaluate(model, tokenizer, task)["accuracy"]
    assert dense > 85
    pruned = prune(model, tokenizer, task, PruneConfig(gate_epochs=2, final_epochs=1), 0, tmp_path / "prune")
    assert evaluate(model, tokenizer, task)["accuracy"] > dense - 2
    assert min(row.column for row in pruned.sparsity if row.kind == "group") >= 0.30
