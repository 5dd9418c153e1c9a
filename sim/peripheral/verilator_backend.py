"""The OPC compiled from its exported Verilog: millions of clock cycles per second."""

from __future__ import annotations

import ctypes
import weakref
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.column_map import MAP_REFILL
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.registers import Register
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.libraries import Signatures, load_library
from crossvote.sim.peripheral.base import LoadedOpc, OpcMap, PeripheralResult, check_codes, check_loaded
from crossvote.sim.peripheral.programming import map_writes, scale_writes
from crossvote.sim.peripheral.scales import OpcScales
from crossvote.sim.peripheral.verilator_build import build_library


@cache
def _load(path: Path) -> ctypes.CDLL:
    handle, word, count, pointer = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int64, ctypes.c_void_p
    signatures: Signatures = {
        "opc_new": (handle, []),
        "opc_free": (None, [handle]),
        "opc_write": (ctypes.c_int, [handle, word, word]),
        "opc_read": (word, [handle, word]),
        "opc_step": (
            ctypes.c_int,
            [handle, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, pointer],
        ),
        "opc_run": (count, [handle, pointer, ctypes.c_int, count, count, pointer, count]),
    }
    return load_library(path, signatures)


class VerilatorPeripheral(LoadedOpc):
    """Peripheral that steps the compiled OPC in C++; each object is an OPC of its own.

    Raises:
        UserError: Verilator or a C++ compiler is missing, or one of them fails.
    """

    name = "verilator"

    def __init__(self, parameters: OpcParameters) -> None:
        super().__init__(parameters)
        self._library = _load(build_library(parameters))
        self._handle = self._library.opc_new()
        weakref.finalize(self, self._library.opc_free, self._handle)

    def load_map(self, opc_map: OpcMap) -> None:
        """See ``Peripheral.load_map``."""
        opc_map.check_fits(self.parameters)
        for address, word in map_writes(self.parameters, opc_map):
            self.write(address, word)
        for _ in range(MAP_REFILL):
            self.read(Register.STATUS)
        super().load_map(opc_map)

    def load_scales(self, scales: OpcScales) -> None:
        """See ``Peripheral.load_scales``."""
        scales.check_fits(self.parameters)
        for address, word in scale_writes(self.parameters, scales):
            self.write(address, word)
        super().load_scales(scales)

    def process(self, codes: NDArray[np.unsignedinteger]) -> PeripheralResult:
        """See ``Peripheral.process``."""
        check_codes(self.parameters, codes)
        opc_map = check_loaded(self.parameters, self._map, self._scales)
        codes = np.ascontiguousarray(codes)
        vectors, blocks = codes.shape[:2]
        outputs = np.zeros((vectors, opc_map.outputs), np.int64)
        self.write(Register.ROW_BLOCKS, blocks)
        voter, checked = self.parameters.voter, bool(self.parameters.checksum_bits)
        counters = [Register.DISAGREEMENTS] * voter + [Register.MISMATCHES] * checked
        for register in counters:
            self.write(register, 0)
        cycles = self._library.opc_run(
            self._handle, codes.ctypes.data, codes.itemsize, vectors, blocks, outputs.ctypes.data, opc_map.outputs
        )
        if cycles < 0:
            raise RuntimeError("the compiled OPC stopped delivering outputs.")
        counts = {register: self.read(register) for register in counters}
        disagreements, mismatches = (counts.get(own, 0) for own in (Register.DISAGREEMENTS, Register.MISMATCHES))
        return PeripheralResult(outputs, disagreements, cycles, mismatches)

    def write(self, address: int, word: int) -> None:
        """Write a register of the OPC.

        Raises:
            UserError: the OPC refuses the address or the value.
        """
        if self._library.opc_write(self._handle, address, word):
            raise UserError(f"the OPC refuses to store {word:#x} at register address {address:#x}.")

    def read(self, address: int) -> int:
        """Read a register of the OPC."""
        return int(self._library.opc_read(self._handle, address))

    def step(self, beat: bytes | None, ready: bool) -> tuple[bool, int | None]:
        """One clock cycle, for cycle-exact coupling.

        Args:
            beat: the offered beat's payload, little-endian, or None. ready: the output is taken if there is one.

        Returns:
            Whether the beat was accepted, and the payload of the output that was delivered, if any.
        """
        output = ctypes.create_string_buffer(16)
        happened = self._library.opc_step(self._handle, beat is not None, beat, ready, output)
        return bool(happened & 1), int.from_bytes(output.raw, "little") if happened & 2 else None
