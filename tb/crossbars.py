"""A model of the crossbars behind a tile: cells, word-line drivers, sample-and-hold, converters, as synthesizable RTL.

The cells are those of an image with its stuck ones, given as bits; a code is the number of driven word lines whose cell
conducts, limited to the converter's range. Held are the driven bits, which say the same as the sums.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, connect, flipped
from numpy.typing import NDArray

from crossvote.rtl.reader import Array
from crossvote.rtl.tile import Tile
from crossvote.rtl.tile_axi import TileAxi
from crossvote.rtl.tile_parameters import TileParameters


def column_words(cells: NDArray[np.uint8]) -> list[int]:
    """Bits [word lines, bit lines] as one number per bit line, word line 0 lowest."""
    return [int("".join(map(str, column[::-1])), 2) for column in cells.T.tolist()]


class Crossbars(wiring.Component):
    """The crossbar pairs of a tile.

    Args:
        cells: uint8[opcs, row blocks, 2, rows, columns], what each cell reads as (positive, negative).

    Ports: array: see ``Array``, from the crossbars' side.
    """

    def __init__(self, parameters: TileParameters, cells: NDArray[np.uint8]) -> None:
        self.parameters, self._cells = parameters, cells
        super().__init__({"array": In(Array(parameters))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, array = self.parameters, self.array
        lanes, groups, most = p.opc.lanes, p.opc.groups, (1 << p.opc.adc_bits) - 1
        for number in range(p.opcs):
            kept, driven, held = (
                [Signal(p.rows, name=f"{name}_{number}_{block}") for block in range(self._cells.shape[1])]
                for name in ("kept", "driven", "held")
            )
            offered = Signal(p.rows, name=f"offered_{number}")
            for block in range(len(kept)):
                with m.If(array.load & (array.load_block == block)):
                    m.d.sync += kept[block].eq(array.word_lines[number])
                with m.If(array.drive):
                    m.d.sync += driven[block].eq(kept[block])
                with m.If(array.sample):
                    m.d.sync += held[block].eq(driven[block])
                with m.If(array.convert_block == block):
                    m.d.comb += offered.eq(held[block])
            for sign, name in enumerate(("positive", "negative")):
                words = [column_words(self._cells[number, block, sign]) for block in range(len(kept))]
                for lane in range(lanes):
                    init = [word for block in words for word in block[lane::lanes]]
                    memory = Memory(shape=p.rows, depth=len(init), init=init)
                    m.submodules[f"cells_{number}_{name}_{lane}"] = memory
                    read = memory.read_port(domain="comb")
                    conducting = Signal(p.rows, name=f"conducting_{number}_{name}_{lane}")
                    total = Signal(range(p.rows + 1), name=f"total_{number}_{name}_{lane}")
                    m.d.comb += [
                        read.addr.eq(array.convert_block * groups + array.convert_group),
                        conducting.eq(read.data & offered),
                        total.eq(_ones(list(conducting))),
                        array.codes[number][lane][name].eq(Mux(total > most, most, total)),
                    ]
        return m


def _ones(bits: list[Any]) -> Any:
    """Sum of one-bit values as a balanced tree."""
    while len(bits) > 1:
        bits = [sum(bits[at : at + 2]) for at in range(0, len(bits), 2)]
    return bits[0]


class TileOnCrossbars(wiring.Component):
    """A tile with its crossbars, its registers on the port or on AXI4-Lite. Ports: those of the tile but ``array``."""

    def __init__(self, parameters: TileParameters, cells: NDArray[np.uint8], kind: type[Tile | TileAxi] = Tile) -> None:
        self.parameters, self._cells, self._tile = parameters, cells, kind(parameters)
        members = self._tile.signature.members
        super().__init__({name: member for name, member in members.items() if name != "array"})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.tile = tile = self._tile
        m.submodules.crossbars = crossbars = Crossbars(self.parameters, self._cells)
        connect(m, tile.array, crossbars.array)
        for name in self.signature.members:
            if name == "irq":
                m.d.comb += self.irq.eq(tile.irq)
            else:
                connect(m, getattr(tile, name), flipped(getattr(self, name)))
        return m
