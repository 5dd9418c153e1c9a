"""The comparison of methods and the paper's tables."""

from __future__ import annotations

import csv
import io
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from crossvote.sim.common.keyed import KeyedResults
from crossvote.swstack.experiment.comparison.methods import (
    Comparison,
    compare_methods,
    comparison_rows,
    finished,
    loss_points,
)
from crossvote.swstack.experiment.comparison.paper_tables import (
    PAPER_TABLE_1,
    PruningRecord,
    layer_weights,
    table_1,
    table_2,
    to_csv,
    to_markdown,
    weight_histogram,
    write_tables,
)
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import matrix_names, matrix_weight
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.pruning.config import PruneConfig
from crossvote.swstack.tasks.chance import Chance

CONFIG = PruneConfig(batch_size=16, gate_epochs=1, final_epochs=0)


def test_methods_are_compared_at_equal_sparsity_and_results_are_reused(tiny_directory, tiny_task, tmp_path):
    dense = ModelConfig(source=str(tiny_directory))
    steps = []

    def run(cfg=CONFIG):
        steps.clear()
        progress = lambda what, done, total: steps.append(what)  # noqa: E731
        return compare_methods(dense, tiny_task, cfg, ("gates", "magnitude"), (0.3,), (0, 1), tmp_path, progress)

    results = run()
    assert [(result.method, result.seed) for result in results] == [
        ("gates", 0), ("gates", 1), ("magnitude", 0), ("magnitude", 1),
    ]  # fmt: skip
    # The smallest groups are those without folded columns: 10 of 32.
    assert all(0.3 <= result.column_sparsity <= 10 / 32 for result in results)
    assert not list(tmp_path.glob("work/*"))
    (left,) = tmp_path.glob("magnitude-30-1-*.json")
    left.unlink()
    assert run()[:3] == results[:3]
    assert steps
    assert all(not what.startswith("prune (epoch 2") for what in steps)
    run()
    assert not steps
    run(PruneConfig(batch_size=16, gate_epochs=1, final_epochs=0, gate_learning_rate=0.02))
    assert steps
    stored = [identity for identity, _ in KeyedResults(tmp_path).entries() if identity["seed"] == 0]
    assert {identity["prune"]["gate_learning_rate"] for identity in stored} == {0.01, 0.02}
    assert len(finished(tmp_path, dense, CONFIG)) == 2  # of its method
    # Another model at the same place is another model.
    moved = tmp_path / "other-model"
    shutil.copytree(tiny_directory, moved)
    dense = ModelConfig(source=str(moved))
    run()
    assert not steps
    weights = load_file(moved / "model.safetensors")
    save_file({name: 1.01 * value for name, value in weights.items()}, moved / "model.safetensors", {"format": "pt"})
    assert finished(tmp_path, dense, CONFIG) == ()
    run()
    assert steps


def test_a_share_of_zero_trains_the_dense_model_on_without_pruning(tiny_directory, tiny_task, tmp_path):
    dense = ModelConfig(source=str(tiny_directory))
    control, pruned = compare_methods(dense, tiny_task, CONFIG, ("gates",), (0.0, 0.5), (0,), tmp_path)
    assert (control.target, control.column_sparsity, control.element_sparsity) == (0.0, 0.0, 0.0)
    assert pruned.column_sparsity >= 0.5
    assert control.dense == pruned.dense


def test_comparison_rows_are_means_over_seeds():
    runs = [Comparison("gates", 0.3, s, "rte", "accuracy", 70.0, 69.0 + s, 0.3, 0.35) for s in (0, 2)]
    (row,) = comparison_rows(runs)
    assert (row["pruned"], row["loss"], row["seeds"]) == ("70.00 ± 1.41", "0.00 ± 1.41", "2")
    assert row["columns asked for, %"] == "30"
    other = Comparison("gates", 0.3, 0, "mrpc", "f1", 90.0, 89.0, 0.3, 0.35)
    assert [(r["task"], r["seeds"]) for r in comparison_rows([*runs, other])] == [("rte", "2"), ("mrpc", "1")]
    (point,) = loss_points(runs)
    assert (point["least"], point["loss"], point["largest"]) == (-1.0, 0.0, 1.0)


def test_a_metric_of_which_less_is_better_is_lost_when_it_rises():
    runs = [Comparison("gates", 0.3, seed, "text", "perplexity", 20.0, 22.0 + seed, 0.3, 0.35) for seed in (0, 1)]
    (row,) = comparison_rows(runs)
    assert row["loss"] == "2.50 ± 0.71"
    assert loss_points(runs)[0]["least"] == 2.0
    assert PruningRecord("text", "perplexity", 0, 20.0, 22.0, 0.3, 0.35).lost == 2.0
    assert PruningRecord("rte", "accuracy", 0, 60.0, 59.0, 0.3, 0.35).lost == 1.0


def test_scores_at_chance_level_are_marked():
    chance = Chance("accuracy", score=53.0, noise=5.0, examples=277)
    runs = [Comparison("gates", 0.3, seed, "rte", "accuracy", 66.0, 57.0 + seed, 0.3, 0.3) for seed in (0, 1)]
    (row,) = comparison_rows(runs, chance)
    assert (row["dense"], row["pruned"]) == ("66.00", "57.50 ± 0.71 (chance level)")
    record = PruningRecord("rte", "accuracy", 0, 56.0, 58.1, 0.31, 0.4, chance=chance)
    (row,) = table_1([record])
    assert (row["dense"], row["pruned"]) == ("56.00 (chance level)", "58.10")


def test_table_1_puts_the_paper_beside_the_mean():
    records = [PruningRecord("rte", "accuracy", seed, 60.0, 59.0 + seed, 0.31 + seed, 0.4) for seed in (0, 1)]
    (row,) = table_1(records)
    assert (row["pruned"], row["change"], row["least column sparsity, %"]) == ("59.50 ± 0.71", "-0.50", "31.00")
    assert (row["paper pruned"], row["paper change"], row["paper sparsity, %"]) == ("66.79", "+0.39", "42.22")


def test_the_papers_figures_are_its_own():
    # Mean and least sparsity and the largest loss, which the paper's text states.
    sparsity = [result.sparsity for result in PAPER_TABLE_1.values()]
    assert len(sparsity) == 9
    assert sum(sparsity) / 9 == pytest.approx(35.46, abs=0.005)
    assert min(sparsity) == 30.03
    assert max(result.dense - result.pruned for result in PAPER_TABLE_1.values()) == pytest.approx(0.71)


def test_table_2_counts_weights_above_half_of_the_maximum(tiny_directory):
    model, _ = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)
    first = [name for name in matrix_names(model) if ".layer.0." in name]
    for name in first:
        matrix_weight(model, name).clamp_(-0.4, 0.4)
    matrix_weight(model, first[0])[0, :3] = torch.tensor([1.0, -0.6, 0.5])
    rows = {row["layer"]: row for row in table_2(model)}
    assert list(rows) == ["WB", "E1", "E2"]
    assert (rows["E1"]["maximum"], rows["E1"]["above half"]) == ("1.00", "2")
    assert layer_weights(model)["E1"].size == 4 * 32 * 32 + 2 * 32 * 64
    assert rows["E1"]["paper maximum"] == "1.68"
    assert weight_histogram(model).axes[0].get_xlabel() == "absolute weight, layer E1"


def test_tables_are_written_as_markdown_csv_and_picture(tiny_directory, tmp_path):
    model, _ = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)
    records = [PruningRecord("sst2", "accuracy", 0, 90.0, 89.5, 0.31, 0.4, "note, with comma")]
    paths = write_tables(tmp_path / "a", records, model)
    assert [path.name for path in paths] == [
        "table1.csv", "table1.md", "table2.csv", "table2.md", "weights.svg",
    ]  # fmt: skip
    (row,) = csv.DictReader(io.StringIO(paths[0].read_text()))
    assert row["note"] == "note, with comma"
    again = write_tables(tmp_path / "b", records, model)
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(paths, again, strict=True))


def test_rows_become_markdown_and_csv():
    rows = [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]
    assert to_markdown(rows) == "| a | b |\n| --- | --- |\n| 1 | x |\n| 2 | y |\n"
    assert to_csv(rows) == "a,b\n1,x\n2,y\n"
