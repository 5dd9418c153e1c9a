"""Random word-line groups laid out without the compiler: replicas on arbitrary bit lines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from crossvote.sim.array.column_map import ColumnMap, Vote
from crossvote.sim.array.image import GroupImage, MatrixImage


def random_group(
    rng: np.random.Generator,
    inputs: int = 150,
    outputs: int = 9,
    planes: int = 4,
    voted: dict[int, int] | None = None,
    flipped: tuple[int, ...] = (),
    vote: Vote = "crossbar",
    rows: int = 64,
    columns: int = 32,
    code: dict[int, list[tuple[int, int]]] | None = None,
) -> tuple[GroupImage, NDArray[np.int64]]:
    """A group and its integer weights q [K, N]; lines are scattered at random, some stay unused.

    ``code`` names the (shift, replicas) of each term of a plane; without it every plane has one of its whole weight.
    """
    voted = voted or {}
    code = code or {b: [(b, voted.get(b, 1))] for b in range(planes)}
    q = rng.integers(-(2**planes) + 1, 2**planes, (inputs, outputs))
    q = np.sign(q) * (np.abs(q) & sum(1 << b for b in code))
    places = [
        (j, b, shift, [s for s, _ in terms[:i]].count(shift), r)
        for j in range(outputs)
        for b, terms in code.items()
        for i, (shift, replicas) in enumerate(terms)
        for r in range(replicas)
    ]
    lines = -(-(len(places) + 3) // columns) * columns
    where = rng.permutation(lines)[: len(places)]
    output, plane = np.full(lines, -1, np.int32), np.zeros(lines, np.int8)
    replica, flip = np.zeros(lines, np.int8), np.zeros(lines, np.bool_)
    shift, copy = np.zeros(lines, np.int8), np.zeros(lines, np.int8)
    row_blocks = -(-inputs // rows)
    cells = np.zeros((2, row_blocks * rows, lines), np.uint8)
    parts = np.stack([np.maximum(q, 0), np.maximum(-q, 0)])
    for line, (j, b, s, c, r) in zip(where, places, strict=True):
        output[line], plane[line], shift[line], copy[line], replica[line], flip[line] = j, b, s, c, r, b in flipped
        cells[:, :inputs, line] = (parts[:, :, j] >> b & 1) ^ (b in flipped)
    group = GroupImage(
        name="g",
        inputs=inputs,
        planes=planes,
        rows=rows,
        columns=columns,
        matrices=(MatrixImage("m", 0, outputs, np.ones(1, np.float32), None),),
        column_map=ColumnMap(output, plane, replica, flip, shift, copy),
        cells=np.packbits(cells, axis=-1),
        kept_inputs=np.ones(inputs, np.bool_),
        vote=vote,
        first_pair=3,
    )
    return group, q


@pytest.fixture
def make_group() -> Callable[..., tuple[GroupImage, NDArray[np.int64]]]:
    return random_group
