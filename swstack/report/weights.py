"""What an image says about its weights: how large the integers are, which bits are set, and what pruning left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.array.image import GroupImage, Image

#: Cells of all positive and negative crossbars that are looked at; a larger image is sampled.
MOST_CELLS = 400_000_000


def scale_images(images: Mapping[str, Image]) -> dict[str, Image]:
    """The first image of each way to scale: "one scale per tensor", "one scale per column"."""
    found: dict[str, Image] = {}
    for image in images.values():
        per_tensor = all(matrix.scale.size == 1 for group in image.groups for matrix in group.matrices)
        found.setdefault(f"one scale per {'tensor' if per_tensor else 'column'}", image)
    return found


def magnitudes(image: Image) -> tuple[NDArray[np.int64], bool]:
    """How many weights have each magnitude, int64[2^B], pruned rows and columns left out; and whether all were seen.

    An image with more than ``MOST_CELLS`` cells is read in the first row block of every word-line group only.
    """
    planes = max(group.planes for group in image.groups)
    cells = sum(2 * group.row_blocks * group.rows * len(group.column_map) for group in image.groups)
    complete = cells <= MOST_CELLS
    counts = np.zeros(1 << planes, np.int64)
    for group in image.groups:
        for block in range(group.row_blocks if complete else 1):
            for values in _block_magnitudes(group, block):
                counts += np.bincount(values.ravel(), minlength=len(counts))
    return counts, complete


def _block_magnitudes(group: GroupImage, block: int) -> Iterator[NDArray[np.uint16]]:
    """Magnitudes of one row block, uint16[outputs that are kept, driven rows]; the larger of the pair's two numbers."""
    kept = np.flatnonzero(group.kept_inputs[block * group.rows : (block + 1) * group.rows])
    column_map = group.column_map
    lines = np.flatnonzero(column_map.used & ~column_map.repeats)
    if not len(lines) or not len(kept):
        return
    # Still packed, and bit lines before word lines, so that what belongs to a bit line lies side by side. In a flipped
    # one every bit of a level is the other way round.
    flipped = np.packbits(np.repeat(column_map.flipped, group.cell_bits))
    packed = group.cells[:, block * group.rows + kept] ^ flipped
    packed = np.ascontiguousarray(packed.swapaxes(1, 2))
    outputs, place = np.unique(column_map.output[lines], return_inverse=True)
    width = np.uint8 if group.planes <= 8 else np.uint16
    total = np.zeros((2, len(outputs), len(kept)), width)
    planes = column_map.plane[lines]
    for plane in np.unique(planes):
        own = planes == plane  # repeats are left out, so an output has one line of a plane at most
        for digit in range(group.cell_bits):
            bit = lines[own] * group.cell_bits + digit
            # Where the bit of every output lies: in which byte, and which of that byte; none where it has no line.
            byte, mask = np.zeros(len(outputs), np.int64), np.zeros((len(outputs), 1), np.uint8)
            byte[place[own]], mask[place[own], 0] = bit >> 3, 0x80 >> (bit & 7)
            total += ((packed[:, byte] & mask) != 0) * width(1 << (plane + digit))
    yield total.max(axis=0)


def plane_shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the weights whose bit b is 1, float[B], from ``magnitudes``."""
    value = np.arange(len(counts))
    planes = int(len(counts) - 1).bit_length()
    ones = [int(counts[(value >> plane) & 1 == 1].sum()) for plane in range(planes)]
    return np.array(ones, np.float64) / max(int(counts.sum()), 1)


def head_sparsity(image: Image, queries: int, keys: int) -> list[dict[str, Any]]:
    """Share of pruned columns of every attention head in the matrices of query, key and value.

    queries, keys: heads of the queries, and of keys and values. One matrix for all three has all their heads.

    Returns rows of ``group``, ``matrix``, ``head`` (from 0), ``pruned`` (a fraction); none for a single head.
    """
    rows = []
    for group in image.groups:
        if group.name.rpartition(".")[2] != "qkv" or queries < 2:
            continue
        heads = (queries, keys, keys) if len(group.matrices) == 3 else (queries + 2 * keys,)
        kept = np.zeros(group.outputs, np.bool_)
        kept[group.column_map.output[group.column_map.used]] = True
        for matrix, count in zip(group.matrices, heads, strict=False):
            own = kept[matrix.first_output : matrix.first_output + matrix.outputs]
            if len(own) % count:
                continue
            for head, columns in enumerate(own.reshape(count, -1)):
                pruned = float(1 - columns.mean())
                rows.append({"group": group.name, "matrix": matrix.name, "head": head, "pruned": pruned})
    return rows
