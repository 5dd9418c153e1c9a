"""The nine-task campaign: its plan, and what it concludes from finished runs."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import glue_pruning
from crossvote.sim.common.keyed import KeyedResults
from crossvote.sim.common.schema import build, to_mapping
from crossvote.swstack.cli.main import application
from crossvote.swstack.experiment.comparison.methods import Comparison
from crossvote.swstack.experiment.comparison.paper_tables import PruningRecord
from crossvote.swstack.experiment.work import chosen_stages
from crossvote.swstack.pruning.config import PruneConfig
from crossvote.swstack.tasks.named.glue import GLUE_TASKS

PLANS = glue_pruning.plan("minilm-l6", "glue", 0.3, Path("out"))


def test_every_task_comes_once_before_any_comes_twice():
    tasks = [one.task for one in PLANS]
    assert set(tasks[:9]) == set(glue_pruning.RECIPES) == set(GLUE_TASKS) - {"mnli-mismatched"}
    small = {"wnli", "rte", "mrpc", "stsb", "cola"}
    assert {task for task in tasks if tasks.count(task) >= 3} == small
    assert len({one.run for one in PLANS}) == len(PLANS)


def test_the_commands_are_those_of_the_command_line(monkeypatch, tmp_path):
    from typer.testing import CliRunner

    monkeypatch.chdir(tmp_path)
    command = shlex.split(shlex.join(PLANS[0].command))
    assert command[0] == "crossvote"
    result = CliRunner().invoke(application(), command[1:])
    # Every setting is known; only the data is not there.
    assert result.exit_code == 2
    assert "--glue-dir glue: no such directory" in result.stderr


def test_the_command_of_a_run_leaves_both_scores_that_the_report_subtracts():
    stages = {stage.name for stage in chosen_stages(PLANS[0].command[1])}
    assert stages == {"finetune", "score-dense", "prune", "score-pruned"}


@pytest.mark.parametrize(("dense", "near"), [(56.3, True), (67.0, True), (68.5, False)])
def test_a_mean_score_within_the_noise_of_one_answer_is_near_chance(dense, near):
    chance = {"metric": "accuracy", "score": 56.34, "noise": 11.5, "examples": 71}
    results = {"chance": chance, "metric": "accuracy", "metrics": {"accuracy": dense}}
    assert glue_pruning.near_chance([results]) is near
    assert glue_pruning.near_chance([results, {**results, "metrics": {"accuracy": 99.0}}]) is False


def test_the_highest_share_is_the_last_one_before_a_loss_of_more_than_a_point():
    losses = {0.0: -0.5, 0.3: 0.4, 0.5: 1.2, 0.7: 0.9}
    points = [{"task": "rte", "target": share, "loss": loss} for share, loss in losses.items()]
    (row,) = glue_pruning.highest_within(points)
    assert row["highest within 1 point, %"] == "30"
    assert row["loss at 50 %"] == "1.20"


def test_a_share_that_one_task_lacks_is_an_empty_cell():
    points = [{"task": "rte", "target": share, "loss": 0.0} for share in (0.3, 0.5)]
    rows = glue_pruning.highest_within([*points, {"task": "cola", "target": 0.3, "loss": 0.5}])
    assert [row["loss at 50 %"] for row in rows] == ["0.00", ""]
    assert [row["highest within 1 point, %"] for row in rows] == ["50", "30"]


def test_the_curve_takes_only_comparisons_with_the_settings_of_the_run(monkeypatch, tmp_path):
    (tmp_path / "config.toml").write_text("[prune]\nfinal_epochs = 1\n")
    for share, settings in ((0.5, {"final_epochs": 1}), (0.7, {"final_epochs": 2})):
        cfg = build(PruneConfig, {**settings, "column_sparsity": share}, "test")
        identity = {"model": str(tmp_path / "model"), "prune": to_mapping(cfg)}
        result = Comparison("gates", share, 0, "rte", "accuracy", 80.0, 79.0, share, share)
        KeyedResults(tmp_path / "comparison").put(f"gates-{100 * share:g}-0", identity, asdict(result))
        # Of a model that is gone.
        KeyedResults(tmp_path / "comparison").put("gates-90-0", {**identity, "model": "other"}, asdict(result))
    record = PruningRecord("rte", "accuracy", 0, dense=80.0, pruned=80.5, column_sparsity=0.3, element_sparsity=0.38)
    monkeypatch.setattr(glue_pruning, "record_of", lambda run: record)
    points = glue_pruning.curve([glue_pruning.Plan("rte", 0, tmp_path, ())])
    assert [(point["target"], point["loss"]) for point in points] == [(0.3, -0.5), (0.5, 1.0)]
