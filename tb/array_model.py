"""Crossbars behind a tile's plain interface, as a cocotb model: bits of word lines in, codes of bit lines out.

The cells come from an image and a fault map as the project keeps them (``crossvote.sim.peripheral.march.tile_bank``).
"""

from __future__ import annotations

import numpy as np
from cocotb.handle import HierarchyObject
from cocotb.triggers import FallingEdge

from crossvote.rtl.tile_parameters import TileParameters
from crossvote.sim.peripheral.march import CellBank

#: Clocks that a word line's cells take to be written.
WRITE_CLOCKS = 3


class ArrayModel:
    """Drives ``array__codes__*`` of a tile, half a clock after what they follow from, and ``cells__done`` if it has it.

    Args:
        bank: cells [OPC, row block, sign] in turn, bit lines as the tile numbers them.
    """

    def __init__(self, dut: HierarchyObject, parameters: TileParameters, bank: CellBank) -> None:
        self.dut, self.parameters, self.bank = dut, parameters, bank
        crossbars, rows, columns = bank.levels.shape
        assert (rows, columns) == (parameters.rows, parameters.opc.columns)
        self._shape = (parameters.opcs, crossbars // parameters.opcs // 2, 2, rows, columns)
        self._kept, self._driven = (np.zeros((*self._shape[:2], rows), np.bool_) for _ in range(2))
        self._codes = np.zeros((*self._shape[:2], 0, parameters.opc.lanes, 2), np.uint16)
        self._shown: tuple[int, int] | None = None
        self._bits = np.arange(rows).astype(object)
        self._writing = 0

    def _payload(self, opc: int, block: int, group: int) -> int:
        """A beat of codes as the port has it."""
        codes = self._codes[opc, block, group].reshape(-1, 1)
        bits = (codes >> np.arange(self.parameters.opc.adc_bits, dtype=np.uint16) & 1).astype(np.uint8)
        return int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")

    def _convert(self) -> None:
        """Codes of all bit lines for what is driven now."""
        p = self.parameters.opc
        bank = self.bank
        seen = np.where(bank.stuck < 0, bank.levels, bank.stuck).reshape(self._shape)
        # float32, so that NumPy multiplies with BLAS; sums of word lines are exact in it.
        sums = np.einsum("obr,obsrc->obsc", self._driven.astype(np.float32), seen.astype(np.float32))
        codes = np.minimum(sums, (1 << p.adc_bits) - 1).astype(np.uint16)
        # [opc][block][group], the codes of a beat in turn.
        self._codes = codes.reshape(*codes.shape[:3], p.groups, p.lanes).transpose(0, 1, 3, 4, 2)
        lost = self._driven[:, :, None, :, None] & bank.disturbed.reshape(self._shape)
        bank.levels[lost.reshape(bank.levels.shape)] = 0

    def _write(self, block: int, level: int) -> None:
        """Write the kept word lines of a row block of every OPC."""
        bank, blocks = self.bank, self._shape[1]
        for opc, lines in enumerate(self._kept[:, block]):
            own = slice(2 * (opc * blocks + block), 2 * (opc * blocks + block) + 2)
            arrays = (getattr(bank, name)[own] for name in ("levels", "stuck", "no_set", "no_reset", "disturbed"))
            CellBank(*arrays).write(lines, level)

    async def run(self) -> None:
        """Play the crossbars for ever."""
        dut, opcs = self.dut, range(self.parameters.opcs)
        words = [getattr(dut, f"array__word_lines__{opc}") for opc in opcs]
        codes = [getattr(dut, f"array__codes__{opc}") for opc in opcs]
        for handle in codes:
            handle.value = 0
        if self.parameters.self_test:
            dut.cells__done.value = 0
        while True:
            await FallingEdge(dut.clk)
            if not dut.array__load.value.is_resolvable:  # before the reset
                continue
            if self._codes.size:
                at = int(dut.array__convert_block.value), int(dut.array__convert_group.value)
                if at != self._shown and at[0] < self._shape[1]:
                    self._shown = at
                    for opc in opcs:
                        codes[opc].value = self._payload(opc, *at)
            if self.parameters.self_test:
                self._program()
            # What the coming rising edge does: the sums held are those before the word lines change.
            if dut.array__sample.value:
                self._convert()
                self._shown = None
            if dut.array__drive.value:
                self._driven = self._kept.copy()
            if dut.array__load.value:
                block = int(dut.array__load_block.value)
                for opc in opcs:
                    self._kept[opc, block] = (int(words[opc].value) >> self._bits & 1).astype(np.bool_)

    def _program(self) -> None:
        """A clock of the port that writes cells."""
        dut = self.dut
        self._writing = self._writing + 1 if dut.cells__program.value else 0
        done = self._writing == WRITE_CLOCKS
        dut.cells__done.value = done
        if done:
            self._write(int(dut.array__load_block.value), int(dut.cells__level.value))
            self._writing = 0
