"""Crossbars with stuck cells, and the NumPy reference of a whole word-line group.

The reference computes every ADC code of every bit line, cell by cell: slow, plain, and what all else is compared with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossvote.sim.array import arithmetic
from crossvote.sim.array.column_map import ColumnMap, Vote
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import GroupImage
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.later import Later

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = Later("numpy")


def stuck_cells(
    group: GroupImage, row_block: int, faults: FaultMap
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """The stuck cells of one row block: sign (0 positive, 1 negative), word line, bit line, and the level it reads as.

    A cell stuck at low resistance reads as the last level (1 for one-bit cells). Those of a crossbar lie side by side.

    Raises:
        UserError: the fault map is for another chip.
    """
    first = group.pair(row_block, 0)
    last = first + group.column_blocks
    faults.check_fits(group.rows, group.columns, 2 * last)
    stuck, value = faults.of_crossbars(2 * first, 2 * last)
    crossbar, word_line, bit_line = faults.coordinates(stuck)
    line = (crossbar // 2 - first) * group.columns + bit_line
    return crossbar % 2, word_line, line, value.astype(np.uint8) * np.uint8(group.last_level)


def read_cells(group: GroupImage, row_block: int, faults: FaultMap | None) -> NDArray[np.uint8]:
    """What the cells of one row block read as: the programmed levels, replaced where stuck; uint8[2, rows, lines].

    Raises:
        UserError: the fault map is for another chip.
    """
    cells = group.block_cells(row_block)
    if faults is not None:
        sign, word_line, line, level = stuck_cells(group, row_block, faults)
        cells[sign, word_line, line] = level
    return cells


def driven_bits(group: GroupImage, row_block: int, x: NDArray[np.integer], input_bits: int) -> NDArray[np.uint8]:
    """Bits on the word lines of one row block for inputs x [V, K]: uint8[V, n_x, rows]; pruned word lines are 0.

    Raises:
        UserError: x has another number of inputs than the group.
    """
    if x.ndim != 2 or x.shape[1] != group.inputs:
        raise UserError(f"group {group.name} takes vectors of {group.inputs} inputs, not an array of shape {x.shape}.")
    span = slice(row_block * group.rows, min((row_block + 1) * group.rows, group.inputs))
    bits = np.zeros((len(x), input_bits, group.rows), np.uint8)
    width = span.stop - span.start
    bits[:, :, :width] = arithmetic.input_bits(np.where(group.kept_inputs[span], x[:, span], 0), input_bits)
    return bits


def block_codes(
    group: GroupImage,
    row_block: int,
    x: NDArray[np.integer],
    input_bits: int,
    adc_bits: int,
    faults: FaultMap | None = None,
) -> NDArray[np.uint16]:
    """ADC codes of one row block, uint16[2, V, n_x, lines] (positive, negative), for inputs x [V, K]."""
    bits = driven_bits(group, row_block, x, input_bits)
    cells = read_cells(group, row_block, faults)
    return np.stack([arithmetic.adc_codes(bits, cells[sign], adc_bits) for sign in (0, 1)])


def combine(sums: NDArray[np.int64], column_map: ColumnMap, vote: Vote, outputs: int) -> NDArray[np.int64]:
    """Outputs from column sums of all row blocks: int64[V, row_blocks, lines] gives int64[V, outputs].

    ``vote`` = "output" adds the row blocks before the median, "crossbar" after it; without replicas both are a sum.
    For "alone" each crossbar comes as a row block of its own, what the negative ones give with the other sign.
    """
    y = np.zeros((outputs, len(sums)), np.int64)
    for places in column_map.vote_groups:
        replicas = sums[:, :, places.lines]
        if vote == "output":
            voted = arithmetic.vote(replicas.sum(axis=1))[0]
        else:
            voted = arithmetic.vote(replicas)[0].sum(axis=1)
        np.add.at(y, places.output, (voted << places.shift).T)
    return y.T


def reference_outputs(
    group: GroupImage,
    x: NDArray[np.integer],
    input_bits: int,
    adc_bits: int,
    faults: FaultMap | None = None,
) -> NDArray[np.int64]:
    """y int64[V, outputs of the group] for integer inputs x [V, K], every ADC code computed.

    Without faults and clipping y = x @ q for the programmed integers q (pruned inputs count as 0). Time and memory
    grow as V * n_x * K * lines; meant for checks, not for whole data sets.
    """
    sums = []
    for row_block in range(group.row_blocks):
        positive, negative = block_codes(group, row_block, x, input_bits, adc_bits, faults)
        nothing = np.zeros_like(positive)
        alone = [(positive, nothing), (nothing, negative)]
        for pair in alone if group.vote == "alone" else [(positive, negative)]:
            sums.append(arithmetic.column_sums(arithmetic.differences(*pair, group.column_map.flipped)))
    return combine(np.stack(sums, axis=1), group.column_map, group.vote, group.outputs)
