"""Vectors for the example of an exported OPC or tile: what it is programmed with and given, and what must come out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.ip_export import ExampleCrossbars, WorkedExample
from crossvote.rtl.march_elements import SelfTest
from crossvote.rtl.parameters import TAG_BITS, OpcParameters
from crossvote.rtl.registers import Register
from crossvote.rtl.tile_parameters import VALUE_BITS, TileParameters
from crossvote.rtl.tile_registers import self_test_word
from crossvote.sim.array.checksum import checksum_cells
from crossvote.sim.peripheral.base import OpcMap
from crossvote.sim.peripheral.march import CellBank, self_test, verdict_words
from crossvote.sim.peripheral.numpy_backend import NumpyPeripheral
from crossvote.sim.peripheral.programming import beat_payloads, map_writes, scale_writes
from crossvote.sim.peripheral.scales import OpcScales
from crossvote.sim.peripheral.tile import (
    activation_payloads,
    calibrated,
    requantised,
    tile_mismatches,
    tile_sums,
    tile_writes,
)

VECTORS = 3
#: Share of the cells of a tile's example that are stuck.
STUCK = 0.03


def example(parameters: OpcParameters, seed: int = 0) -> WorkedExample:
    """An example for an OPC of any parameters: outputs side by side, the first one's top plane three times if it votes.

    Some planes are flipped where there is a column map. The codes are random, so votes are not unanimous, and
    checksums hold by chance only.
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
    outputs: list[int] = []
    for vector, values in enumerate(result.outputs.tolist()):
        outputs += _payloads(p, vector, values, p.sum_bits)
    beats = tuple(beat_payloads(p, codes))
    programmed = [(4 * address, word) for address, word in writes]
    return WorkedExample(programmed, beats, outputs, result.disagreements, result.mismatches)


def tile_example(parameters: TileParameters, seed: int = 0) -> WorkedExample:
    """An example for a tile of any parameters, as ``example``: cells at random, equal in replicas but for stuck ones,
    which are also why checksums do not hold.

    If it has a self-test, the one that searches is run on the first row blocks.
    """
    p, rng = parameters, np.random.default_rng(seed)
    twin = replace(p, opc=replace(p.opc, column_map=True))
    opc_map = _map(twin.opc, rng, flips=p.opc.column_map)
    shape = (p.opcs, p.opc.row_blocks, 2, p.rows, p.opc.columns)
    levels = rng.integers(0, 2, shape).astype(np.uint8)
    for first, *others in opc_map.places[1].tolist():
        levels[..., others] = levels[..., [first]]
    checksum = opc_map.checksum_lines[::-1]
    if len(checksum):
        for pair in levels.reshape(-1, 2, p.rows, p.opc.columns):
            pair[..., checksum] = checksum_cells(pair[..., opc_map.read_order], len(checksum))
    stuck = np.where(rng.random(shape) < STUCK, rng.integers(0, 2, shape), -1).astype(np.int8)
    half = 1 << (p.opc.input_bits - 1)
    x = rng.integers(-half, half, (VECTORS, p.opcs * p.opc.row_blocks * p.rows))
    seen = np.where(stuck < 0, levels, stuck).astype(np.uint8)
    sums, disagreements = tile_sums(twin, opc_map, seen, x)
    mismatches = tile_mismatches(twin, opc_map, seen, x)[0]
    scales, offsets = calibrated(p, sums)
    writes = tile_writes(twin, opc_map, p.opc.row_blocks, scales, offsets)
    if not p.opc.column_map:
        of_map = {address for address, _ in map_writes(twin.opc, opc_map)}
        writes = [write for write in writes if write[0] not in of_map]
    outputs: list[int] = []
    for vector, values in enumerate(requantised(p, sums, scales, offsets).tolist()):
        outputs += _payloads(p.opc, vector, values, VALUE_BITS)
    crossbars = ExampleCrossbars(_cell_words(levels == 1), _cell_words(stuck == 0), _cell_words(stuck == 1))
    if p.self_test:
        together = (-1, p.rows, p.opc.columns)
        tested = CellBank(levels[:, 0].reshape(together), stuck[:, 0].reshape(together))
        verdicts = self_test(SelfTest.SENSING, tested, p.opc.adc_bits)
        crossbars = replace(
            crossbars,
            test=self_test_word(SelfTest.SENSING, 0),
            reads=verdicts.reads,
            verdicts=verdict_words(p, verdicts),
        )
    programmed = [(4 * address, word & 0xFFFFFFFF) for address, word in writes]
    return WorkedExample(programmed, tuple(activation_payloads(p, x)), outputs, disagreements, mismatches, crossbars)


def _payloads(p: OpcParameters, vector: int, values: list[int], bits: int) -> Iterator[int]:
    """Payloads of the output stream for the outputs of a vector."""
    for number, value in enumerate(values):
        last = number == len(values) - 1
        marks = number | last << p.output_bits | vector % (1 << TAG_BITS) << (p.output_bits + 1)
        yield value & (1 << bits) - 1 | marks << bits


def _cell_words(cells: NDArray[np.bool_]) -> tuple[int, ...]:
    """Bits [OPC, row block, sign, word line, bit line] as ``ExampleCrossbars`` has them."""
    lines = cells.transpose(0, 1, 4, 2, 3).reshape(-1, cells.shape[3])
    packed = np.packbits(lines, axis=1, bitorder="little")
    return tuple(int.from_bytes(word.tobytes(), "little") for word in packed)


def _map(p: OpcParameters, rng: np.random.Generator, flips: bool) -> OpcMap:
    extra = 2 if p.voter and p.columns >= p.planes + 2 else 0
    count = min(p.outputs, (p.columns - extra - p.checksum_bits) // p.planes)
    extra *= count > 0
    count = max(1, count)
    planes = [p.planes - 1] * extra + list(range(p.planes - 1, -1, -1)) * count
    output = np.full(p.columns, -1, np.int32)
    plane, replica = np.zeros(p.columns, np.int8), np.zeros(p.columns, np.int8)
    used = len(planes)
    output[:used] = [0] * extra + [number for number in range(count) for _ in range(p.planes)]
    plane[:used] = planes
    replica[: extra + 1] = range(extra + 1)
    flipped = rng.random((p.outputs, p.planes)) < 0.3 if flips else np.zeros((p.outputs, p.planes), np.bool_)
    opc_map = OpcMap(output, plane, replica, (output >= 0) & flipped[np.maximum(output, 0), plane])
    return opc_map.with_checksum(p.checksum_bits)
