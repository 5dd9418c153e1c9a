"""The command line: exit codes, messages, and that nothing is written when the input is wrong."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from crossvote.sim.common.errors import UserError
from crossvote.swstack.cli import main as cli

STAGES = ("run", "finetune", "prune", "map", "faults", "eval", "cosim", "report")


def call(*arguments, cwd=None):
    return CliRunner().invoke(cli.app, list(arguments))


@pytest.mark.parametrize(
    "command", [(), *((name,) for name in (*STAGES, "simulate", "tables", "compare", "verilog", "presets", "doctor"))]
)
def test_every_command_explains_itself(command):
    result = call(*command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_help_is_quick_because_torch_is_not_loaded():
    script = "import sys, crossvote.swstack.cli.main; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    started = time.monotonic()
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "-o", "faults.chip=3"), "did you mean 'chips'?"),
        (("run", "-o", "faults.chips=0"), "greater than or equal to 1"),
        (("run", "nowhere.toml"), "neither a TOML file, a run directory nor one of the shipped configurations"),
        (("run", "-o", "model.source=./nowhere"), "no such directory"),
        (("run", "-o", "task.name=nothing"), "unknown task"),
        (("run", "mrpc", "--glue-dir", "nowhere"), "--glue-dir nowhere: no such directory"),
        (("map", "-o", "seed"), "must look like section.key=value"),
        (("verilog", "--chip", "nochip"), "neither a TOML file nor one of"),
        (("simulate", "nowhere"), "neither a run directory nor one of"),
        (("simulate", "bert-base", "--resolution", "atom"), "must be one of analytic"),
        (("tables", "nowhere"), "neither a TOML file, a run directory"),
        (("compare", "--method", "guess"), "must be one of gates"),
        (("compare", "--column-sparsity", "30"), "--column-sparsity 30: must be at least 0 and below 1"),
    ],
)
def test_bad_input_is_one_sentence_exit_code_2_and_no_file(monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_glue_data_without_the_task_is_refused_before_anything_is_written(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "glue").mkdir()
    result = call("run", "mrpc", "--glue-dir", "glue")
    assert result.exit_code == 2
    assert "MRPC" in result.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["glue"]


def test_an_unknown_option_is_exit_code_2():
    assert call("run", "--nothing").exit_code == 2


def test_ctrl_c_is_exit_code_130_and_says_how_to_go_on(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_update", interrupted)
    result = call("run", "--run-dir", "mine")
    assert result.exit_code == 130
    assert "crossvote run mine" in result.stderr


def test_text_in_messages_is_not_taken_for_markup(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def refuses(*arguments):
        raise UserError("key [map.protection.mine] is [bold]odd[/bold].")

    monkeypatch.setattr(cli, "_update", refuses)
    assert "key [map.protection.mine] is [bold]odd[/bold]." in call("run").stderr


def test_presets_lists_configurations_chips_schemes_and_tasks():
    output = call("presets").output
    for word in ("default", "mrpc", "crossvote", "paper", "best", "grammar-single", "sst2"):
        assert word in output


def test_verilog_is_written_where_asked(tmp_path):
    result = call("verilog", "--out", str(tmp_path / "v"))
    assert result.exit_code == 0
    assert {path.name for path in (tmp_path / "v").iterdir()} == {"opc.v", "opc.json"}
    assert "module opc" in (tmp_path / "v" / "opc.v").read_text()
