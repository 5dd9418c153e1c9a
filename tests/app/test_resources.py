"""Too little disk or memory is said with numbers before the first stage starts."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest

from crossvote.sim.common.errors import StorageError
from crossvote.sim.common.machine import free_memory
from crossvote.swstack.experiment import resources
from crossvote.swstack.experiment.checks import check_pending
from crossvote.swstack.experiment.config import RunConfig, load_config
from crossvote.swstack.experiment.shipped import shipped_configs

ALL = ("finetune", "prune", "map", "eval")
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def config(tiny_bert: Path) -> RunConfig:
    return load_config(
        shipped_configs()["default"],
        [f'model.source="{tiny_bert}"', 'task.name="grammar-single"', 'map.schemes=["none", "best"]'],
    )


def test_needs_follow_the_model_and_the_stages(config: RunConfig, tiny_bert: Path) -> None:
    from crossvote.swstack.models.config import ModelConfig
    from crossvote.swstack.models.loading import load_model

    model, _ = load_model(ModelConfig(source=str(tiny_bert)), 2, False, seed=0)
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    whole, tail = resources.needs(model, config, ALL), resources.needs(model, config, ("map", "eval"))
    # Both models and a checkpoint with two moments; and training holds gradients and moments beside the weights.
    assert whole.disk - tail.disk == 5 * weights
    teacher = weights if config.prune.distillation or config.prune.layer_distillation else 0
    assert whole.memory == 4 * weights + teacher
    assert weights < tail.memory < whole.memory
    assert resources.needs(model, config, ("eval",)).disk == 0


def test_a_model_taken_as_it_is_needs_no_room_to_train(tiny_bert: Path) -> None:
    from crossvote.swstack.models.config import ModelConfig
    from crossvote.swstack.models.loading import load_model

    as_it_is = load_config(
        shipped_configs()["default"], ["finetune.skip=true", "prune.method=none", "prune.distillation=0.5"]
    )
    model, _ = load_model(ModelConfig(source=str(tiny_bert)), 2, False, seed=0)
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    found = resources.needs(model, as_it_is, ("finetune", "prune"))
    assert (found.disk, found.memory) == (2 * weights, weights)
    sparse = resources.needs(model, load_config(shipped_configs()["default"]), ("map",))
    assert resources.needs(model, as_it_is, ("map",)).disk > sparse.disk  # all columns are there


@pytest.mark.parametrize(("epochs", "disk", "memory"), [(0, 2, 2), (1, 5, 4)])
def test_what_decides_first_needs_a_second_model(tiny_bert: Path, epochs: int, disk: int, memory: int) -> None:
    """On disk the one that was decided, beside the result; in memory the dense one; a checkpoint only to train."""
    from crossvote.swstack.models.config import ModelConfig
    from crossvote.swstack.models.loading import load_model

    config = load_config(
        shipped_configs()["default"],
        ["prune.method=least-squares", f"prune.final_epochs={epochs}", "prune.distillation=0"],
    )
    assert not config.prune.layer_distillation
    model, _ = load_model(ModelConfig(source=str(tiny_bert)), 2, False, seed=0)
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    assert resources.needs(model, config, ("prune",)) == resources.Needs(disk * weights, memory * weights)


@pytest.mark.parametrize("short", ["disk", "memory"])
def test_too_little_says_how_much_before_the_start(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: str
) -> None:
    if short == "disk":
        monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(1, 1, 1000))
    else:
        monkeypatch.setattr(resources, "free_memory", lambda: 1000)
    run = tmp_path / "not" / "there"
    with pytest.raises(
        StorageError, match=rf"the run takes at least [\d.]+ MB of {short}, but 1\.00 kB are free"
    ) as said:
        check_pending(config, run, ALL)
    assert "--run-dir" not in str(said.value)  # campaigns and explorations have no such option
    assert not Path(tmp_path / "not").exists()


def test_enough_is_enough(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (free_memory() or 0) > 1 << 20
    check_pending(config, tmp_path, ("finetune", "map"))
    monkeypatch.setattr(resources, "free_memory", lambda: None)
    check_pending(config, tmp_path, ("finetune", "map"))
