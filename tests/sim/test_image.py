from __future__ import annotations

import numpy as np
import pytest

from crossvote.sim.array.column_map import ColumnMap
from crossvote.sim.array.image import GroupImage, Image
from crossvote.sim.common.errors import UserError


def column_map(*lines: tuple[int, int, int, bool]) -> ColumnMap:
    output, plane, replica, flipped = zip(*lines, strict=True)
    return ColumnMap(
        np.array(output, np.int32), np.array(plane, np.int8), np.array(replica, np.int8), np.array(flipped, np.bool_)
    )


def coded_map(*lines: tuple[int, int, int, int, int]) -> ColumnMap:
    """A map from (output, plane, shift, copy, replica)."""
    output, plane, shift, copy, replica = (np.array(field, np.int8) for field in zip(*lines, strict=True))
    return ColumnMap(output.astype(np.int32), plane, replica, np.zeros(len(lines), np.bool_), shift, copy)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([(0, 3, 2, 0, 0)], "output 0, plane 3 count 4 together, but the bit is worth 8"),
        ([(0, 3, 2, 0, 0), (0, 3, 2, 1, 0), (0, 3, 0, 0, 0)], "count 9 together"),
        ([(0, 3, 2, 0, 0), (0, 3, 2, 2, 0)], "bit line 1 holds output 0, plane 3, shift 2, copy 2; copies must be"),
        ([(0, 3, 2, 1, 0), (0, 3, 2, 2, 0)], "bit line 0 holds .* copies must be numbered"),
        ([(0, 3, 2, 0, 0), (0, 3, 2, 0, 1), (0, 3, 2, 1, 0)], "plane 3, shift 2, copy 0 has 2 replicas"),
        ([(0, 0, -1, 0, 0), (0, 0, -1, 1, 0)], "count from 0"),
    ],
)
def test_codes_that_do_not_add_up_are_refused(lines, message):
    with pytest.raises(UserError, match=message):
        coded_map(*lines)


def test_terms_tell_votes_from_sums():
    """Plane 3 of output 0 is three lines that vote at half weight and two summed ones of a quarter."""
    votes = [(0, 3, 2, 0, r) for r in (1, 0, 2)]
    column_map = coded_map(*votes, (0, 3, 1, 1, 0), (0, 3, 1, 0, 0), (0, 1, 1, 0, 0))
    single, triple = column_map.vote_groups
    assert single.lines.tolist() == [[5], [4], [3]]
    assert (single.plane.tolist(), single.shift.tolist()) == ([1, 3, 3], [1, 1, 1])
    assert triple.lines.tolist() == [[1, 0, 2]]
    assert (triple.plane.tolist(), triple.shift.tolist()) == ([3], [2])
    assert column_map.term.tolist() == [3, 3, 3, 2, 1, 0]
    assert column_map.repeats.tolist() == [True, True, True, True, False, False]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([(0, 0, 0, False), (0, 0, 0, False)], "replicas must be numbered"),
        ([(0, 0, 1, False)], "replicas must be numbered"),
        ([(0, 0, 0, False), (0, 0, 1, False)], "the number must be odd"),
        ([(0, 0, 0, False), (0, 0, 1, True), (0, 0, 2, False)], "all flipped or all plain"),
    ],
)
def test_impossible_column_maps_are_refused(lines, message):
    with pytest.raises(UserError, match=message):
        column_map(*lines)


def test_vote_groups_list_replicas_in_order():
    places = column_map((1, 2, 2, True), (-1, 0, 0, False), (1, 2, 0, True), (0, 5, 0, False), (1, 2, 1, True))
    single, triple = places.vote_groups
    assert single.lines.tolist() == [[3]]
    assert (single.output.tolist(), single.plane.tolist()) == ([0], [5])
    assert triple.lines.tolist() == [[2, 4, 0]]
    assert (triple.output.tolist(), triple.plane.tolist()) == ([1], [2])


def test_bundles_hold_whole_outputs_and_every_line_once(make_group):
    group, _ = make_group(np.random.default_rng(3), outputs=20, voted={3: 3})
    bundles = group.bundles(32, 8)
    assert max(len(bundle.lines) for bundle in bundles) <= 32
    lines = np.concatenate([bundle.lines for bundle in bundles])
    assert sorted(lines) == np.flatnonzero(group.column_map.used).tolist()
    for bundle in bundles:
        assert set(group.column_map.output[bundle.lines]) == set(bundle.outputs)
    with pytest.raises(UserError, match="an OPC serves 5 at most"):
        group.bundles(5, 8)
    few = group.bundles(32, 2)
    assert [len(bundle.outputs) for bundle in few] == [2] * 10
    assert sorted(np.concatenate([bundle.lines for bundle in few])) == sorted(lines)


def test_round_trip_through_a_file(tmp_path, make_group):
    group, _ = make_group(np.random.default_rng(4), code={3: [(2, 3), (2, 1)], 1: [(0, 1)] * 2}, flipped=(3,))
    image = Image((group,), {"name": "test", "replicas": {"3": 3}, "flip": "msb"}, 8, 8)
    image.save(tmp_path / "image.safetensors")
    loaded = Image.load(tmp_path / "image.safetensors")
    assert loaded.content_hash == image.content_hash
    assert loaded.protection == image.protection
    assert np.array_equal(loaded.groups[0].cells, group.cells)
    for name in ("output", "plane", "replica", "flipped", "shift", "copy"):
        assert np.array_equal(getattr(loaded.groups[0].column_map, name), getattr(group.column_map, name))
    assert loaded.groups[0].vote == group.vote
    assert loaded.crossbars == 2 * (group.first_pair + group.pairs)


def test_content_hash_sees_every_cell(make_group):
    group, _ = make_group(np.random.default_rng(5))
    cells = group.cells.copy()
    cells[1, -1, 0] ^= 1
    other = GroupImage(**{**vars(group), "cells": cells})
    hashes = {Image((g,), {}, 8, 8).content_hash for g in (group, other)}
    assert len(hashes) == 2


def test_images_that_cannot_be_built_are_refused(make_group):
    group, _ = make_group(np.random.default_rng(6), voted={3: 3})
    for change, message in (
        ({"vote": "none"}, "replicas need a vote"),
        ({"cells": group.cells[:, :-1]}, "cells have shape"),
        ({"kept_inputs": np.ones(3, np.bool_)}, "kept_inputs needs 150 entries"),
        ({"planes": 2}, "names an output or a plane that does not exist"),
    ):
        with pytest.raises(UserError, match=message):
            GroupImage(**{**vars(group), **change})
    with pytest.raises(UserError, match="crossbars that another group uses"):
        Image((group, group), {}, 8, 8)
    with pytest.raises(UserError, match="no matrix 'x'"):
        Image((group,), {}, 8, 8).group_of("x")


def test_a_file_of_another_kind_is_refused(tmp_path, make_group):
    from crossvote.sim.array.faults import FaultMap

    FaultMap.empty(4, 4, 1).save(tmp_path / "map.safetensors")
    with pytest.raises(UserError, match="not a crossvote-image file"):
        Image.load(tmp_path / "map.safetensors")
