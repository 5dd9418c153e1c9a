"""Stages are done when something they depend on changed, and only then."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from crossvote.sim.common.progress import no_progress
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.pipeline import Stage, bring_up_to_date, needed
from crossvote.swstack.experiment.run.sources import Source
from crossvote.swstack.experiment.run.store import StageStore
from crossvote.swstack.experiment.shipped import find_config
from crossvote.swstack.experiment.stages import STAGES


@dataclass(frozen=True)
class Config:
    base: int = 1
    step: int = 1
    label: str = "x"


@dataclass(frozen=True)
class Value:
    value: int | str
    attempts: int = 1


class Machine:
    """Three cheap stages, double <- base, sum <- double and step, page <- sum and label, that count their runs."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.said: dict[str, str] = {}
        self.fail: str | None = None

    def stages(self) -> list[Stage[Config]]:
        return [
            Stage("double", (), lambda c: {"base": c.base}, self.double),
            Stage("sum", ("double",), lambda c: {"step": c.step}, self.sum),
            Stage("page", ("double", "sum"), lambda c: {"label": c.label}, self.page),
        ]

    def _begin(self, name):
        self.done.append(name)
        if self.fail == name:
            raise RuntimeError(name)

    def double(self, context):
        self._begin("double")
        return [context.write("double.json", Value(abs(context.config.base) * 2))]

    def sum(self, context):
        parts = context.work / "parts"
        before = int(parts.read_text()) if parts.exists() else 0
        parts.write_text(str(before + 1))
        self._begin("sum")
        value = context.run.read("double.json", Value).value + context.config.step
        return [context.write("sum.json", Value(value, before + 1))]

    def page(self, context):
        self._begin("page")
        value = context.run.read("sum.json", Value).value
        return [context.write("page.json", Value(f"{context.config.label}{value}"))]

    def update(self, path, config, target="page", force=None, store=None):
        self.done.clear()
        self.said.clear()
        chosen = needed(self.stages(), target)
        with RunDirectory.open(path) as run, run.configured({"base": config.base}):
            say = lambda stage, what: self.said.update({stage: what})  # noqa: E731
            bring_up_to_date(run, config, chosen, no_progress, say, force, store)
            return run.read(f"{target}.json", Value)


@pytest.fixture
def machine():
    return Machine()


def test_everything_is_done_once(machine, tmp_path):
    assert machine.update(tmp_path / "r", Config()).value == "x3"
    assert machine.done == ["double", "sum", "page"]
    machine.update(tmp_path / "r", Config())
    assert machine.done == []
    assert set(machine.said.values()) == {"unchanged"}


def test_a_target_takes_only_what_it_needs(machine, tmp_path):
    machine.update(tmp_path / "r", Config(), target="sum")
    assert machine.done == ["double", "sum"]


@pytest.mark.parametrize(
    ("change", "redone", "reason"),
    [
        ({"label": "y"}, ["page"], "label changed from x to y"),
        ({"step": 5}, ["sum", "page"], "step changed from 1 to 5"),
        ({"base": 7}, ["double", "sum", "page"], "base changed from 1 to 7"),
        # The result is the same although the setting is not: later stages have nothing to do.
        ({"base": -1}, ["double"], "base changed from 1 to -1"),
    ],
)
def test_a_change_redoes_what_depends_on_it_and_says_why(machine, tmp_path, change, redone, reason):
    machine.update(tmp_path / "r", Config())
    machine.update(tmp_path / "r", replace(Config(), **change))
    assert machine.done == redone
    assert reason in machine.said[redone[0]]


def test_a_damaged_artefact_is_made_again(machine, tmp_path):
    machine.update(tmp_path / "r", Config())
    (tmp_path / "r" / "sum.json").write_text("{}")
    machine.update(tmp_path / "r", Config())
    assert machine.done == ["sum"]


def test_force_redoes_one_stage(machine, tmp_path):
    machine.update(tmp_path / "r", Config())
    machine.update(tmp_path / "r", Config(), force="page")
    assert machine.done == ["page"]


def test_changed_code_redoes_the_stage(machine, tmp_path, monkeypatch):
    machine.update(tmp_path / "r", Config())
    plain = machine.stages()
    machine.stages = lambda: [plain[0], replace(plain[1], code=("crossvote.sim.common.seeds",)), plain[2]]
    machine.update(tmp_path / "r", Config())
    assert machine.done == ["sum"]
    assert machine.said["sum"] == "done again: its code changed"


def test_a_source_counts_by_its_content_and_may_be_gone_once_it_was_read(machine, tmp_path):
    content, origin = ["first"], ["/a"]
    plain = machine.stages()
    source = lambda config: (Source("data", origin[0], lambda: content[0]),)  # noqa: E731
    machine.stages = lambda: [replace(plain[0], sources=source), *plain[1:]]
    machine.update(tmp_path / "r", Config())
    origin[0] = "/b"  # moved, with the same content
    machine.update(tmp_path / "r", Config())
    assert machine.done == []
    content[0] = "second"
    machine.update(tmp_path / "r", Config())
    assert machine.done == ["double"]
    assert "what data contains changed" in machine.said["double"]
    content[0] = None
    machine.update(tmp_path / "r", Config())
    assert machine.done == []
    origin[0] = "/c"  # gone, and never read from there
    machine.update(tmp_path / "r", Config())
    assert machine.done == ["double"]


def test_what_an_earlier_stage_redoes_leaves_the_old_results_until_the_new_ones_stand(machine, tmp_path):
    machine.update(tmp_path / "r", Config())
    machine.fail = "double"
    with pytest.raises(RuntimeError):
        machine.update(tmp_path / "r", Config(base=7))
    machine.fail = None
    assert machine.update(tmp_path / "r", Config()).value == "x3"
    assert machine.done == []


def test_runs_with_one_store_share_what_is_finished(machine, tmp_path):
    store = StageStore(tmp_path / "store")
    machine.update(tmp_path / "a", Config(), store=store)
    assert machine.update(tmp_path / "b", Config(label="y"), store=store).value == "y3"
    assert machine.done == ["page"]
    assert machine.said["sum"] == "taken from the store"
    assert (tmp_path / "a" / "sum.json").samefile(tmp_path / "b" / "sum.json")
    # A damaged entry is not taken, and made whole again.
    (entry,) = (tmp_path / "store" / "sum").iterdir()
    (entry / "sum.json").unlink()
    (entry / "sum.json").write_text("{}")
    machine.update(tmp_path / "c", Config(), store=store)
    assert machine.done == ["sum"]
    machine.update(tmp_path / "d", Config(), store=store)
    assert machine.done == []


def test_an_interrupted_stage_goes_on_with_its_partial_results(machine, tmp_path):
    machine.fail = "sum"
    with pytest.raises(RuntimeError):
        machine.update(tmp_path / "r", Config())
    assert machine.done == ["double", "sum"]
    machine.fail = None
    assert machine.update(tmp_path / "r", Config()).value == "x3"
    assert machine.done == ["sum", "page"]
    assert machine.said["sum"] == "continued where it was interrupted"
    with RunDirectory.open(tmp_path / "r") as run:
        assert run.read("sum.json", Value).attempts == 2


@pytest.mark.parametrize(
    ("change", "redone"),
    [
        ("task.eval_limit=7", {"score-dense", "score-pruned", "eval", "cosim", "simulate", "report"}),
        ("finetune.epochs=9", {"finetune", "report"}),
        ("finetune.checkpoint_steps=9", {"report"}),
        ("faults.chips=7", {"faults", "report"}),
        ("map.schemes=['none']", {"map", "eval", "cosim", "simulate", "report"}),
        ("chip.adc.conversion_ps=900", {"cosim", "simulate", "report"}),
        ("simulate.stream=5", {"simulate", "report"}),
    ],
)
def test_a_key_counts_in_the_stages_that_read_it(change, redone):
    """Those after them follow by what they are given; the report shows the whole configuration."""
    path = find_config("default")
    before, after = load_config(path), load_config(path, [change])
    assert {stage.name for stage in STAGES if stage.settings(before) != stage.settings(after)} == redone
