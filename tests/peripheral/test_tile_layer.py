"""Whole layers through compiled tiles; ``python -m benchmarks.tile_layer`` does it for every scheme."""

from __future__ import annotations

import dataclasses

import pytest
from opc_hardware import needs_compiler

from benchmarks import tile_layer
from crossvote.swstack.models.packaged import packaged_directory

needs_encoder = pytest.mark.skipif(packaged_directory("minilm-l6") is None, reason="minilm-l6 is not installed")


@needs_compiler
@needs_encoder
@pytest.mark.slow
def test_every_integer_of_a_layer_is_right() -> None:
    """All matrices of a layer, stuck cells included, under the scheme that votes per crossbar."""
    result = tile_layer.run("best", vectors=1)
    assert result.wrong == 0
    assert result.outputs > 384 * 3
    assert result.distinct > 100
    assert result.disagreements > 100


def test_a_wrong_integer_shows_in_the_page() -> None:
    right = tile_layer.Result("none", 3, 9, 1000, 200, 0, 0, 10_000, 0.01)
    data = {"results": [dataclasses.asdict(right), dataclasses.asdict(dataclasses.replace(right, wrong=1))]}
    assert "under 1 of 2 schemes" in tile_layer.section(data)
