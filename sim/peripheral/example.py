"""Vectors for the example of an exported OPC: a map, codes, and the outputs that the reference makes of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.ip_export import WorkedExample
from crossvote.rtl.parameters import TAG_BITS, OpcParameters
from crossvote.rtl.registers import Register
from crossvote.sim.peripheral.base import OpcMap
from crossvote.sim.peripheral.numpy_backend import NumpyPeripheral
from crossvote.sim.peripheral.programming import beat_payloads, map_writes, scale_writes
from crossvote.sim.peripheral.scales import OpcScales

VECTORS = 3


def example(parameters: OpcParameters, seed: int = 0) -> WorkedExample:
    """An example for an OPC of any parameters: outputs side by side, the first one's top plane three times if it votes.

    Some planes are flipped where there is a column map. The codes are random, so votes are not unanimous.
    """
    p, rng = parameters, np.random.default_rng(seed)
    # The fixed map of an OPC without a writable one is a map like others.
    twin = p if p.column_map else replace(p, column_map=True)
    opc_map = _map(twin, rng, flips=p.column_map)
    blocks = min(2, p.row_blocks)
    shape = (VECTORS, blocks, p.input_bits, p.columns, 2)
    codes: NDArray[np.unsignedinteger] = rng.integers(0, 1 << p.adc_bits, shape).astype(
        np.uint8 if p.adc_bits <= 8 else np.uint16
    )
    reference = NumpyPeripheral(twin)
    reference.load_map(opc_map)
    writes = [(int(Register.ROW_BLOCKS), blocks), *(map_writes(p, opc_map) if p.column_map else [])]
    if p.scale_bits:
        scales = OpcScales.from_floats(rng.uniform(0.1, 1.0, opc_map.outputs), p.scale_bits)
        reference.load_scales(scales)
        writes += scale_writes(p, scales)
    result = reference.process(codes)
    outputs = []
    for vector, values in enumerate(result.outputs.tolist()):
        for number, value in enumerate(values):
            last = number == len(values) - 1
            marks = number | last << p.output_bits | vector % (1 << TAG_BITS) << (p.output_bits + 1)
            outputs.append(value & (1 << p.sum_bits) - 1 | marks << p.sum_bits)
    beats = tuple(beat_payloads(p, codes))
    return WorkedExample([(4 * address, word) for address, word in writes], beats, outputs, result.disagreements)


def _map(p: OpcParameters, rng: np.random.Generator, flips: bool) -> OpcMap:
    extra = 2 if p.voter and p.columns >= p.planes + 2 else 0
    count = min(p.outputs, (p.columns - extra) // p.planes)
    planes = [p.planes - 1] * extra + list(range(p.planes - 1, -1, -1)) * count
    output = np.full(p.columns, -1, np.int32)
    plane, replica = np.zeros(p.columns, np.int8), np.zeros(p.columns, np.int8)
    used = len(planes)
    output[:used] = [0] * extra + [number for number in range(count) for _ in range(p.planes)]
    plane[:used] = planes
    replica[: extra + 1] = range(extra + 1)
    flipped = rng.random((p.outputs, p.planes)) < 0.3 if flips else np.zeros((p.outputs, p.planes), np.bool_)
    return OpcMap(output, plane, replica, (output >= 0) & flipped[np.maximum(output, 0), plane])
