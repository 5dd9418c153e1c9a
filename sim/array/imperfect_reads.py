"""Codes of bit lines whose reads are not ideal, and why they are not: the arithmetic of a ``ReadModel``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossvote.sim.array import arithmetic
from crossvote.sim.array.crossbar import combine, driven_bits, read_cells
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import GroupImage, Image
from crossvote.sim.array.read_model import ReadModel
from crossvote.sim.array.silicon import conductance_stream
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.later import Later

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = Later("numpy")


def loss(image: Image, model: ReadModel) -> str | None:
    """Why codes may not be the exact sums of driven cells' levels, in words; None if they provably are.

    Raises:
        UserError: disturbed reads of cells of several bits, which are not modelled.
    """
    if model.disturbed:
        if any(group.cell_bits > 1 for group in image.groups):
            raise UserError("disturbed reads are modelled for one-bit cells only.")
        return "reads are disturbed"
    if model.variation:
        return "the conductance of cells varies"
    if model.on_off_ratio is not None:
        return f"cells at high resistance conduct (on/off ratio {model.on_off_ratio:g})"
    if model.step(image.adc_bits) != 1.0:
        return f"a code stands for {model.step(image.adc_bits):g} levels"
    last = model.last_code(image.adc_bits)
    for group in image.groups:
        driven = max(
            (int(block.sum()) for block in np.split(group.kept_inputs, range(group.rows, group.inputs, group.rows))),
            default=0,
        )
        if driven * group.last_level > last:
            return (
                f"{driven} driven word lines of group {group.name} can add up to {driven * group.last_level}, "
                f"beyond the ADC's last code, {last}"
            )
    return None


def variation(
    model: ReadModel, rows: int, columns: int, crossbar: int, faults: FaultMap | None = None
) -> NDArray[np.float32]:
    """Factors of the conductance of a crossbar's cells, float32[rows, columns]: log-normal with median 1.

    They belong to the silicon: they depend on the seed, the chip and the crossbar, not on what is mapped there.
    """
    stream = conductance_stream(model.seed, faults, "variation", crossbar)
    rng = np.random.Generator(np.random.Philox(stream))
    factors: NDArray[np.float32] = np.exp(
        np.float32(model.variation) * rng.standard_normal((rows, columns), np.float32)
    )
    return factors


def verified_lines(group: GroupImage, share: float) -> NDArray[np.bool_]:
    """Which bit lines are written with verification, bool[lines]: a ``share`` of the used ones, rounded up.

    The selection of SWIM (Yan et al., DAC 2022): the largest second derivative of the error with respect to a cell's
    conductance. The squared error of an output counts by its scale s squared, and a cell of weight 2^shift enters it
    with s 2^shift x[k], so that the derivative is 2 s^2 4^shift E[x[k]^2]; inputs are taken for alike.
    """
    column_map = group.column_map
    used = np.flatnonzero(column_map.used)
    scale = np.concatenate([np.broadcast_to(matrix.scale, matrix.outputs) for matrix in group.matrices])
    cost = scale[column_map.output[used]].astype(np.float64) ** 2 * 4.0 ** column_map.shift[used]
    first = used[np.argsort(-cost, kind="stable")][: int(np.ceil(share * len(used)))]
    chosen = np.zeros(len(column_map), np.bool_)
    chosen[first] = True
    return chosen


def conductance_factors(
    model: ReadModel, group: GroupImage, row_block: int, faults: FaultMap | None = None
) -> NDArray[np.float64]:
    """``variation`` of the crossbars of one row block, float64[2, rows, lines], less of it on ``verified_lines``."""
    factors = np.empty((2, group.rows, len(group.column_map)))
    for block in range(group.column_blocks):
        lines = slice(block * group.columns, (block + 1) * group.columns)
        for sign in (0, 1):
            crossbar = 2 * group.pair(row_block, block) + sign
            factors[sign, :, lines] = variation(model, group.rows, group.columns, crossbar, faults)
    if model.verified_share and model.variation:
        # The same silicon: factors are exp(sigma z), and sigma is smaller.
        verified = verified_lines(group, model.verified_share)
        factors[:, :, verified] **= model.verified_variation / model.variation
    return factors


def codes(sums: NDArray[np.floating], model: ReadModel, adc_bits: int) -> NDArray[np.int64]:
    """ADC codes of bit-line sums: round(sum / step) in the precision of ``sums``, clipped to the codes there are."""
    scaled = np.rint(sums * sums.dtype.type(1 / model.step(adc_bits)))
    return np.clip(scaled, 0, model.last_code(adc_bits)).astype(np.int64)


def reference_outputs(
    group: GroupImage,
    x: NDArray[np.integer],
    input_bits: int,
    adc_bits: int,
    model: ReadModel,
    faults: FaultMap | None = None,
) -> NDArray[np.int64]:
    """y int64[V, outputs of the group] in units of the ADC's step, for integer inputs x [V, K], cell by cell.

    The counterpart of ``crossvote.sim.array.crossbar.reference_outputs`` for reads that are not ideal, disturbed
    ones excepted: those are random per read. Sums are float32 without variation (exact counts, one rounding) and
    float64 with it.
    """
    column_sums = []
    for row_block in range(group.row_blocks):
        bits = driven_bits(group, row_block, x, input_bits)
        cells = read_cells(group, row_block, faults)
        factors = conductance_factors(model, group, row_block, faults) if model.variation else None
        pair: list[NDArray[np.int64]] = []
        for sign in (0, 1):
            if factors is None:
                ones = bits.astype(np.float32) @ cells[sign].astype(np.float32)
                most = bits.sum(axis=-1, keepdims=True, dtype=np.float32) * np.float32(group.last_level)
                sums = ones + (most - ones) * np.float32(model.high_resistance)
            else:
                conductance = cells[sign] + (group.last_level - cells[sign]) * model.high_resistance
                sums = bits.astype(np.float64) @ (conductance * factors[sign])
            pair.append(codes(sums, model, adc_bits))
        nothing = np.zeros_like(pair[0])
        alone = [(pair[0], nothing), (nothing, pair[1])]
        for own in alone if group.vote == "alone" else [(pair[0], pair[1])]:
            column_sums.append(arithmetic.column_sums(arithmetic.differences(*own, group.column_map.flipped)))
    return combine(np.stack(column_sums, axis=1), group.column_map, group.vote, group.outputs)
