"""Several runs on one page, from their results alone."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
import synthetic_run as synthetic
from typer.testing import CliRunner

from crossvote.sim.common.schema import to_mapping
from crossvote.swstack.cli import main as cli
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.paths import RESULTS
from crossvote.swstack.experiment.run.records import FORMAT


def finished(path: Path, chips: int, **changes: float) -> Path:
    """A run directory with nothing but its configuration and its results."""
    results = synthetic.results(**changes)
    results["eval"]["task"] = "grammar-single"
    results["faults"] = {}
    run = RunDirectory(path)
    for stage, file in RESULTS.items():
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        (path / file).write_text(json.dumps({"format": FORMAT, **results.get(stage, {})}))
    values = to_mapping(RunConfig())
    with run.configured({**values, "faults": {**values["faults"], "chips": chips}}):
        return path


def call(*arguments: object):
    return CliRunner().invoke(cli.application(), ["report", *map(str, arguments)])


def test_two_runs_stand_side_by_side(tmp_path):
    one, two = finished(tmp_path / "one", 5), finished(tmp_path / "two", 7, pruned=51.0, dense=50.5)
    result = call(one, two, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["page"] == str(tmp_path / "out" / "index.html")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "one: The mean stays within" in page
    assert "two: THE MODEL IS AT CHANCE LEVEL" in page
    assert "two: The mean stays" not in page
    assert '<code>faults.<wbr>chips</code></th><td class="text wrap">5</td><td class="text wrap">7</td>' in page
    assert "<code>faults.<wbr>rates" not in page
    with (tmp_path / "out" / "schemes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], row["scheme"]) for row in rows][:4] == [
        ("one", "none"), ("one", "paper"), ("one", "best"), ("two", "none")
    ]  # fmt: skip
    assert {row["tolerated"] for row in rows if row["run"] == "two"} == {"none measured"}


def test_schemes_that_know_the_stuck_cells_have_a_table_of_their_own(tmp_path):
    runs = [finished(tmp_path / name, 5) for name in ("one", "two")]
    record = runs[1] / RESULTS["eval"]
    values = json.loads(record.read_text())
    values["schemes"]["best"]["knows_faults"] = True
    record.write_text(json.dumps(values))
    assert call(*runs, "--out", tmp_path / "out").exit_code == 0
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    blind, known = re.findall(r"<caption>Protection schemes of all runs.*?</table>", page, re.DOTALL)
    assert "programmed around the known stuck cells of each chip" in known
    assert [blind.count(f">{name}</td>") for name in ("none", "paper", "best")] == [2, 2, 1]
    assert [known.count(f">{name}</td>") for name in ("none", "paper", "best")] == [0, 0, 1]
    files = {"schemes.csv": 5, "schemes-known.csv": 1}
    for name, rows in files.items():
        with (tmp_path / "out" / name).open() as file:
            assert len(list(csv.DictReader(file))) == rows


def test_runs_of_one_name_in_two_folders_are_called_by_their_folders_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished(Path("old/mrpc"), 5)
    finished(Path("new/mrpc"), 5)
    result = call("old/mrpc", "new/mrpc")
    assert result.exit_code == 0, result.output
    page = Path("comparison/index.html").read_text(encoding="utf-8")
    assert "old/mrpc: " in result.stdout
    assert "old/mrpc" in page
    assert "new/mrpc" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("one", "../here/one"), "../here/one: is one of the runs twice."),
        (("one", "empty"), "holds no config.toml"),
        (("one", "half"), "eval has not been done; do it with: crossvote run half"),
        (("one", "half", "--force"), "several runs are compared as they are"),
    ],
)
def test_what_cannot_be_compared_is_a_sentence(tmp_path, monkeypatch, arguments, message):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    finished(Path("one"), 5)
    (finished(Path("half"), 5) / RESULTS["eval"]).unlink()
    Path("empty").mkdir()
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not Path("comparison").exists()
