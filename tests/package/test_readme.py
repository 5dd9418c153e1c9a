"""The README: short, and every command and every name in it exists."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer

import crossvote as cv
from crossvote.swstack.cli.main import application
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.shipped import shipped_configs

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line.strip() for line in TEXT.splitlines() if line.startswith("    crossvote ")]


def test_it_is_short():
    assert len(TEXT.splitlines()) < 150


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_is_understood(line):
    """Arguments and options are parsed as they stand; nothing is run."""
    command, words = typer.main.get_command(application()), shlex.split(line, comments=True)[1:]
    context = command.make_context("crossvote", list(words), resilient_parsing=True)
    while hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, words)
        context = command.make_context(name, list(words), parent=context)


def test_the_program_uses_the_public_face():
    (program,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    used = {
        node.attr
        for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "cv"
    }
    assert used == {"task", "load", "finetune", "prune", "map", "chips", "evaluate", "simulate", "cosim"}
    assert used <= set(cv.__all__)


def test_every_file_that_it_links_to_is_there():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", TEXT)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_make_target_is_there():
    targets = set(re.findall(r"`make ([a-z]+)", TEXT)) | set(re.findall(r"^    make ([a-z]+)", TEXT, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)} == set()


def test_the_first_picture_comes_first_and_is_small():
    (block,) = re.findall(r"((?:^    make .*\n)+)", TEXT[: TEXT.index("## The answer")], re.MULTILINE)
    assert block.split()[1] == "quick"
    config = load_config(shipped_configs()["quick"])
    examples = config.task.train_limit
    steps = examples / config.finetune.batch_size * config.finetune.epochs
    steps += examples / config.prune.batch_size * config.prune.epochs
    trials = len(config.map.schemes) * (1 + len(config.faults.rates) * config.faults.chips)
    assert steps <= 200
    assert trials * config.eval.limit <= 3000
    assert "Not a result" in shipped_configs()["quick"].read_text(encoding="utf-8").splitlines()[0]
