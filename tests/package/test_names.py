"""A name means one thing."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_two_public_classes_of_the_installed_rooms_share_a_name():
    found = Counter(
        node.name
        for folder in ("crossvote", "rtl", "sim", "swstack")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert found["ChipConfig"] == 1
    assert {name for name, times in found.items() if times > 1} == set()


def test_no_two_files_of_tests_share_a_name():
    """Pytest takes two modules of one name for the same, and a bench is not a test of the default suite."""
    found = Counter(path.name for folder in ("tests", "tb") for path in (ROOT / folder).rglob("test_*.py"))
    assert len(found) > 150
    assert {name for name, times in found.items() if times > 1} == set()
