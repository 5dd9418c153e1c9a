"""``--dry-run`` says what would be done and writes nothing."""

from __future__ import annotations

import json

import pytest
from tiny_run import write_tiny
from typer.testing import CliRunner

from crossvote.sim.common.libraries import find_compiler
from crossvote.sim.peripheral.verilator_build import find_verilator
from crossvote.swstack.cli import main as cli
from crossvote.swstack.cli.dry_run import duration, size
from crossvote.swstack.experiment import plan as planning
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.tasks import load_task

BACKEND = "verilator" if find_verilator() and find_compiler() else "numpy"


@pytest.fixture
def config(tiny_bert, tmp_path):
    return write_tiny(
        tmp_path / "tiny.toml",
        tiny_bert,
        task={"train_limit": 32, "eval_limit": 12},
        prune={"final_epochs": 1},
        map={"schemes": ["none", "best"]},
        faults={"rates": [0.002, 0.02], "chips": 3},
        eval={"limit": 8},
    )


def call(*arguments):
    return CliRunner().invoke(cli.application(), [str(argument) for argument in arguments])


def listing(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def test_everything_is_said_and_nothing_is_written(config, tmp_path):
    before = listing(tmp_path)
    found = call("run", config, "--run-dir", tmp_path / "run", "--dry-run", "--json")
    assert found.exit_code == 0, found.output
    plan = json.loads(found.stdout)
    assert listing(tmp_path) == before
    assert plan["pending"] == [stage["stage"] for stage in plan["stages"]]
    assert plan["trials"] == 2 * (1 + 2 * 3)
    assert "32 train and 12 dev examples" in plan["data"]
    assert "word-line groups" in plan["model"]
    assert "3 chips of 'crossvote' at each of 0.2 %, 2 % stuck cells" in plan["chips"]
    assert [scheme["scheme"] for scheme in plan["schemes"]] == ["none", "best"]
    assert all(scheme["accuracy"] == "exact, one product" for scheme in plan["schemes"])
    estimated = {stage["stage"]: stage["seconds"] for stage in plan["stages"]}
    asked = {stage["stage"]: stage["asked"] for stage in plan["stages"]}
    assert [name for name, wanted in asked.items() if not wanted] == ["fault-training", "calibrate"]
    assert estimated["fault-training"] is None
    assert all(estimated[stage] > 0 for stage in ("finetune", "prune", "map", "eval", "score-dense"))
    assert estimated["cosim"] is None
    assert plan["disk_bytes"] > 0
    assert plan["memory_bytes"] > 0
    told = call("run", config, "--run-dir", tmp_path / "run", "--dry-run").output
    for word in ("nothing is written", "14 trials", "free)", "co-simulation", "not estimated"):
        assert word in told
    stages = {line.split()[0]: line.split(maxsplit=1)[1].strip() for line in told.splitlines()[1:15] if " " in line}
    assert stages["fault-training"] == stages["calibrate"] == "not asked for"
    assert stages["finetune"].startswith("done ")


@pytest.mark.parametrize(("compiler", "said"), [("", BACKEND), ("no-such", "numpy, for CXX='no-such': there is")])
def test_the_back_end_is_the_one_that_will_run(config, tmp_path, monkeypatch, compiler, said):
    """It was called "auto", which says neither."""
    if compiler:
        monkeypatch.setenv("CXX", compiler)
    plan = json.loads(call("run", config, "--run-dir", tmp_path / "run", "--dry-run", "--json").stdout)
    assert all(scheme["cosim"].startswith(said) for scheme in plan["schemes"])


def test_a_model_without_a_head_is_not_taken_as_it_is(config, tmp_path, tiny_bert):
    """It was refused by the stage, when the run had begun."""
    from transformers import AutoModel, AutoTokenizer

    AutoModel.from_pretrained(tiny_bert).save_pretrained(tmp_path / "bare")
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path / "bare")
    arguments = ("run", config, "--run-dir", tmp_path / "run", "-o", "finetune.skip=true")
    for more in (("--dry-run",), ()):
        found = call(*arguments, "-o", f'model.source="{tmp_path / "bare"}"', *more)
        assert found.exit_code == 2
        assert "finetune.skip: the model has no head with 2 outputs for the task 'grammar-single'" in found.stderr
        assert not (tmp_path / "run").exists()


def test_what_is_finished_is_left_out_and_left_alone(config, tmp_path):
    run = tmp_path / "run"
    assert call("finetune", config, "--run-dir", run).exit_code == 0
    before = listing(run)
    plan = json.loads(call("prune", run, "--dry-run", "--json").stdout)
    assert listing(run) == before
    assert plan["pending"] == ["prune", "score-pruned"]
    assert plan["trials"] == 0
    done = call("finetune", run, "--dry-run")
    assert "nothing would be done" in done.output
    forced = json.loads(call("finetune", run, "--dry-run", "--force", "--json").stdout)
    assert "finetune" in forced["pending"]


def test_what_the_command_refuses_the_plan_refuses(config, tmp_path):
    found = call("run", config, "--run-dir", tmp_path / "run", "--dry-run", "-o", "cosim.matrices=['nowhere']")
    assert found.exit_code == 2
    assert len(found.stderr.strip().splitlines()) == 1
    assert "nowhere" in found.stderr
    assert not (tmp_path / "run").exists()


def test_times_follow_from_what_was_measured(config):
    loaded = load_config(config)
    rates = planning._Rates(dense=1.0, on_chip=10.0, swap=100.0, map=1000.0, tokens=8.0)
    assert planning._seconds(loaded, load_task(loaded.task, 0), rates) == {
        "finetune": 32 * 3.0,
        "score-dense": 12.0,
        "prune": (loaded.prune.warmup_epochs + 2) * 32 * 3.0,
        "score-pruned": 12.0,
        "fault-training": 0.0,
        "map": 2 * 1000.0,
        "eval": 2 * 8.0 + 14 * 8 * 10.0 + 12 * 100.0,
    }


@pytest.mark.parametrize(("tokens", "examples"), [(80, 10), (10_000, 32)])
def test_solving_before_training_takes_time_too(config, tokens, examples):
    loaded = load_config(
        config, ["prune.method=least-squares", f"prune.methods.least-squares.calibration_tokens={tokens}"]
    )
    rates = planning._Rates(dense=1.0, on_chip=10.0, swap=100.0, map=1000.0, tokens=8.0)
    seconds = planning._seconds(loaded, load_task(loaded.task, 0), rates)
    training = loaded.prune.final_epochs * 32 * 3.0
    assert seconds["prune"] == training + planning._SOLVING * examples


def test_times_are_told_in_units_of_their_size():
    assert [duration(seconds) for seconds in (0.2, 90, 600, 9000, 200_000)] == [
        "under 1 s",
        "90 s",
        "10 min",
        "2 h",
        "2 days",
    ]


def test_sizes_are_told_in_units_of_their_size():
    """A tiny model writes no "0 MB"."""
    assert [size(count) for count in (0, 2_400, 26_000, 3_100_000, 62_326_000_000)] == [
        "0 bytes",
        "2 kB",
        "26 kB",
        "3 MB",
        "62 GB",
    ]
