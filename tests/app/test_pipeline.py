"""Stages are done when something they depend on changed, and only then."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from crossvote.sim.common.progress import no_progress
from crossvote.swstack.experiment.pipeline import Stage, bring_up_to_date, needed
from crossvote.swstack.experiment.run_directory import RunDirectory


@dataclass(frozen=True)
class Config:
    base: int = 1
    step: int = 1
    label: str = "x"


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
        return [context.run.write_json("double.json", {"value": abs(context.config.base) * 2})]

    def sum(self, context):
        parts = context.work / "parts"
        before = int(parts.read_text()) if parts.exists() else 0
        parts.write_text(str(before + 1))
        self._begin("sum")
        value = context.run.read_json("double.json")["value"] + context.config.step
        return [context.run.write_json("sum.json", {"value": value, "attempts": before + 1})]

    def page(self, context):
        self._begin("page")
        value = context.run.read_json("sum.json")["value"]
        return [context.run.write_json("page.json", {"text": f"{context.config.label}{value}"})]

    def update(self, path, config, target="page", force=None):
        self.done.clear()
        self.said.clear()
        chosen = needed(self.stages(), target)
        settings = {stage.name: stage.settings(config) for stage in chosen}
        with RunDirectory.open(path) as run, run.configured({"base": config.base}):
            bring_up_to_date(run, config, chosen, settings, no_progress, lambda s, w: self.said.update({s: w}), force)
            return run.read_json(f"{target}.json")


@pytest.fixture
def machine():
    return Machine()


def test_everything_is_done_once(machine, tmp_path):
    assert machine.update(tmp_path / "r", Config())["text"] == "x3"
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


def test_a_raised_revision_redoes_the_stage(machine, tmp_path):
    machine.update(tmp_path / "r", Config())
    plain = machine.stages()
    machine.stages = lambda: [plain[0], replace(plain[1], revision=2), plain[2]]
    machine.update(tmp_path / "r", Config())
    assert machine.done == ["sum"]


def test_an_interrupted_stage_goes_on_with_its_partial_results(machine, tmp_path):
    machine.fail = "sum"
    with pytest.raises(RuntimeError):
        machine.update(tmp_path / "r", Config())
    assert machine.done == ["double", "sum"]
    machine.fail = None
    assert machine.update(tmp_path / "r", Config())["text"] == "x3"
    assert machine.done == ["sum", "page"]
    assert machine.said["sum"] == "continued where it was interrupted"
    with RunDirectory.open(tmp_path / "r") as run:
        assert run.read_json("sum.json")["attempts"] == 2
