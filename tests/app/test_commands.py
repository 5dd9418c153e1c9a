"""All commands alike: examples in the help, JSON on standard output and nothing else, documented exit codes."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer
from all_commands import APP, CALLS, call

from crossvote.swstack.cli import app as rules
from crossvote.swstack.cli import reference
from crossvote.swstack.cli.output import Output

COMMANDS = dict(reference.commands(APP))


def test_every_command_is_called():
    assert list(CALLS.keys() ^ COMMANDS.keys()) == []


@pytest.mark.parametrize("name", CALLS)
def test_json_is_one_document_and_nothing_else(name, workplace):
    assert json.loads(workplace.answers[name]) is not None
    assert workplace.answers[name].endswith("\n")


def test_the_sensitivity_that_was_measured_is_in_the_report(workplace):
    page = workplace.folder / "run" / "report" / "index.html"
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
    help_text = (COMMANDS[name].help or "").strip()
    assert help_text
    assert [part for part in help_text.split("\n\n") if "\n" in part] == []  # the terminal breaks its own lines
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


def test_a_narrow_terminal_cuts_nothing_off_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Least of all its first column, which is typed into the next command."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    Output().table([["run", "model", "schemes"], ["runs/mrpc-with-30-chips", "some-model", "none, paper, best, code"]])
    text = re.sub("\x1b\\[[0-9;]*m", "", screen.getvalue())
    assert "runs/mrpc-with-30-chips" in text
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert max(map(len, text.splitlines())) <= 40


@pytest.mark.parametrize("line", ["crossvote --help", "crossvote sweep --help"])
def test_the_help_of_a_group_has_examples_too(line: str) -> None:
    lines = [line.strip() for line in call(line).stdout.splitlines()]
    shown = [line for line in lines if line.startswith("crossvote ")]
    assert len(shown) > 1
    for example in shown:
        assert example.startswith(tuple(COMMANDS)), example
