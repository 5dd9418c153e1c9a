from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from benchmarks import validation
from benchmarks.validation import GROUPS, Case, all_cases, page

DOCS = Path(__file__).parents[2] / "docs" / "validation.md"


@cache
def cases() -> tuple[Case, ...]:
    return tuple(all_cases())


@pytest.mark.parametrize("number", range(17))
def test_every_published_case_is_there_and_holds(number):
    key = f"V{number + 1}"
    found = [case for case in cases() if case.key == key]
    assert found
    assert [case for case in found if not case.holds] == []


def test_neurosim_is_met_where_it_is_modelled():
    found = [case for case in cases() if case.key == "NeuroSim"]
    assert len(found) == 5
    assert all(case.holds for case in found)


def test_the_page_shows_what_the_code_computes():
    assert DOCS.read_text(encoding="utf-8") == page(list(cases())), (
        "write it again with: python -m benchmarks.validation docs/validation.md"
    )


@pytest.mark.parametrize(
    ("relation", "simulated", "holds"),
    [
        ("=", 1.0, True),
        ("=", 1.02, False),
        ("<=", 1.02, False),
        ("<=", 0.5, True),
        (">=", 0.5, False),
        ("report", 9, True),
    ],
)
def test_a_case_can_fail(relation, simulated, holds):
    assert Case("V0", "x", 1.0, simulated, 0.01, relation).holds is holds


def test_a_miss_shows_on_the_page():
    assert "| **no** |" in page([Case("V0", "x", 1.0, 2.0)])
    assert "1 rows, 1 outside" in page([Case("V0", "x", 1.0, 2.0)])


def test_queueing_is_sensitive():
    """The tolerances above would notice a server that is one percent slow."""
    assert validation.time_in_system(0.81, 200_000) > validation.time_in_system(0.8, 200_000) * 1.02
    assert len(GROUPS) == 7
