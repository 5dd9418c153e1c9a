"""Docstrings and comments speak one dialect, so that the site and editors show them all alike."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [
    *sorted((ROOT / "crossvote").glob("*.py")),
    *(path for package in ("rtl", "sim", "swstack") for path in sorted((ROOT / package).rglob("*.py"))),
]

#: Code in one backtick, and an exception in a sentence instead of the section ``Raises:``.
ONE_BACKTICK = re.compile(r"(?<!`)`(?!`)[^`\n]+`(?!`)")
SENTENCE = re.compile(r"^ *Raises [A-Z]\w*Error\b", re.MULTILINE)


def texts(source: str) -> Iterator[str]:
    """Docstrings and comments."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    yield from (token.string for token in tokens if token.type == tokenize.COMMENT)


def wrong(source: str) -> list[str]:
    return [found[0] for text in texts(source) for rule in (ONE_BACKTICK, SENTENCE) if (found := rule.search(text))]


@pytest.mark.parametrize("package", ["crossvote", "rtl", "sim", "swstack"])
def test_code_has_two_backticks_and_exceptions_a_section(package):
    own = [path for path in FILES if path.relative_to(ROOT).parts[0] == package]
    assert own
    assert {str(path): found for path in own if (found := wrong(path.read_text(encoding="utf-8")))} == {}


def test_the_other_dialect_is_seen():
    assert wrong('"""Of `this`."""') == ["`this`"]
    assert wrong('def f():\n    """Do.\n\n    Raises UserError if not.\n    """') == ["Raises UserError"]
    assert wrong("x = 1  # as `f` says") == ["`f`"]
    assert wrong('"""Of ``this``.\n\nRaises:\n    UserError: not.\n"""') == []
