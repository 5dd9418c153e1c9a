"""The comparison of pruning methods: settings chosen on held-out examples, epochs as each method needs."""

from __future__ import annotations

from benchmarks import pruning_methods
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.pruning.config import PruneConfig
from crossvote.swstack.pruning.methods import METHODS


def test_every_method_is_compared():
    assert set(pruning_methods.GRID) == set(METHODS.names())


def test_the_value_with_the_best_held_out_metric_is_chosen(tiny_directory, tiny_task, tmp_path, monkeypatch):
    monkeypatch.setattr(pruning_methods, "GRID", {"admm": ("methods.admm.rho", (0.1, 0.2, 0.3))})
    monkeypatch.setattr(pruning_methods, "SLOW_EPOCHS", {"admm": 4})
    seen = []

    def compared(dense, task, cfg, methods, targets, seeds, place, progress):
        seen.append(cfg)
        metric = {0.1: 70.0, 0.2: 80.0, 0.3: 75.0}[cfg.methods["admm"]["rho"]]
        return (pruning_methods.Comparison("admm", 0.3, 0, "tiny", "accuracy", 90.0, metric, 0.3, 0.3),)

    monkeypatch.setattr(pruning_methods, "compare_methods", compared)
    chosen, rows = pruning_methods.choose(
        ModelConfig(source=str(tiny_directory)), tiny_task, PruneConfig(), tmp_path, lambda *_: None
    )
    assert chosen["admm"].methods == {"admm": {"rho": 0.2}}
    assert {cfg.gate_epochs for cfg in seen} == {4}
    assert [(row["value"], row["held-out metric"]) for row in rows] == [(0.1, "70.00"), (0.2, "80.00"), (0.3, "75.00")]
