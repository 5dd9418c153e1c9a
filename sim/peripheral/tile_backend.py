"""A tile as something that takes activations and gives quantized ones: in NumPy, or compiled from its Verilog."""

from __future__ import annotations

import ctypes
import weakref
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.column_map import MAP_REFILL
from crossvote.rtl.registers import Register
from crossvote.rtl.tile_parameters import TileParameters
from crossvote.rtl.tile_registers import TileRegister
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.libraries import Signatures, load_library
from crossvote.sim.peripheral.base import OpcMap
from crossvote.sim.peripheral.scales import OpcScales
from crossvote.sim.peripheral.tile import requantised, tile_mismatches, tile_sums, tile_writes
from crossvote.sim.peripheral.verilator_build import build_library


@dataclass(frozen=True, eq=False)
class TileProgram:
    """What a tile is programmed with.

    Attributes:
        opc_map: of every OPC. cells: uint8[opcs, row blocks, 2, rows, columns], what the cells behind it read as.
        scales, offsets: one per output.
    """

    opc_map: OpcMap
    cells: NDArray[np.uint8]
    scales: OpcScales
    offsets: NDArray[np.int64]

    @property
    def blocks(self) -> int:
        """Row blocks of each OPC."""
        return int(self.cells.shape[1])


@dataclass(frozen=True, eq=False)
class TileResult:
    """What one run of a tile gives.

    Attributes:
        values: int8[V, outputs]. disagreements: votes of all OPCs whose three replicas were not equal.
        finished: int64[V], clock in which each vector's last output is delivered, counted from the first input beat;
            by formula where only the interval between vectors is known, and then from the first vector's on.
        cycles: clock cycles in all, or of the intervals.
        mismatches: of each OPC, vectors whose checksum did not hold; all 0 where the map has none.
    """

    values: NDArray[np.int8]
    disagreements: int
    finished: NDArray[np.int64]
    cycles: int
    mismatches: tuple[int, ...]


class TileModel(Protocol):
    """A tile with its crossbars; every back end gives the same values and counts."""

    name: str
    parameters: TileParameters

    def program(self, program: TileProgram) -> None:
        """Load map, row blocks, scales, offsets and cells; needed before the first run.

        Raises:
            UserError: something does not fit this tile.
        """
        ...

    def process(self, x: NDArray[np.integer]) -> TileResult:
        """Run vectors x int[V, opcs * row blocks * rows] back to back.

        Raises:
            UserError: nothing is programmed, another number of activations, or ones that do not fit their bits.
        """
        ...


class NumpyTile:
    """The reference; its cycles are the intervals of the formula."""

    name = "tile, NumPy"

    def __init__(self, parameters: TileParameters) -> None:
        self.parameters = parameters
        self._program: TileProgram | None = None

    def program(self, program: TileProgram) -> None:
        """See ``TileModel.program``."""
        _check_cells(self.parameters, program)
        tile_writes(self.parameters, program.opc_map, program.blocks, program.scales, program.offsets)
        self._program = program

    def process(self, x: NDArray[np.integer]) -> TileResult:
        """See ``TileModel.process``."""
        program = _check_inputs(self.parameters, self._program, x)
        sums, disagreements = tile_sums(self.parameters, program.opc_map, program.cells, x)
        values = requantised(self.parameters, sums, program.scales, program.offsets)
        mismatches = tile_mismatches(self.parameters, program.opc_map, program.cells, x)
        interval = self.parameters.interval(program.blocks, program.opc_map.steps)
        return TileResult(values, disagreements, np.arange(len(x)) * interval, len(x) * interval, mismatches)


@cache
def _load(path: Path) -> ctypes.CDLL:
    handle, word, count, pointer = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int64, ctypes.c_void_p
    signatures: Signatures = {
        "tile_new": (handle, []),
        "tile_free": (None, [handle]),
        "tile_cells": (None, [handle, pointer, count]),
        "tile_write": (ctypes.c_int, [handle, word, word]),
        "tile_read": (word, [handle, word]),
        "tile_step": (ctypes.c_int, [handle, ctypes.c_int, ctypes.c_char_p, pointer]),
        "tile_run": (count, [handle, pointer, count, pointer, count, count, pointer]),
    }
    return load_library(path, signatures)


class VerilatorTile:
    """The tile compiled from its exported Verilog, with crossbars in C++; each object is a tile of its own.

    Raises:
        UserError: Verilator or a C++ compiler is missing, or one of them fails.
    """

    name = "tile"

    def __init__(self, parameters: TileParameters) -> None:
        self.parameters = parameters
        self._library = _load(build_library(parameters))
        self._handle = self._library.tile_new()
        weakref.finalize(self, self._library.tile_free, self._handle)
        self._program: TileProgram | None = None

    def program(self, program: TileProgram) -> None:
        """See ``TileModel.program``."""
        p = self.parameters
        _check_cells(p, program)
        for address, word in tile_writes(p, program.opc_map, program.blocks, program.scales, program.offsets):
            self.write(address, word)
        for _ in range(MAP_REFILL):
            self.read(Register.STATUS)
        cells = np.ascontiguousarray(program.cells)
        self._library.tile_cells(self._handle, cells.ctypes.data, program.blocks)
        self._program = program

    def process(self, x: NDArray[np.integer]) -> TileResult:
        """See ``TileModel.process``."""
        p = self.parameters
        program = _check_inputs(p, self._program, x)
        given = np.ascontiguousarray(x, np.int32)
        values = np.zeros((len(x), program.opc_map.outputs), np.int8)
        finished = np.zeros(len(x), np.int64)
        if p.opc.voter:
            self.write(Register.DISAGREEMENTS, 0)
        if p.opc.checksum_bits:
            self.write(Register.MISMATCHES, 0)
        patience = 4 * (p.interval(program.blocks, p.opc.columns) + p.opc.columns) + 1000
        cycles = self._library.tile_run(
            self._handle,
            given.ctypes.data,
            len(x),
            values.ctypes.data,
            values.shape[1],
            patience,
            finished.ctypes.data,
        )
        if cycles < 0:
            raise RuntimeError("the compiled tile stopped delivering outputs.")
        disagreements = self.read(Register.DISAGREEMENTS) if p.opc.voter else 0
        return TileResult(values, disagreements, finished, cycles, self._mismatches())

    def _mismatches(self) -> tuple[int, ...]:
        """Of each OPC since the count was cleared."""
        counts = [0] * self.parameters.opcs
        if self.parameters.opc.checksum_bits:
            for opc in range(len(counts)):
                self.write(TileRegister.MISMATCH_OPC, opc)
                counts[opc] = self.read(Register.MISMATCHES)
        return tuple(counts)

    def step(self, beat: bytes | None, ready: bool) -> tuple[bool, int | None]:
        """One clock cycle, for cycle-exact coupling; outputs are always taken.

        Args:
            beat: the offered beat's payload, little-endian, or None.

        Returns:
            Whether the beat was accepted, and the payload of the output that was delivered, if any.
        """
        assert ready
        output = ctypes.c_uint64()
        happened = self._library.tile_step(self._handle, beat is not None, beat, ctypes.byref(output))
        return bool(happened & 1), output.value if happened & 2 else None

    def write(self, address: int, word: int) -> None:
        """Write a register of the tile.

        Raises:
            UserError: the tile refuses the address or the value.
        """
        if self._library.tile_write(self._handle, address, word & 0xFFFFFFFF):
            raise UserError(f"the tile refuses to store {word:#x} at register address {address:#x}.")

    def read(self, address: int) -> int:
        """Read a register of the tile."""
        return int(self._library.tile_read(self._handle, address))


def _check_cells(parameters: TileParameters, program: TileProgram) -> None:
    p = parameters
    shape = program.cells.shape
    if len(shape) != 5 or (shape[0], *shape[2:]) != (p.opcs, 2, p.rows, p.opc.columns):
        raise UserError(
            f"a tile takes cells of the shape ({p.opcs}, row blocks, 2, {p.rows}, {p.opc.columns}), not {shape}."
        )
    if not 1 <= shape[1] <= p.opc.row_blocks:
        raise UserError(f"{shape[1]} row blocks were given, but each OPC of the tile adds 1 to {p.opc.row_blocks}.")
    if len(program.offsets) != program.opc_map.outputs or len(program.scales) != program.opc_map.outputs:
        raise UserError(f"the map has {program.opc_map.outputs} outputs; each needs a scale and an offset.")


def _check_inputs(parameters: TileParameters, program: TileProgram | None, x: NDArray[np.integer]) -> TileProgram:
    p = parameters
    if program is None:
        raise UserError("the tile is not programmed.")
    wanted = p.opcs * program.blocks * p.rows
    if x.ndim != 2 or x.shape[1] != wanted:
        raise UserError(f"the tile takes vectors of {wanted} activations, not an array of {x.shape}.")
    half = 1 << (p.opc.input_bits - 1)
    if x.size and (x.min() < -half or x.max() >= half):
        raise UserError(f"activations do not fit into {p.opc.input_bits} bits.")
    return program
