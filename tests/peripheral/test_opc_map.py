"""OpcMap: what is refused, the read order, and its cut out of a word-line group's map."""

from __future__ import annotations

import numpy as np
import pytest

from crossvote.rtl.parameters import OpcParameters
from crossvote.sim.array.column_map import ColumnMap
from crossvote.sim.array.image import Bundle
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral import OpcMap

ROWS = list[tuple[int, int, int]]


def make(rows: ROWS, flipped: tuple[int, ...] = ()) -> OpcMap:
    """A map from (output, plane, replica) per bit line; output -1 is an unused one."""
    output, plane, replica = np.array(rows).T
    flips = np.isin(np.arange(len(rows)), flipped)
    return OpcMap(output.astype(np.int32), plane.astype(np.int8), replica.astype(np.int8), flips)


def test_read_order_is_by_output_then_top_plane_first_then_replica() -> None:
    opc_map = make([(1, 0, 0), (0, 1, 2), (-1, 0, 0), (0, 0, 0), (0, 1, 0), (1, 1, 0), (0, 1, 1)])
    assert opc_map.read_order.tolist() == [4, 6, 1, 3, 5, 0]
    assert opc_map.places[0].tolist() == [[3], [5], [0]]
    assert opc_map.places[1].tolist() == [[4, 6, 1]]
    assert opc_map.outputs == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(-1, 0, 0)] * 2, "at least one used bit line"),
        ([(0, 0, 0), (0, 0, 0)], "bit lines 0 and 1 both hold output 0, plane 0, replica 0"),
        ([(0, 0, 0), (0, 0, 1)], r"output 0, plane 0 has the replicas 0, 1; an OPC takes one line .* or three"),
        ([(0, 0, 1)], "output 0, plane 0 has the replicas 1"),
        ([(0, 0, r) for r in range(5)], "replicas 0, 1, 2, 3, 4"),
        ([(1, 0, 0)], "0 to 1 without gaps"),
        ([(0, -1, 0), (0, 0, 0)], "bit line 0 has plane -1"),
    ],
)
def test_impossible_maps_are_refused(rows: ROWS, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(rows)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(0, 4, 0)], "output 0 has 4 as its lowest shift; the OPC takes 3 at most"),
        ([(0, 3, 0), (0, 0, 0)], "a term of shift 3 and its next lower one at shift 0; the OPC goes down by 2 at most"),
    ],
)
def test_terms_too_far_apart_are_refused(rows: ROWS, message: str) -> None:
    parameters = OpcParameters(columns=6, lanes=1, planes=6)
    with pytest.raises(UserError, match=message):
        make([*rows, *[(-1, 0, 0)] * (6 - len(rows))]).check_fits(parameters)


def test_too_much_weight_and_half_flipped_votes_are_refused() -> None:
    parameters = OpcParameters(columns=6, lanes=1, planes=2)
    zeros = np.zeros(6, np.int8)
    output = np.array([0, 0, 0, -1, -1, -1], np.int32)
    copies = np.array([0, 1, 2, 0, 0, 0], np.int8)
    with pytest.raises(UserError, match=r"the terms of output 0 weigh 6 together; .* adds 3 at most"):
        OpcMap(output, zeros + 1, zeros, zeros.astype(np.bool_), zeros + 1, copies).check_fits(parameters)
    with pytest.raises(UserError, match="all flipped or all plain"):
        OpcMap(output, zeros, copies, copies == 1).check_fits(parameters)


def test_summed_lines_are_read_by_falling_shift_and_never_taken_for_a_vote() -> None:
    """Plane 2 is three lines that vote at half weight and two summed ones of a quarter; plane 1 is two summed lines."""
    rows = [(2, 0, 0, 1), (2, 1, 0, 0), (1, 0, 1, 0), (2, 0, 1, 0), (2, 1, 0, 2), (1, 0, 0, 0), (2, 1, 0, 1)]
    plane, shift, copy, replica = np.array(rows, np.int8).T
    replica[0] = 0
    opc_map = OpcMap(np.zeros(7, np.int32), plane, replica, np.zeros(7, np.bool_), shift, copy)
    assert opc_map.read_order.tolist() == [1, 6, 4, 0, 3, 5, 2]
    assert opc_map.places[0].tolist() == [[0], [3], [5], [2]]
    assert opc_map.places[1].tolist() == [[1, 6, 4]]


def test_arrays_of_different_length_are_refused() -> None:
    with pytest.raises(UserError, match="for every bit line"):
        OpcMap(np.zeros(2, np.int32), np.zeros(1, np.int8), np.zeros(2, np.int8), np.zeros(2, np.bool_))


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        ([(0, 0, 0)], {}, "describes 1 bit lines, but the OPC serves 4"),
        ([(0, 2, 0), (0, 1, 0), (0, 0, 0), (-1, 0, 0)], {}, "bit line 0 has plane 2, but the OPC has planes 0 to 1"),
        ([(0, 0, 0), (1, 0, 0), (2, 0, 0), (-1, 0, 0)], {}, "makes 3 outputs, but the OPC, .* numbers 2 at most"),
        ([(0, 0, 0), (0, 0, 1), (0, 0, 2), (-1, 0, 0)], {"voter": False}, "built without a voter"),
        ([(0, 0, 0)] + [(-1, 0, 0)] * 3, {"voter": False, "column_map": False}, "has no writable column map"),
    ],
)
def test_maps_for_another_opc_are_refused(rows: ROWS, changes: dict[str, bool], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(rows).check_fits(OpcParameters(columns=4, lanes=2, planes=2, **changes))


def test_bundle_is_renumbered_and_padded() -> None:
    column_map = ColumnMap(
        np.array([7, -1, 5, 7, 5, 6], np.int32),
        np.array([1, 0, 0, 0, 1, 0], np.int8),
        np.zeros(6, np.int8),
        np.array([True, False, False, False, False, False]),
    )
    opc_map = OpcMap.from_bundle(column_map, Bundle(np.array([0, 2, 3, 4]), np.array([5, 7])), 6)
    assert opc_map.output.tolist() == [1, 0, 1, 0, -1, -1]
    assert opc_map.plane.tolist() == [1, 0, 0, 1, 0, 0]
    assert opc_map.flipped.tolist() == [True] + [False] * 5
    with pytest.raises(UserError, match="4 bit lines does not fit into an OPC of 3"):
        OpcMap.from_bundle(column_map, Bundle(np.array([0, 2, 3, 4]), np.array([5, 7])), 3)
