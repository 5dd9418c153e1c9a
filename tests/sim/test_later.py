"""Modules that are imported when something of them is first used."""

from __future__ import annotations

import sys

import pytest

from crossvote.sim.common.later import Later


def test_a_module_is_loaded_by_the_first_use_of_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    module = Later("colorsys")
    assert "colorsys" not in sys.modules
    assert module.rgb_to_hsv is sys.modules["colorsys"].rgb_to_hsv
    assert "rgb_to_hsv" in vars(module)  # so that it is looked up once


def test_what_the_module_lacks_it_lacks_here():
    with pytest.raises(AttributeError, match="nowhere"):
        Later("math").nowhere  # noqa: B018
