"""The comparison of pruning methods: settings chosen on held-out examples, epochs as each method needs."""

from __future__ import annotations

from pathlib import Path

from benchmarks import pruning_methods
from crossvote.swstack.experiment.comparison.methods import Comparison
from crossvote.swstack.pruning.config import PruneConfig
from crossvote.swstack.pruning.methods import METHODS
from crossvote.swstack.tasks import TaskConfig
from crossvote.swstack.training.config import FinetuneConfig

DENSE = pruning_methods.Dense(TaskConfig(name="mrpc"), FinetuneConfig(), "model", Path("out"))


def compared(method: str, pruned: float) -> Comparison:
    return Comparison(method, 0.3, 0, "mrpc", "f1", 90.0, pruned, 0.3, 0.3)


def test_every_method_is_compared_with_every_value_and_those_that_take_longest_come_first():
    assert set(pruning_methods.GRID) == set(METHODS.names())
    prunings = list(pruning_methods.candidates(DENSE, PruneConfig()))
    assert len({pruning.folder for pruning in prunings}) == len(prunings)
    assert {(one.cfg.method, one.value) for one in prunings} == {
        (method, value) for method, (_, values) in pruning_methods.GRID.items() for value in values
    }
    epochs = [one.cfg.gate_epochs for one in prunings]
    assert epochs == sorted(epochs, reverse=True)
    assert {one.cfg.gate_epochs for one in prunings if one.cfg.method == "admm"} == {10}


def test_the_value_with_the_best_held_out_metric_is_chosen():
    tried = [one for one in pruning_methods.candidates(DENSE, PruneConfig()) if one.cfg.method == "admm"]
    metrics = {0.01: 70.0, 0.1: 80.0, 1.0: 75.0}
    (best,) = pruning_methods.chosen((one, compared("admm", metrics[one.value])) for one in tried)
    assert best.cfg.methods == {"admm": {"rho": 0.1}}
    assert pruning_methods.tuning_row(best, compared("admm", 80.0)) == {
        "task": "mrpc",
        "method": "admm",
        "epochs": 10,
        "setting": "methods.admm.rho",
        "value": 0.1,
        "held-out metric": "80.00",
    }
