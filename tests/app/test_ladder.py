"""The ladder: rungs on the same chips, taken up where it stopped, and tables that add up."""

from __future__ import annotations

import csv
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import build
from crossvote.swstack.cli.main import application
from crossvote.swstack.evaluation.results import Point
from crossvote.swstack.experiment.config import RunConfig, load_config
from crossvote.swstack.experiment.ladder import site, tables
from crossvote.swstack.experiment.ladder.config import TRAINED, LadderConfig, law_of, rung_schemes
from crossvote.swstack.experiment.ladder.run import ladder_in_run
from crossvote.swstack.experiment.ladder.tables import ladder_tables
from crossvote.swstack.experiment.shipped import find_config
from crossvote.swstack.experiment.work import bring_up
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.tasks.chance import Chance


def rows(path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_ladder_climbs_stops_and_goes_on(tmp_path, monkeypatch, tiny_bert):
    run = tmp_path / "run"
    command = ["ladder", "default", "--run-dir", str(run), "--chips", "3", "--rate", "0.02", "--rate", "0.3"]
    command += ["--rung", "none-column", "--rung", "paper", "--rung", "code+trained", "--epochs", "1"]
    command += ["--rung", "placed"]
    for text in (
        f"model.source={tiny_bert}",
        "task.train_limit=48",
        "task.eval_limit=24",
        "prune.gate_epochs=1",
        "finetune.epochs=1",
    ):
        command += ["-o", text]
    measured = []
    original = site.predicted_metrics

    def counted(model, *arguments):
        measured.append(model)
        if len(measured) == 5:
            raise KeyboardInterrupt
        return original(model, *arguments)

    monkeypatch.setattr(site, "predicted_metrics", counted)
    assert CliRunner().invoke(application(), command).exit_code == 130
    assert len(list((run / "ladder/trials").iterdir())) == 4
    result = CliRunner().invoke(application(), command)
    assert result.exit_code == 0, result.output
    assert len(measured) == 5 + 4 * 7 - 4  # four rungs on six chips and on none, four of them done before
    again = CliRunner().invoke(application(), [*command, "--json"])
    assert again.exit_code == 0
    assert len(measured) == 5 + 4 * 7 - 4
    shown = json.loads(again.stdout)
    assert [row["rung"] for row in shown["table"]] == ["none-column", "paper", "code+trained"]
    assert [row["rung"] for row in shown["known"]] == ["placed"]
    blind, known = result.stdout.split("Programmed around the known stuck cells of each chip:")
    assert ("placed" in blind, "placed" in known, "paper" in known.replace("over paper", "")) == (False, True, False)
    (run / "ladder/trials/paper-rate-0.3-chip-1-0.json").write_text("{")  # no result, and in nobody's way
    other = [*command, "-o", "task.eval_limit=12"]
    assert CliRunner().invoke(application(), other).exit_code == 0
    assert len(measured) == 5 + 4 * 7 - 4 + 4 * 7
    assert CliRunner().invoke(application(), command).exit_code == 0
    assert len(measured) == 5 + 4 * 7 - 4 + 4 * 7

    rates = rows(run / "ladder/rates.csv")
    assert [(row["rung"], row["rate"], row["chips"]) for row in rates if row["rung"] == "paper"] == [
        ("paper", "0.0", "1"),
        ("paper", "0.02", "3"),
        ("paper", "0.3", "3"),
    ]
    table = {row["rung"]: row for row in rows(run / "ladder/ladder.csv")}
    assert list(table) == ["none-column", "paper", "code+trained"]
    assert table["code+trained"]["zero space"] == "True"
    assert all(float(row["latency, us"]) > 0 < float(row["energy, uJ"]) for row in table.values())
    assert int(table["code+trained"]["bit lines"]) > int(table["none-column"]["bit lines"])
    assert {row["against"] for row in rows(run / "ladder/paired.csv")} == {"none-column", "paper"}
    # Schemes that know the faults have tables of their own, which go where none is measured.
    for name in ("rates", "paired", "ladder"):
        assert {row["rung"] for row in rows(run / f"ladder/{name}-known.csv")} == {"placed"}
        assert "placed" not in {row["rung"] for row in rows(run / f"ladder/{name}.csv")}
    document = json.loads((run / "ladder/ladder.json").read_text())
    assert document["settings"]["faults"]["chips"] == 3
    clean = float(table["none-column"]["clean"])
    for row in rates:
        assert float(row["lost"]) == pytest.approx(clean - float(row["mean"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rung", "magic+trained"), "rung 'magic+trained': 'magic' is no protection scheme"),
        (("--rung", "paper", "--rung", "paper"), "every rung can be named once only"),
        (("--rung", "code", "-o", "chip.crossbar.cell_bits=2", "-o", "chip.adc.bits=9"), "scheme 'code': "),
        (("--rate", "0"), "a fault rate is above 0"),
        (("--rate", "0.1", "--rate", "0.1"), "every rate can be named once only"),
        (("--pattern", "clusterd"), "did you mean 'clustered'?"),
        (("--design-rate", "2"), "key 'training.design_rate' = 2.0"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_trained(tmp_path, tiny_bert, arguments, message):
    command = ["ladder", "default", "--run-dir", str(tmp_path / "run"), "-o", f"model.source={tiny_bert}", *arguments]
    result = CliRunner().invoke(application(), command)
    assert result.exit_code == 2
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_scheme_that_knows_the_faults_takes_another_ones_law_to_train_for():
    run = build(RunConfig, {}, "test")
    settings = build(LadderConfig, {"rungs": ["placed", "placed+trained", "mean5+trained"]}, "test")
    assert rung_schemes(settings, run).keys() == {"placed", "placed+trained", "mean5+trained"}
    laws = [law_of(name, PRESETS, settings) for name in settings.rungs]
    assert laws == [None, "code", "mean5"]
    for law, message in (("closest", "'closest' programs around the faults of each chip"), ("cod", "'cod' is no")):
        wrong = build(LadderConfig, {"rungs": ["placed+trained"], "training": {"scheme": law}}, "test")
        with pytest.raises(UserError, match=rf"rung 'placed\+trained': {message}"):
            rung_schemes(wrong, run)


@pytest.mark.slow
def test_workers_and_one_process_write_the_same_tables(tmp_path, tiny_bert):
    """With rates of their own for single rungs, and one training for two rungs."""
    overrides = [f"model.source={tiny_bert}", "task.train_limit=48", "task.eval_limit=24", "prune.gate_epochs=1"]
    config = load_config(find_config("default"), [*overrides, "finetune.epochs=1"])
    values = {
        "rungs": ["none-column", "code+trained", "placed7+trained"],
        "faults": {"rates": [0.02, 0.1], "chips": 3},
        "own_rates": {"none-column": [0.001], "placed7+trained": [0.1, 0.2]},
        "training": {"epochs": 1},
    }
    settings = build(LadderConfig, values, "test")
    bring_up(tmp_path / "one", config, "prune")
    shutil.copytree(tmp_path / "one", tmp_path / "many")
    one = ladder_in_run(tmp_path / "one", config, settings)
    assert ladder_in_run(tmp_path / "many", config, settings, workers=2) == one
    assert [row["rung"] for row in rows(tmp_path / "one/ladder/ladder.csv")] == ["none-column", "code+trained"]
    for name in ("rates.csv", "ladder.csv", "rates-known.csv", "ladder-known.csv"):
        assert (tmp_path / "many/ladder" / name).read_bytes() == (tmp_path / "one/ladder" / name).read_bytes()
    assert [path.name for path in (tmp_path / "many/ladder/models").iterdir() if path.is_dir()] == ["code-trained"]
    every = [row for name in ("rates", "rates-known") for row in rows(tmp_path / f"one/ladder/{name}.csv")]
    rates = {name: [row["rate"] for row in every if row["rung"] == name] for name in settings.rungs}
    assert rates == {
        "none-column": ["0.0", "0.001"],
        "code+trained": ["0.0", "0.02", "0.1"],
        "placed7+trained": ["0.0", "0.1", "0.2"],
    }


def test_rates_of_a_rung_that_is_not_there_are_refused():
    with pytest.raises(UserError, match="own_rates names 'best', which is no rung"):
        build(LadderConfig, {"rungs": ["code"], "own_rates": {"best": [0.1]}}, "test")


def test_factors_are_over_the_unprotected_rung_of_the_same_scale(monkeypatch):
    monkeypatch.setattr(tables, "costs", lambda image, chip, heads: {})

    def points(name: str, scores: dict[float, tuple[float, ...]]) -> list[Point]:
        return [
            Point(name, "accuracy", rate, float(np.mean(own)), 0.0, 0.0, 0.0, 0.0, 0.0, len(own), own)
            for rate, own in scores.items()
        ]

    class Rung:
        def __init__(self, name: str) -> None:
            self.name, self.scheme, self.image, self.model = name, PRESETS[name], None, SimpleNamespace(config=None)

    given = [
        *points("none", {0.0: (90.0,), 0.1: (70.0, 70.0)}),
        *points("none-column", {0.0: (90.0,), 0.1: (80.0, 80.0)}),
        *points("paper", {0.0: (90.0,), 0.1: (86.0, 84.0)}),
        *points("code", {0.0: (90.0,), 0.1: (89.5, 88.5)}),
        *points("placed", {0.0: (90.0,), 0.1: (90.0, 90.0)}),
    ]
    names = ("none", "none-column", "paper", "code", "placed")
    _, paired, table = ladder_tables(given, "accuracy", [Rung(name) for name in names], None)  # type: ignore[misc]
    by_name = {row["rung"]: row for row in table}
    assert by_name["none"]["tolerated, 1 point"] == pytest.approx(0.005)
    assert by_name["none-column"]["tolerated, 1 point"] == pytest.approx(0.01)
    assert by_name["code"]["over unprotected, 1 point"] == pytest.approx(10)
    assert by_name["paper"]["over unprotected, 1 point"] == pytest.approx(4)
    assert by_name["placed"]["map known"]
    assert not by_name["code"]["map known"]
    assert by_name["code"]["over paper, 1 point"] == pytest.approx(0.1 / 0.02)
    difference = next(row for row in paired if row["rung"] == "code" and row["against"] == "paper")
    assert difference["difference"] == pytest.approx(4.0)
    assert difference["high"] == pytest.approx(4.0 + 12.706204736 * np.std([3.5, 4.5], ddof=1) / 2**0.5)
    # A model that is at chance level without faults tolerates nothing, and no score at that level is a tolerated one.
    for level, at_chance in ((89.5, True), (84.5, False)):
        chance = Chance("accuracy", level, 1.0, 100)
        rungs = [Rung(name) for name in names]
        table = ladder_tables(given, "accuracy", rungs, None, chance)[2]  # type: ignore[misc]
        assert {row["at chance level"] for row in table} == {at_chance}
        kept = {row["rung"]: row["tolerated, 1 point"] for row in table}
        assert kept["code"] == pytest.approx(0.0 if at_chance else 0.1)
        assert kept["paper"] == 0.0


def test_defaults_are_shipped_schemes():
    settings = build(LadderConfig, {}, "test")
    assert all(name.removesuffix(TRAINED) in PRESETS for name in settings.rungs)
    assert settings.faults.chips == 30
