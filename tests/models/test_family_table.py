"""The table of families in the documentation says what is so."""

from __future__ import annotations

import pytest
from family_table import on_request, row, written
from test_families import BY_NAME, difference
from test_whole_job import QUICK, SLOW


def test_every_family_is_in_the_table_and_there_are_at_least_25():
    assert list(written()) == list(BY_NAME)
    assert len(BY_NAME) >= 25


def test_at_least_12_families_run_the_whole_job():
    jobs = [*QUICK, *SLOW]
    assert len(set(jobs)) == len(jobs) >= 12
    assert set(jobs) <= set(BY_NAME)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_table_is_up_to_date(name):
    model, kind, groups, share, request, folding = written()[name]
    assert (model, kind, groups, folding) == row(name)
    assert request == on_request(name)
    # Processors add floats in different orders; the third digit may differ.
    assert float(share.removesuffix(" %")) / 100 == pytest.approx(difference(name, 8), rel=0.1, abs=6e-4)
