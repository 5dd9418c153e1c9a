"""The tile in NumPy: the reference for ``crossvote.rtl.tile``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.parameters import SHIFT_BITS, TAG_BITS
from crossvote.rtl.registers import Register, scale_word
from crossvote.rtl.tile_parameters import OFFSET_BITS, VALUE_BITS, TileParameters
from crossvote.rtl.tile_registers import offset_address, tile_scale_address
from crossvote.sim.array import arithmetic
from crossvote.sim.array.crossbar import read_cells
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Bundle, GroupImage
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral.base import OpcMap
from crossvote.sim.peripheral.numpy_backend import NumpyPeripheral
from crossvote.sim.peripheral.programming import map_writes
from crossvote.sim.peripheral.scales import OpcScales

#: Share of an output's range that ``calibrated`` keeps; what lies outside is limited.
KEPT_RANGE = 0.9


def tile_outputs(
    parameters: TileParameters,
    opc_map: OpcMap,
    cells: NDArray[np.uint8],
    x: NDArray[np.integer],
    scales: OpcScales,
    offsets: NDArray[np.integer],
) -> NDArray[np.int8]:
    """Quantized outputs int8[V, outputs] of a tile: limit(round(y * scale) + offset), y the sum over its OPCs.

    Args:
        cells: uint8[opcs, row blocks, 2, rows, columns], what the cells read as (positive, negative).
        x: int[V, opcs * row blocks * rows], activations; scales, offsets: one per output.

    Raises:
        UserError: a map or scales that the hardware cannot hold.
    """
    scales.check_fits(parameters.total)
    return requantised(parameters, tile_sums(parameters, opc_map, cells, x)[0], scales, offsets)


def tile_sums(
    parameters: TileParameters, opc_map: OpcMap, cells: NDArray[np.uint8], x: NDArray[np.integer]
) -> tuple[NDArray[np.int64], int]:
    """Sums over the OPCs of a tile before requantisation, int64[V, outputs], and their disagreements together."""
    total, disagreements = np.zeros((len(x), opc_map.outputs), np.int64), 0
    for codes in tile_codes(parameters, cells, x):
        peripheral = NumpyPeripheral(parameters.opc)
        peripheral.load_map(opc_map)
        result = peripheral.process(codes)
        total += result.outputs
        disagreements += result.disagreements
    return total, disagreements


def tile_mismatches(
    parameters: TileParameters, opc_map: OpcMap, cells: NDArray[np.uint8], x: NDArray[np.integer]
) -> tuple[int, ...]:
    """Of each OPC the vectors whose checksum did not hold; 0 where the map has none."""
    reference = NumpyPeripheral(parameters.opc)
    reference.load_map(opc_map)
    if not len(opc_map.checksum_lines):
        return (0,) * parameters.opcs
    return tuple(int(np.count_nonzero(reference.residues(codes))) for codes in tile_codes(parameters, cells, x))


def tile_codes(
    parameters: TileParameters, cells: NDArray[np.uint8], x: NDArray[np.integer]
) -> Iterator[NDArray[np.uint16]]:
    """Of each OPC in turn the codes uint16[V, row blocks, input bits, columns, 2] that it gets."""
    p = parameters
    opcs, blocks = cells.shape[:2]
    bits = arithmetic.input_bits(x, p.opc.input_bits).reshape(len(x), p.opc.input_bits, opcs, blocks, p.rows)
    for opc in range(opcs):
        codes = np.empty((len(x), blocks, p.opc.input_bits, p.opc.columns, 2), np.uint16)
        for block in range(blocks):
            for sign in (0, 1):
                driven = bits[:, :, opc, block]
                codes[:, block, ..., sign] = arithmetic.adc_codes(driven, cells[opc, block, sign], p.opc.adc_bits)
        yield codes


def requantised(
    parameters: TileParameters, sums: NDArray[np.integer], scales: OpcScales, offsets: NDArray[np.integer]
) -> NDArray[np.int8]:
    """limit(round(sum * scale) + offset) for sums int[V, n], n scales and n offsets: int8[V, n]."""
    scaled = arithmetic.scale(np.asarray(sums, np.int64), scales.multiplier, parameters.scale_bits + scales.shift)
    most = 1 << (VALUE_BITS - 1)
    return np.clip(scaled + offsets, -most, most - 1).astype(np.int8)


def calibrated(parameters: TileParameters, sums: NDArray[np.integer]) -> tuple[OpcScales, NDArray[np.int64]]:
    """Scales and offsets that map each output's range in ``sums`` int[V, outputs], and 0, onto 8 bits.

    Only ``KEPT_RANGE`` of the range is kept, so that some values are limited, as with a range from other data. A range
    that is too wide for the smallest scale is limited more.
    """
    most = 1 << (VALUE_BITS - 1)
    low = KEPT_RANGE * np.minimum(sums.min(axis=0, initial=0), 0)
    high = KEPT_RANGE * np.maximum(sums.max(axis=0, initial=0), 0)
    wanted = (2 * most - 1) / np.maximum(high - low, 2 * most - 1)
    scale = np.maximum(wanted, 2.0 ** -(1 << SHIFT_BITS))
    offsets = np.clip(np.rint(-most - low * scale), -most, most - 1).astype(np.int64)
    if not len(scale):
        return OpcScales(np.zeros(0, np.int64), np.zeros(0, np.int64)), offsets
    return OpcScales.from_floats(scale, parameters.scale_bits, 1.0), offsets


def tile_cells(
    parameters: TileParameters, group: GroupImage, bundle: Bundle, faults: FaultMap | None
) -> NDArray[np.uint8]:
    """What the cells behind the tile of a bundle read as: uint8[opcs, row blocks, 2, rows, columns].

    Bit line i of the tile is ``bundle.lines[i]``; unused ones have cells that read 0.

    Raises:
        UserError: the fault map is for another chip.
    """
    p = parameters
    cells = np.zeros((group.row_blocks, 2, p.rows, p.opc.columns), np.uint8)
    for block in range(group.row_blocks):
        cells[block, ..., : len(bundle.lines)] = read_cells(group, block, faults)[..., bundle.lines]
    return cells.reshape(p.opcs, group.row_blocks // p.opcs, 2, p.rows, p.opc.columns)


def tile_inputs(group: GroupImage, x: NDArray[np.integer]) -> NDArray[np.int64]:
    """Activations int64[V, row blocks * rows] for x int[V, K]: pruned word lines and those beyond K are 0."""
    padded = np.zeros((len(x), group.row_blocks * group.rows), np.int64)
    padded[:, : group.inputs] = np.where(group.kept_inputs, x, 0)
    return padded


def tile_writes(
    parameters: TileParameters, opc_map: OpcMap, blocks: int, scales: OpcScales, offsets: NDArray[np.integer]
) -> list[tuple[int, int]]:
    """(address, word) of the register writes that program a tile for ``blocks`` row blocks per OPC.

    Raises:
        UserError: a map or scales that the hardware cannot hold, or an offset that does not fit into its bits.
    """
    p = parameters
    opc_map.check_fits(p.opc)
    scales.check_fits(p.total)
    half = 1 << (OFFSET_BITS - 1)
    if offsets.min() < -half or offsets.max() >= half:
        raise UserError(f"offsets from {offsets.min()} to {offsets.max()} do not fit into {OFFSET_BITS} bits.")
    writes = [*map_writes(p.opc, opc_map), (int(Register.ROW_BLOCKS), blocks)]
    for output, (multiplier, shift) in enumerate(zip(scales.multiplier.tolist(), scales.shift.tolist(), strict=True)):
        writes.append((tile_scale_address(p, output), scale_word(multiplier=multiplier, shift=shift)))
    return writes + [(offset_address(p, output), value & 0xFFFFFFFF) for output, value in enumerate(offsets.tolist())]


def activation_payloads(parameters: TileParameters, x: NDArray[np.integer]) -> Iterator[int]:
    """Payloads of the tile's input stream for x int[V, K], one integer per beat; a vector's number is its tag."""
    p = parameters
    mask = (1 << p.opc.input_bits) - 1
    for vector, row in enumerate(x.tolist()):
        for first in range(0, len(row), p.port):
            values = row[first : first + p.port]
            word = sum((value & mask) << (p.opc.input_bits * at) for at, value in enumerate(values))
            last = first + p.port == len(row)
            yield word | (last | vector % (1 << TAG_BITS) << 1) << (p.opc.input_bits * p.port)
