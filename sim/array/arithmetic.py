"""The arithmetic of the chip in NumPy: the reference that every other backend must equal, bit for bit.

Nothing here knows about images, time or models. Shapes: K inputs, N outputs, R word lines, C bit lines,
n_x input bits; a leading ``...`` is any batch shape. Source of the method: arXiv 2401.11664, section 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossvote.sim.common.later import Later

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]
else:
    np = Later("numpy")


def bit_weights(bits: int) -> IntArray:
    """Weights of two's complement bits, int64[bits]: 2^t, the top bit negative."""
    weights = np.left_shift(np.int64(1), np.arange(bits, dtype=np.int64))
    weights[-1] = -weights[-1]
    return weights


def input_range(bits: int) -> tuple[int, int]:
    """Smallest and largest value of a two's complement input of ``bits`` bits."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def input_bits(x: NDArray[np.integer], bits: int) -> NDArray[np.uint8]:
    """Two's complement bits of ``x`` [..., K], as uint8[..., bits, K]; index 0 is the least significant.

    Raises:
        ValueError: a value does not fit into ``bits`` bits.
    """
    low, high = input_range(bits)
    x = np.asarray(x)
    if x.size and (x.min() < low or x.max() > high):
        raise ValueError(f"inputs reach from {x.min()} to {x.max()}, but {bits} bits hold {low} to {high}.")
    shifts = np.arange(bits, dtype=np.int64)[:, None]
    return ((x.astype(np.int64)[..., None, :] >> shifts) & 1).astype(np.uint8)


def adc_codes(bits: NDArray[np.uint8], cells: NDArray[np.uint8], adc_bits: int) -> NDArray[np.uint16]:
    """ADC codes of one crossbar: for every read, the number of driven cells at 1 on each bit line, clipped.

    Args:
        bits: uint8[..., R], the word lines driven in each read.
        cells: uint8[R, C], the levels the cells read as (faults included).
        adc_bits: resolution; codes clip at 2^adc_bits - 1. With 8 bits and R <= 255 nothing clips.
    """
    # float32 is exact below 2^24 and runs on BLAS, as one matrix product; the sums here are at most R.
    reads = bits.reshape(-1, bits.shape[-1]).astype(np.float32)
    sums = reads @ cells.astype(np.float32)
    return np.minimum(sums, (1 << adc_bits) - 1).astype(np.uint16).reshape(*bits.shape[:-1], -1)


def differences(positive: NDArray[np.integer], negative: NDArray[np.integer], flipped: NDArray[np.bool_]) -> IntArray:
    """d = a+ - a-, negated on flipped bit lines; codes [..., C], flipped bool[C].

    A flipped plane stores 1-bit in both crossbars: y+ = S - x.b+ and y- = S - x.b-, so the input sum S cancels.
    """
    d = positive.astype(np.int64) - negative.astype(np.int64)
    return np.where(flipped, -d, d)


def column_sums(d: IntArray) -> IntArray:
    """D = sum over reads of the input bit's weight times d; d int64[..., n_x, C] gives int64[..., C]."""
    sums: NDArray[np.int64] = np.einsum("...tc,t->...c", d, bit_weights(d.shape[-2]))
    return sums


def vote(replicas: IntArray) -> tuple[IntArray, NDArray[np.bool_]]:
    """Median over the last axis (an odd number of replicas), and where the replicas were not unanimous."""
    count = replicas.shape[-1]
    if count % 2 == 0:
        raise ValueError(f"a median needs an odd number of replicas, not {count}.")
    ordered = np.sort(replicas, axis=-1)
    return ordered[..., count // 2], ordered[..., 0] != ordered[..., -1]


def scale(sums: IntArray, multiplier: IntArray, right_shift: IntArray) -> IntArray:
    """sums * multiplier / 2^right_shift, rounded half away from zero; all int64, shapes that broadcast.

    The sign of a sum does not change how its magnitude is rounded. ``right_shift`` is at least 1; the products must fit
    into 63 bits.
    """
    half = np.left_shift(np.int64(1), right_shift - 1)
    return (sums * multiplier + half - (sums < 0)) >> right_shift
