"""Integers on crossbars: where the bit lines of a word-line group go under a scheme, and what its cells hold."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.array.checksum import with_checksums
from crossvote.sim.array.column_map import ColumnMap
from crossvote.sim.array.image import GroupImage, MatrixImage
from crossvote.sim.common.errors import UserError
from crossvote.swstack.mapping.placement import dense_lines, place_checksums, place_outputs
from crossvote.swstack.mapping.scheme import Allocation, GroupStatistics, Scheme


@dataclass(frozen=True, eq=False)
class QuantizedGroup:
    """The integers of one word-line group, before placement.

    Attributes:
        q: int32[K, N], outputs of all matrices side by side; pruned rows and columns are 0.
        matrices: name, outputs, scale and bias of each matrix.
        kept_inputs: bool[K], inputs that at least one matrix uses. kept_outputs: bool[N].
    """

    name: str
    q: NDArray[np.int32]
    matrices: tuple[MatrixImage, ...]
    kept_inputs: NDArray[np.bool_]
    kept_outputs: NDArray[np.bool_]


def place_group(
    quantized: QuantizedGroup,
    scheme: Scheme,
    planes: int,
    rows: int,
    columns: int,
    first_pair: int = 0,
    cell_bits: int = 1,
    opc_columns: int | None = None,
    opc_outputs: int | None = None,
) -> GroupImage:
    """Place one quantized word-line group under a protection scheme.

    Where a code leaves out low planes, its output's integers are rounded to multiples of the lowest one kept.
    ``opc_columns``, ``opc_outputs``: as in ``build_image``.

    Raises:
        UserError: a crossbar too narrow for one output, or a scheme that does not fit.
    """
    statistics = group_statistics(quantized, planes, cell_bits, rows)
    slices = len(statistics.cell_planes)
    if slices > columns:
        raise UserError(
            f"group {quantized.name}: an output takes {slices} bit lines, more than the {columns} of a crossbar; "
            "use wider crossbars or fewer weight bits."
        )
    opc = (opc_columns or columns, opc_outputs or columns // planes)
    allocation, column_map = _placed(scheme, statistics, columns, *opc)
    cells = program(rounded(quantized.q, allocation, planes), column_map, rows, cell_bits)
    return GroupImage(
        name=quantized.name,
        inputs=len(quantized.q),
        planes=planes,
        rows=rows,
        columns=columns,
        matrices=tuple(
            matrix if scheme.gain == 1 else replace(matrix, scale=(matrix.scale * scheme.gain).astype(np.float32))
            for matrix in quantized.matrices
        ),
        column_map=column_map,
        cells=with_checksums(cells, column_map, rows) if column_map.checksums else cells,
        kept_inputs=quantized.kept_inputs,
        vote=allocation.vote,
        first_pair=first_pair,
        cell_bits=cell_bits,
    )


def _placed(
    scheme: Scheme, statistics: GroupStatistics, columns: int, opc_columns: int, opc_outputs: int
) -> tuple[Allocation, ColumnMap]:
    """The codes of a group and their bit lines, checksums included."""
    slices, bits = len(statistics.cell_planes), scheme.checksum_bits or 0
    name, cell_bits = statistics.name, statistics.cell_bits
    room = dense = dense_lines(len(statistics.kept), slices, columns)
    while True:
        allocation = scheme.allocate(statistics, room)
        column_map = place_outputs(allocation, slices, columns, scheme.placement, name, cell_bits, spare=bits)
        if not bits:
            return allocation, column_map
        checked = place_checksums(column_map, bits, columns, opc_columns, opc_outputs, name)
        over = int(checked.read.sum()) > dense
        if not over or room < dense:
            return allocation, checked
        # A scheme that fills the room there is leaves some for its checksums; others place the same once more.
        room = dense - bits * checked.checksums


def group_statistics(quantized: QuantizedGroup, planes: int, cell_bits: int, rows: int) -> GroupStatistics:
    """What a scheme may know of a group: all inputs alike, and an output's error counts by its scale."""
    scale = np.concatenate([np.broadcast_to(matrix.scale, matrix.outputs) for matrix in quantized.matrices])
    return GroupStatistics(
        name=quantized.name,
        planes=planes,
        cell_bits=cell_bits,
        q=quantized.q,
        kept=quantized.kept_outputs,
        scale=scale.astype(np.float32),
        moments=quantized.kept_inputs.astype(float) if quantized.kept_inputs.any() else np.ones(len(quantized.q)),
        sensitivity=np.ones(len(scale)),
        vote_rows=min(rows, int(quantized.kept_inputs.sum())),
    )


def rounded(q: NDArray[np.int32], allocation: Allocation, planes: int) -> NDArray[np.int32]:
    """q [K, N], each output rounded to the nearest multiple of its lowest plane that its kept planes can hold."""
    lowest = allocation.lowest
    if not lowest.any():
        return q
    step = np.left_shift(1, lowest)
    most = (1 << planes) - step
    whole: NDArray[np.int32] = np.clip(np.rint(q / step) * step, -most, most).astype(np.int32)
    return whole


def program(q: NDArray[np.int32], column_map: ColumnMap, rows: int, cell_bits: int = 1) -> NDArray[np.uint8]:
    """Packed cells (``GroupImage.cells``) that hold the integers q [K, N] under a column map.

    A flipped cell holds its last level minus the level.
    """
    inputs = len(q)
    row_blocks = math.ceil(inputs / rows)
    lines = np.flatnonzero(column_map.used)
    output, plane, flipped = column_map.output[lines], column_map.plane[lines], column_map.flipped[lines]
    packed = np.zeros((2, row_blocks * rows, math.ceil(len(column_map) * cell_bits / 8)), np.uint8)
    magnitude_type = np.uint8 if np.abs(q).max(initial=0) < 256 else np.uint16
    for sign in (0, 1):
        for start in range(0, inputs, rows):
            part = q[start : start + rows]
            magnitude = np.maximum(part if sign == 0 else -part, 0).astype(magnitude_type)
            shifted = magnitude[:, output] >> plane.astype(magnitude_type)
            bits = np.zeros((len(part), len(column_map), cell_bits), np.uint8)
            for bit in range(cell_bits):
                bits[:, lines, bit] = ((shifted >> bit) & 1) ^ flipped
            packed[sign, start : start + len(part)] = np.packbits(bits.reshape(len(part), -1), axis=-1)
    return packed
