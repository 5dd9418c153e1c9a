"""Random column maps, scales and ADC codes that reach the corners, and stalls; all draws come from what is given."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.parameters import MOST_ADVANCE, MOST_TAIL, SHIFT_BITS, OpcParameters
from crossvote.sim.peripheral.base import OpcMap
from crossvote.sim.peripheral.scales import OpcScales


def random_map(
    rng: np.random.Generator,
    parameters: OpcParameters,
    *,
    outputs: int | None = None,
    replicated: float = 0.4,
    flipped: float = 0.5,
    scattered: bool = True,
    fill: bool = False,
) -> OpcMap:
    """A valid map.

    Args:
        outputs: how many; drawn when None. replicated: chance of three copies for each (output, plane), as far as bit
            lines last. flipped: chance of a flipped plane. scattered: bit lines in random places, not side by side.
        fill: use every bit line, with as many outputs and copies as it takes (``outputs`` and ``replicated`` rest).
    """
    p = parameters
    if fill:
        counts = [
            n for n in range(1, p.outputs + 1) if (p.columns - n * p.planes) % 2 == 0 and p.columns <= 3 * n * p.planes
        ]
        count = int(rng.choice(counts))
    else:
        count = int(rng.integers(1, p.outputs + 1)) if outputs is None else outputs
    places = [(o, b) for o in range(count) for b in reversed(range(p.planes))]
    spare = (p.columns - len(places)) // 2 if p.voter else 0
    if fill:
        voted = set(rng.choice(len(places), spare, replace=False).tolist())
    else:
        voted = set(np.flatnonzero(rng.random(len(places)) < replicated)[:spare].tolist())
    free = iter((rng.permutation(p.columns) if scattered else np.arange(p.columns)).tolist())
    output, plane = np.full(p.columns, -1, np.int32), np.zeros(p.columns, np.int8)
    replica, flips = np.zeros(p.columns, np.int8), np.zeros(p.columns, np.bool_)
    for number, (o, b) in enumerate(places):
        flip = rng.random() < flipped
        for r in range(3 if number in voted else 1):
            line = next(free)
            output[line], plane[line], replica[line], flips[line] = o, b, r, flip
    return OpcMap(output, plane, replica, flips)


def coded_map(rng: np.random.Generator, parameters: OpcParameters) -> OpcMap:
    """A valid map of summed and missing copies: terms of any weights that an OPC can add, some of which vote.

    An output's lowest shift is 0 to ``MOST_TAIL``; from term to term shifts rise by 0 to ``MOST_ADVANCE`` as long as
    the weights fit, so terms of equal shift occur, which count as copies of one plane.
    """
    p = parameters
    free = iter(rng.permutation(p.columns).tolist())
    left = p.columns
    fields = np.zeros((5, p.columns), np.int64)
    fields[0] = -1
    for output in range(int(rng.integers(1, p.outputs + 1))):
        shift = int(rng.integers(0, min(MOST_TAIL, p.planes - 1) + 1))
        weight = 0
        copies: dict[int, int] = {}
        for term in range(int(rng.integers(1, 2 * p.planes + 1))):
            lines = 3 if p.voter and left >= 3 and rng.random() < 0.4 else 1
            if left < lines or shift >= p.planes or weight + (1 << shift) >= 1 << p.planes:
                break
            if term and left <= p.outputs - output:
                break  # every further output gets at least one bit line
            copies[shift] = copies.get(shift, -1) + 1
            flip = rng.random() < 0.5
            for replica in range(lines):
                fields[:, next(free)] = output, shift, copies[shift], replica, flip
            left -= lines
            weight += 1 << shift
            shift += int(rng.integers(0, MOST_ADVANCE + 1))
    named, shifts, numbers, replicas, flips = fields.astype(np.int8)
    present, place = np.unique(named, return_inverse=True)
    outputs = place.astype(np.int32) - np.int32(present[0] < 0)
    return OpcMap(outputs, shifts, replicas, flips.astype(np.bool_), shifts, numbers)


def random_scales(rng: np.random.Generator, parameters: OpcParameters, outputs: int) -> OpcScales:
    """Scales of which most have a multiplier of 0, 1, one half or the largest, and a shift of 0 to 2 or the largest.

    One half and small shifts make ties when sums are rounded.
    """
    top, deepest = (1 << parameters.scale_bits) - 1, (1 << SHIFT_BITS) - 1
    drawn = rng.random((2, outputs)) < 0.7
    corners = rng.choice([0, 1, (top + 1) // 2, top], outputs), rng.choice([0, 1, 2, deepest], outputs)
    multiplier = np.where(drawn[0], corners[0], rng.integers(0, top + 1, outputs))
    shift = np.where(drawn[1], corners[1], rng.integers(0, deepest + 1, outputs))
    return OpcScales(multiplier, shift)


def random_codes(rng: np.random.Generator, parameters: OpcParameters, vectors: int, blocks: int) -> NDArray[np.uint16]:
    """Codes [V, row blocks, n_x, columns, 2] of which half are 0 or full scale; one vector in four is nothing else."""
    p = parameters
    shape = (vectors, blocks, p.input_bits, p.columns, 2)
    full = (1 << p.adc_bits) - 1
    extreme = rng.random(shape) < 0.5
    extreme |= rng.random((vectors, 1, 1, 1, 1)) < 0.25
    return np.where(extreme, full * rng.integers(0, 2, shape), rng.integers(0, full + 1, shape)).astype(np.uint16)


def agreeing_codes(
    rng: np.random.Generator, parameters: OpcParameters, opc_map: OpcMap, vectors: int, blocks: int, wrong: float
) -> NDArray[np.uint16]:
    """Codes as from a real crossbar: the replicas of a plane agree, but for a share ``wrong`` of bit lines."""
    codes = random_codes(rng, parameters, vectors, blocks)
    for first, *others in opc_map.places[1].tolist():
        for line in others:
            if rng.random() >= wrong:
                codes[..., line, :] = codes[..., first, :]
    return codes


def extreme_codes(parameters: OpcParameters, opc_map: OpcMap, blocks: int) -> NDArray[np.uint16]:
    """Two vectors that drive every output to its largest and its smallest value."""
    p = parameters
    full = (1 << p.adc_bits) - 1
    codes = np.zeros((2, blocks, p.input_bits, p.columns, 2), np.uint16)
    positive = np.ones((p.input_bits, p.columns), np.bool_)
    positive[-1] = False  # the top input bit is subtracted
    positive ^= opc_map.flipped
    codes[0, ..., 0], codes[0, ..., 1] = full * positive, full * ~positive
    codes[1] = codes[0, ..., ::-1]
    return codes


def always() -> Iterator[bool]:
    """A stall pattern without stalls."""
    while True:
        yield True


def sometimes(seed: int, probability: float) -> Iterator[bool]:
    """True with the given probability in each clock."""
    rng = np.random.default_rng(seed)
    while True:
        yield bool(rng.random() < probability)
