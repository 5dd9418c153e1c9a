"""The main job on a tiny model: every stage, the report, and going on after kill -9."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from tiny_run import write_tiny
from typer.testing import CliRunner

from crossvote.swstack.cli import main as cli
from crossvote.swstack.evaluation import cosimulation
from crossvote.swstack.experiment.run.directory import RunDirectory

RESULTS = ("finetune", "dense", "pruning", "pruned", "mapping", "accuracy", "cosimulation")


@pytest.fixture(scope="module")
def config(tiny_bert, tmp_path_factory) -> Path:
    return write_tiny(
        tmp_path_factory.mktemp("configs") / "tiny.toml",
        tiny_bert,
        seed=1,
        task={"train_limit": 240, "eval_limit": 64},
        finetune={"epochs": 3, "batch_size": 4, "checkpoint_steps": 5, "learning_rate": 1e-3},
        prune={"final_epochs": 1, "column_sparsity": 0.4, "checkpoint_steps": 5},
        map={"schemes": ["none", "paper", "best"]},
        faults={"rates": [0.002, 0.02], "chips": 3},
        cosim={"matrices": ["layer.0.intermediate.dense", "layer.1.attention.self.query"], "tokens": 8},
    )


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory) -> Path:
    """A run that nothing disturbed."""
    directory = tmp_path_factory.mktemp("runs") / "undisturbed"
    result = CliRunner().invoke(cli.application(), ["run", str(config), "--run-dir", str(directory)])
    assert result.exit_code == 0, result.output
    return directory


def results(directory: Path) -> dict[str, str]:
    return {name: (directory / "results" / f"{name}.json").read_text() for name in RESULTS}


def outputs(directory: Path, stage: str) -> dict[str, str]:
    return json.loads((directory / "stages" / f"{stage}.json").read_text())["outputs"]


def test_every_stage_leaves_its_artefacts(finished):
    for stage in ("finetune", "prune", "map", "faults", "eval", "cosim", "simulate", "report"):
        assert (finished / "stages" / f"{stage}.json").is_file()
    page = (finished / "report" / "index.html").read_text(encoding="utf-8")
    assert "tiny-bert on grammar-single" in page
    assert page.count("<svg") == 9
    assert "; &#39;paper&#39; latency " in page
    assert [entry.name for entry in (finished / "work").iterdir()] == ["trials"]


def test_sparsity_target_is_reached_in_every_group(finished):
    groups = json.loads((finished / "results" / "pruning.json").read_text())["groups"]
    assert len(groups) == 8
    assert all(group["column_sparsity"] >= 0.4 for group in groups)


def test_accuracy_has_every_scheme_rate_and_chip(finished):
    accuracy = json.loads((finished / "results" / "accuracy.json").read_text())
    seen = {(point["scheme"], point["rate"]): point["chips"] for point in accuracy["points"]}
    assert seen == {
        (scheme, rate): 3 if rate else 1 for scheme in ("none", "paper", "best") for rate in (0.0, 0.002, 0.02)
    }
    for name in ("dense", "pruned"):
        metrics = json.loads((finished / "results" / f"{name}.json").read_text())["metrics"]
        assert accuracy["fault_free"][name] == metrics["accuracy"]


def test_cosimulation_equals_the_reference(finished):
    matrices = json.loads((finished / "results" / "cosimulation.json").read_text())["matrices"]
    assert len(matrices) == 6
    assert all(matrix["equal"] and matrix["cycles"] > 0 and matrix["outputs"] > 0 for matrix in matrices)
    assert any(matrix["disagreements"] > 0 for matrix in matrices)


def test_matrices_of_the_cosimulation_are_chosen_on_the_command_line(finished, tmp_path):
    directory = shutil.copytree(finished, tmp_path / "copy")
    before = (directory / "config.toml").read_text()
    arguments = ["cosim", str(directory), "--tokens", "3"]

    result = CliRunner().invoke(cli.application(), [*arguments, "--matrix", "output.dense"])
    assert result.exit_code == 2
    assert "'output.dense' names 4 matrices" in result.stderr
    assert (directory / "config.toml").read_text() == before

    result = CliRunner().invoke(cli.application(), [*arguments, "--all"])
    assert result.exit_code == 0, result.output
    matrices = json.loads((directory / "results" / "cosimulation.json").read_text())["matrices"]
    assert len(matrices) == 3 * 12
    assert all(matrix["equal"] and matrix["tokens"] == 3 for matrix in matrices)


def test_a_cosimulation_that_differs_is_exit_code_1(finished, tmp_path, monkeypatch):
    directory = shutil.copytree(finished, tmp_path / "copy")
    real = cosimulation.cosimulate_matrices
    monkeypatch.setattr(cosimulation, "cosimulate_matrices", lambda *arguments: tampered(*arguments))

    def tampered(*arguments):
        return [dataclasses.replace(matrix, equal=False) for matrix in real(*arguments)]

    result = CliRunner().invoke(cli.application(), ["cosim", str(directory), "--tokens", "2"])
    assert result.exit_code == 1
    assert "differs from the reference" in result.stderr
    assert "DIFFERS" in result.output


def test_two_bit_cells_are_evaluated_and_the_report_says_what_was_left_out(finished, tmp_path):
    directory = shutil.copytree(finished, tmp_path / "copy")
    overrides = ["chip.crossbar.cell_bits=2", "chip.adc.bits=9"]
    overrides += ["map.schemes=['none']", "faults.rates=[0.02]", "faults.chips=1"]
    options = [argument for override in overrides for argument in ("-o", override)]
    result = CliRunner().invoke(cli.application(), ["run", str(directory), *options])
    assert result.exit_code == 0, result.output
    assert "was not co-simulated: no output peripheral co-simulates this: the output peripheral takes 1-bit cells" in (
        result.output
    )
    assert json.loads((directory / "results/cosimulation.json").read_text())["matrices"] == []
    assert "was not co-simulated" in (directory / "report/index.html").read_text()


def test_what_cannot_be_finished_is_refused_before_anything_is_written(config, tmp_path):
    for override, message in (
        ("chip.crossbar.cell_bits=2", "a full bit line sums to 384 levels"),
        ("chip.adc.bits=7", "chip.adc.may_clip = true"),
        ("chip.opc.row_blocks=0", "key 'chip.opc.row_blocks' = 0"),
    ):
        result = CliRunner().invoke(
            cli.application(), ["run", str(config), "--run-dir", str(tmp_path / "no"), "-o", override]
        )
        assert result.exit_code == 2
        assert message in result.stderr
        assert not (tmp_path / "no").exists()


def test_a_second_run_does_nothing(finished):
    before = {path: path.stat().st_mtime_ns for path in (finished / "stages").iterdir()}
    result = CliRunner().invoke(cli.application(), ["run", str(finished)])
    assert result.exit_code == 0
    assert result.output.count("unchanged") == 12
    assert {path: path.stat().st_mtime_ns for path in (finished / "stages").iterdir()} == before


def test_the_system_model_runs_the_images(finished):
    result = CliRunner().invoke(cli.application(), ["simulate", str(finished), "--tokens", "8", "--scheme", "best"])
    assert result.exit_code == 0, result.output
    assert "latency" in result.output
    assert any((finished / "system").iterdir())


def test_the_papers_tables_are_written_for_the_run(finished, tmp_path):
    result = CliRunner().invoke(cli.application(), ["tables", str(finished), "--out", str(tmp_path / "tables")])
    assert result.exit_code == 0, result.output
    assert "grammar-single" in (tmp_path / "tables" / "table1.md").read_text()


def test_pruning_methods_are_compared_from_the_runs_dense_model(finished):
    shares = ["--column-sparsity", "0.5", "--column-sparsity", "0.3"]
    arguments = ["compare", str(finished), "--method", "gates", "--method", "magnitude", *shares]
    result = CliRunner().invoke(cli.application(), arguments)
    assert result.exit_code == 0, result.output
    assert "magnitude" in result.output
    rows = (finished / "comparison" / "comparison.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["gates", "gates", "magnitude", "magnitude"]
    assert [row.split(",")[3] for row in rows[1:]] == ["30", "50", "30", "50"]
    assert (finished / "comparison" / "comparison.svg").is_file()


def test_the_example_puts_own_chips_under_the_run(finished):
    script = Path(__file__).parents[2] / "examples" / "own_chips.py"
    done = subprocess.run(
        [sys.executable, str(script), str(finished), "best", "0.02", "2"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["chip 0", "chip 1"]
    assert "accuracy" in done.stdout


def start(config: Path, directory: Path) -> BaseProcess:
    """The command in a process of its own: a fork of this one, which has loaded what the command would load first."""
    process = multiprocessing.get_context("fork").Process(target=_command, args=(config, directory))
    process.start()
    return process


def _command(config: Path, directory: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (open until the process ends)
    sys.stderr = (directory.parent / "errors").open("w", buffering=1)
    sys.argv = ["crossvote", "run", str(config), "--run-dir", str(directory)]
    cli.main()


def stop_when(process: BaseProcess, ready, with_signal: int = signal.SIGKILL) -> None:
    """Stop the process as soon as ``ready`` holds."""
    deadline = time.monotonic() + 120
    while not ready():
        assert process.is_alive(), "the run ended before it could be killed"
        assert time.monotonic() < deadline, "the run did not get far enough"
        time.sleep(0.005)
    os.kill(process.pid, with_signal)
    process.join()


def test_a_run_stopped_three_times_goes_on_to_the_same_numbers(config, finished, tmp_path):
    """Killed in fine-tuning, interrupted in pruning, killed in the sweep."""
    directory = tmp_path / "stopped"

    stop_when(start(config, directory), lambda: any(directory.glob("work/finetune/*/checkpoint.safetensors")))
    with RunDirectory.open(directory) as run:
        assert run.record("finetune") is None

    process = start(config, directory)
    stop_when(process, lambda: any(directory.glob("work/prune/*/checkpoint.safetensors")), signal.SIGINT)
    assert process.exitcode == 130
    assert f"interrupted. Continue with: crossvote run {directory}" in (tmp_path / "errors").read_text()

    stop_when(start(config, directory), lambda: len(list(directory.glob("work/trials/*.json"))) >= 3)
    with RunDirectory.open(directory) as run:
        assert run.record("faults") is not None
        assert run.record("eval") is None
    trials = {path: path.stat().st_mtime_ns for path in directory.glob("work/trials/*.json")}
    assert len(trials) < 21

    last = start(config, directory)
    last.join(240)
    assert last.exitcode == 0
    assert outputs(directory, "finetune") == outputs(finished, "finetune")
    assert outputs(directory, "prune") == outputs(finished, "prune")
    assert results(directory) == results(finished)
    assert {path: path.stat().st_mtime_ns for path in trials} == trials
    assert len(list(directory.glob("work/trials/*.json"))) == 21


def test_more_chips_take_up_the_trials_that_are_there(finished, config, tmp_path):
    """Numbers of the chips that were measured before do not change."""
    before = json.loads((finished / "results" / "accuracy.json").read_text())["points"]
    directory = shutil.copytree(finished, tmp_path / "more")
    shutil.rmtree(directory / "work" / "trials")
    result = CliRunner().invoke(
        cli.application(),
        ["eval", str(config), "--run-dir", str(directory), "-o", "faults.chips=1", "-o", "faults.rates=[0.02]"],
    )
    assert result.exit_code == 0, result.output
    kept = {path: path.stat().st_mtime_ns for path in directory.glob("work/trials/*.json")}
    result = CliRunner().invoke(cli.application(), ["eval", str(config), "--run-dir", str(directory)])
    assert result.exit_code == 0, result.output
    assert json.loads((directory / "results" / "accuracy.json").read_text())["points"] == before
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
