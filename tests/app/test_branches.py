"""Runs that branch, and what is said about runs."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_run import write_tiny
from typer.testing import CliRunner

from crossvote.swstack.cli import main as cli
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.run.branches import find_runs, fork, status
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.work import bring_up


def call(*arguments):
    return CliRunner().invoke(cli.application(), [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def pruned(tiny_bert, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    write_tiny(folder / "own.toml", tiny_bert, task={"train_limit": 32, "eval_limit": 8}, map={"schemes": ["none"]})
    for command in ("finetune", "prune"):
        bring_up(folder / "first", load_config(folder / "own.toml"), command)
    return folder / "first"


@pytest.fixture
def run(pruned, tmp_path) -> Path:
    return Path(shutil.copytree(pruned, tmp_path / "first"))


def test_a_fork_shares_what_stays_valid_and_does_the_rest_itself(run, tmp_path):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    result = call("fork", run, tmp_path / "second", "-o", "prune.column_sparsity=0.5", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["finished"] == ["finetune", "score-dense"]
    again = call("fork", run, tmp_path / "third", "-o", "seed=7")  # under which nothing is up to date
    assert again.stdout == (
        f"{tmp_path / 'third'}: finished in it already: nothing; go on with: crossvote run {tmp_path / 'third'}\n"
    )
    # No result that is another configuration's: neither a file, nor a record, nor a folder for one.
    for fork_of, there in (("second", {"model", "results", "stages"}), ("third", set())):
        files = {path.relative_to(tmp_path / fork_of).as_posix() for path in (tmp_path / fork_of).rglob("*")}
        assert {name.split("/")[0] for name in files} - {"config.toml", ".lock"} == there
        assert not {"results/pruning.json", "results/pruned.json", "stages/prune.json"} & files
    assert (run / "model" / "model.safetensors").samefile(tmp_path / "second" / "model" / "model.safetensors")
    said = {}
    bring_up(tmp_path / "second", load_config(tmp_path / "second" / "config.toml"), "map", say=said.__setitem__)
    assert said["finetune"] == "unchanged"
    assert said["prune"] == "started"
    # The first run is as it was, to the byte.
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    bring_up(run, load_config(run / "config.toml"), "prune", say=said.__setitem__)
    assert said["prune"] == "unchanged"


def test_a_fork_that_finds_no_room_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of it would pass for a run whose later stages were never done. The disk fills at every write in turn."""
    replace, there = os.replace, sorted(tmp_path.iterdir())
    for room in range(100):
        left = iter(range(room))

        def filling(source: Path, target: Path, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", filling)
            result = call("fork", run, tmp_path / "new" / "second")
        if result.exit_code == 0:
            break
        assert result.exit_code == 2
        assert "No space left on device); make room" in result.stderr
        assert sorted(tmp_path.iterdir()) == there
    assert 5 < room < 99


def test_a_fork_without_hard_links_is_a_copy(run, tmp_path, monkeypatch):
    def refused(*arguments):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refused)
    assert fork(run, tmp_path / "second") == ("finetune", "score-dense", "prune", "score-pruned")
    assert not (run / "model" / "config.json").samefile(tmp_path / "second" / "model" / "config.json")
    shutil.rmtree(run)
    assert status(tmp_path / "second").done == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fork", "nowhere", "new"), "nowhere: no run directory"),
        (("fork", "first", "taken"), "taken: is there already"),
        (("fork", "first", "first/results/new"), "first/results/new: lies inside the run"),
        (("run", "first", "--run-dir", "first/new"), "first/new: lies inside the run"),
        (("fork", "first", "new", "-o", "faults.chip=1"), "did you mean 'chips'?"),
        (("status", "taken"), "taken: no run directory"),
        (("list", "nowhere"), "nowhere: no such folder"),
        (
            ("report", "first"),
            "first: there is no page to write yet (fault-training, map, calibrate, faults, eval, cosim, simulate not "
            "done); finish the run with: crossvote run first\n",
        ),
        (
            ("report", "first", "-o", "prune.column_sparsity=0.5"),
            "simulate not done; prune, score-pruned outdated); finish the run with: crossvote run first --override "
            "prune.column_sparsity=0.5\n",
        ),
        (
            ("report", "mrpc", "--run-dir", "new"),
            "new: there is no page to write yet (none of its stages is done); finish the run with: crossvote run mrpc "
            "--run-dir new\n",
        ),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["first", "taken"]


def test_status_says_what_is_finished_outdated_interrupted_or_missing(run):
    (run / "work" / "map" / "abc").mkdir(parents=True)
    (run / "pruned" / "masks.safetensors").unlink()
    states = {stage.stage: stage.state for stage in status(run).stages}
    assert states == {
        "finetune": "finished", "score-dense": "finished", "prune": "outdated", "score-pruned": "outdated",
        "fault-training": "missing",
        "map": "interrupted", "calibrate": "missing", "faults": "missing", "eval": "missing", "cosim": "missing",
        "simulate": "missing", "report": "missing",
    }  # fmt: skip
    result = call("status", run)
    assert result.exit_code == 0
    assert "outdated" in result.output


def test_list_finds_runs_and_passes_over_what_it_cannot_read(run, tmp_path):
    (tmp_path / "deep" / "broken").mkdir(parents=True)
    (tmp_path / "deep" / "broken" / "config.toml").write_text("seed = [")
    assert find_runs(tmp_path) == [tmp_path / "deep" / "broken", run]
    result = call("list", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)
    assert (row["run"], row["task"], row["seed"]) == (str(run), "grammar-single", 0)
    assert (row["stages done"], row["stages"]) == (4, 12)
    assert isinstance(row["schemes"], list)
    assert "not a TOML file" in result.stderr


def test_a_finished_run_is_neither_held_nor_written_to(run):
    config = load_config(run / "config.toml")
    bring_up(run, config, "prune")  # the copy's times are known from here on
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    said = {}
    with RunDirectory.open(run):  # another process works in it
        bring_up(run, config, "prune", say=said.__setitem__)
    assert set(said.values()) == {"unchanged"}
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
