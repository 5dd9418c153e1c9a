"""The reference of all commands as a page, from what ``--help`` says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

#: What a command ends with, as ``crossvote.swstack.cli.app`` does it.
EXIT_CODES = {
    0: "done",
    1: "a check failed: the hardware and its reference differ, trials of a campaign failed (the rest is measured), or "
    "`doctor` misses something that is needed",
    2: "bad input, or trouble with a file: one sentence on standard error, and nothing half-written",
    130: "interrupted by Ctrl-C; the sentence says how to go on",
}


def commands(app: typer.Typer) -> Iterator[tuple[str, Any]]:
    """Every command with its full name ("crossvote sweep run"), those of a group after each other."""
    yield from _walk("crossvote", typer.main.get_command(app))


def _walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for own, child in command.commands.items():
            yield from _walk(f"{name} {own}", child)
    else:
        yield name, command


def examples(command: Any) -> list[str]:
    """The command lines that a command's help shows."""
    return [line for line in (command.epilog or "").split("\n\n") if line.startswith("crossvote ")]


def reference(app: typer.Typer) -> str:
    """The page as Markdown."""
    lines = [
        "# Commands",
        "",
        "What `crossvote COMMAND --help` says. Every command takes `--json` (one JSON document on standard output and",
        "nothing else; progress and messages go to standard error) and `--quiet`.",
        "",
        "| exit code | meaning |",
        "| ---: | --- |",
        *(f"| {code} | {text} |" for code, text in EXIT_CODES.items()),
    ]
    for name, command in commands(app):
        own = _parameters(command)
        arguments = [p.metavar or p.name.upper() for p in own if p.param_type_name == "argument"]
        shown = examples(command)
        lines += ["", f"## {name}", "", " ".join((command.help or "").split()), ""]
        lines += [f"    {' '.join((name, *arguments))} [OPTIONS]", ""]
        lines += ["| option | meaning |", "| --- | --- |"] if own else []
        lines += [f"| {_name(p)} | {_meaning(p)} |" for p in own]
        lines += ["", "Examples:", "", *(f"    {line}" for line in shown)] if shown else []
    return "\n".join(lines) + "\n"


def _parameters(command: Any) -> list[Any]:
    return [p for p in command.params if p.name not in ("help", "as_json", "quiet")]


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`"
    names = ", ".join(f"`{name}`" for name in parameter.opts)
    return names if parameter.is_flag else f"{names} `{parameter.metavar or parameter.name.upper()}`"


def _meaning(parameter: Any) -> str:
    text, default = " ".join((parameter.help or "").split()), parameter.default
    plain = isinstance(default, str | int | float) and not isinstance(default, bool)
    return _cell(f"{text} Default: `{default}`." if plain else text)


def _cell(text: str) -> str:
    return re.sub(r"\|", "&#124;", text)
