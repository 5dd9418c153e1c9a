"""All commands alike: examples in the help, JSON on standard output and nothing else, documented exit codes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import typer
from tiny_run import write_tiny
from typer.testing import CliRunner

from crossvote.swstack.cli import app as rules
from crossvote.swstack.cli import reference
from crossvote.swstack.cli.main import application

APP = application()
COMMANDS = dict(reference.commands(APP))

CAMPAIGN = 'base = "run"\nschemes = ["none"]\nrates = [0.01]\nchips = 1\n'
EXPLORATION = 'base = "run"\nchips = 1\ncandidates = 1\nmax_lost = 100\n[space]\nscheme = ["best"]\n'

#: A short call of every command, in an order in which each finds what it needs.
CALLS = {
    "crossvote presets": "",
    "crossvote config": "faults.chips",
    "crossvote support": "--chip crossvote --scheme paper",
    "crossvote doctor": "",
    "crossvote verilog": "--out verilog",
    "crossvote systemc": "--out systemc --export-only",
    "crossvote finetune": "run.toml --run-dir run",
    "crossvote prune": "run.toml --run-dir run",
    "crossvote map": "run.toml --run-dir run",
    "crossvote faults": "run.toml --run-dir run",
    "crossvote eval": "run.toml --run-dir run",
    "crossvote cosim": "run.toml --run-dir run",
    "crossvote simulate": "run --stream 1 --resolution analytic",
    "crossvote sensitivity": "run --part plane --chips 1 --engine serial",
    "crossvote report": "run.toml --run-dir run",
    "crossvote run": "run.toml --run-dir run",
    "crossvote status": "run",
    "crossvote list": ".",
    "crossvote fork": "run other",
    "crossvote tables": "run",
    "crossvote compare": "run.toml --run-dir run --method magnitude",
    "crossvote ladder": "run.toml --run-dir run --rung none --rung best --rate 0.01 --chips 2",
    "crossvote sweep plan": "campaign.toml --no-calibrate",
    "crossvote sweep run": "campaign.toml --dir c --engine serial",
    "crossvote sweep resume": "c --engine serial",
    "crossvote sweep retry": "c --engine serial",
    "crossvote sweep status": "c",
    "crossvote sweep export": "c",
    "crossvote explore": "explore.toml --dir e",
}


def call(line: str):
    return CliRunner().invoke(APP, shlex.split(line)[1:])


def test_every_command_is_called():
    assert list(CALLS.keys() ^ COMMANDS.keys()) == []


@pytest.fixture(scope="module")
def answers(tiny_bert, tmp_path_factory) -> dict[str, str]:
    """Command -> what it wrote on standard output with ``--json``."""
    pytest.importorskip("optuna")
    place = tmp_path_factory.mktemp("commands")
    write_tiny(
        place / "run.toml",
        tiny_bert,
        map={"schemes": ["none", "best"]},
        faults={"rates": [0.01], "chips": 2},
        cosim={"tokens": 2, "backend": "numpy"},
    )
    (place / "campaign.toml").write_text(CAMPAIGN)
    (place / "explore.toml").write_text(EXPLORATION)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        found = {}
        for name, arguments in CALLS.items():
            result = call(f"{name} {arguments} --json")
            allowed = (0, 1) if name == "crossvote doctor" else (0,)
            assert result.exit_code in allowed, (name, result.output, result.exception)
            found[name] = result.stdout
    return found


@pytest.mark.parametrize("name", CALLS)
def test_json_is_one_document_and_nothing_else(name, answers):
    assert json.loads(answers[name]) is not None
    assert answers[name].endswith("\n")


def test_the_sensitivity_that_was_measured_is_in_the_report(answers, tmp_path_factory):
    (page,) = tmp_path_factory.getbasetemp().glob("commands[0-9]*/run/report/index.html")
    assert "Which parts are sensitive" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_has_examples_that_are_understood(name):
    lines = reference.examples(COMMANDS[name])
    assert lines
    shown = re.sub(r"\s+", " ", re.sub(r"[│╭╮╰╯─]", " ", call(f"{name} --help").output))
    for line in lines:
        assert line.startswith(name)
        assert line.split(" -")[0] in shown
        _parse(line)


def _parse(line: str) -> None:
    """Arguments and options are parsed as they stand; nothing is run."""
    command, words = typer.main.get_command(APP), shlex.split(line.partition(" > ")[0])[1:]
    context = command.make_context("crossvote", list(words), resilient_parsing=True)
    while hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, words)
        context = command.make_context(name, list(words), parent=context)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_and_option_says_what_it_is(name):
    assert (COMMANDS[name].help or "").strip()
    assert [p.name for p in COMMANDS[name].params if p.name != "help" and not p.help] == []
    assert {"--json", "--quiet"} <= {name for p in COMMANDS[name].params for name in p.opts}


def test_the_exit_codes_of_the_code_are_those_of_the_page():
    assert set(reference.EXIT_CODES) == {0, rules.FAILED, rules.BAD_INPUT, rules.INTERRUPTED}
    page = reference.reference(APP)
    for code in reference.EXIT_CODES:
        assert f"| {code} | " in page
        assert str(code) in (rules.app.info.epilog or "")
    for name in COMMANDS:
        assert f"\n## {name}\n" in page


@pytest.mark.parametrize(
    "line",
    ["crossvote status nowhere", "crossvote report nowhere", "crossvote sweep status nowhere", "crossvote fork a b"],
)
def test_an_error_leaves_standard_output_empty(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call(f"{line} --json")
    assert result.exit_code == rules.BAD_INPUT
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1


def test_quiet_says_the_result_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("crossvote list . --quiet").output == ""
    written = call("crossvote verilog --quiet --out v").stdout.splitlines()
    assert len(written) >= 2
    assert all(Path(line).is_file() for line in written)
