"""The tile in NumPy: the reference for ``crossvote.rtl.tile``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.parameters import TAG_BITS
from crossvote.rtl.registers import Register, scale_word
from crossvote.rtl.tile import offset_address, tile_scale_address
from crossvote.rtl.tile_parameters import OFFSET_BITS, VALUE_BITS, TileParameters
from crossvote.sim.array import arithmetic
from crossvote.sim.array.image import Vote
from crossvote.sim.chip.bill import opc_parameters
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral.base import OpcMap
from crossvote.sim.peripheral.numpy_backend import NumpyPeripheral
from crossvote.sim.peripheral.programming import map_writes
from crossvote.sim.peripheral.scales import OpcScales


def tile_parameters(chip: ChipConfig, blocks: int, vote: Vote) -> TileParameters:
    """The tile that serves a bundle of bit lines over ``blocks`` row blocks of a chip.

    Times are whole clock cycles, rounded up. The input is as wide as it must be for the tile never to wait for it: what
    the bus of a chip carries is not part of the tile.

    Raises:
        UserError: sizes that the RTL cannot have.
    """
    opcs = blocks if vote == "crossbar" else 1
    clock = chip.opc.clock_ps
    conversions = -(-chip.crossbar.columns * chip.adc.shared_by // chip.adc.per_crossbar)
    try:
        return TileParameters(
            opc=replace(opc_parameters(chip), row_blocks=blocks // opcs),
            opcs=opcs,
            rows=chip.crossbar.rows,
            port=next(port for port in range(64, 0, -1) if chip.crossbar.rows % port == 0),
            read_clocks=-(-chip.crossbar.read_ps // clock),
            convert_clocks=-(-conversions * chip.adc.conversion_ps // clock),
        )
    except ValueError as error:
        raise UserError(f"chip '{chip.name}': the tile cannot be built: {error}") from None


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
    p = parameters
    scales.check_fits(p.total)
    opcs, blocks = cells.shape[:2]
    bits = arithmetic.input_bits(x, p.opc.input_bits).reshape(len(x), p.opc.input_bits, opcs, blocks, p.rows)
    total = np.zeros((len(x), opc_map.outputs), np.int64)
    for opc in range(opcs):
        codes = np.empty((len(x), blocks, p.opc.input_bits, p.opc.columns, 2), np.uint16)
        for block in range(blocks):
            for sign in (0, 1):
                driven = bits[:, :, opc, block]
                codes[:, block, ..., sign] = arithmetic.adc_codes(driven, cells[opc, block, sign], p.opc.adc_bits)
        peripheral = NumpyPeripheral(p.opc)
        peripheral.load_map(opc_map)
        total += peripheral.process(codes).outputs
    scaled = arithmetic.scale(total, scales.multiplier, p.scale_bits + scales.shift)
    most = 1 << (VALUE_BITS - 1)
    return np.clip(scaled + offsets, -most, most - 1).astype(np.int8)


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
            yield word | vector % (1 << TAG_BITS) << (p.opc.input_bits * p.port)
