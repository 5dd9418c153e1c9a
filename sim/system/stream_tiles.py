"""A word-line group streamed through whole tiles, as ``crossvote.sim.system.stream`` does it with OPCs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.parameters import TAG_BITS
from crossvote.rtl.tile_parameters import VALUE_BITS
from crossvote.sim.chip.components.opc import opc_parameters
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral.tile import activation_payloads, tile_inputs, tile_writes
from crossvote.sim.peripheral.tile_array import TileArray
from crossvote.sim.peripheral.tile_backend import NumpyTile, VerilatorTile
from crossvote.sim.peripheral.tile_sizes import tile_parameters
from crossvote.sim.system.cosim import CosimRequest
from crossvote.sim.system.stream import SteppedOpc, StreamedLayer, StreamedOpc


class StreamedTiles(StreamedLayer):
    """A request's tiles, ready to be streamed: activations in, quantized activations out.

    Attributes:
        tile: parameters of each tile. requantise: of the group.

    Args:
        expected: int64[V, N], integers of the group, from which outputs get their 8-bit range.

    Raises:
        UserError: an image that tiles cannot serve.
    """

    kind = "tile"

    def __init__(self, request: CosimRequest, chip: ChipConfig, expected: NDArray[np.integer]) -> None:
        self.request, self.chip, self.parameters = request, chip, opc_parameters(chip)
        self._check_pairs()
        group = request.image
        self.tile = p = tile_parameters(chip, group.row_blocks, group.vote)
        self.bundles = group.bundles(chip.opc.columns, chip.opc.outputs)
        if not self.bundles:
            raise UserError(f"group {group.name}: all its outputs are pruned, so there is nothing to stream.")
        tiles = TileArray(group, chip, NumpyTile, request.faults, self.bundles, expected)
        self.requantise = tiles.requantise
        self._programs = tiles.programs
        self.opcs = tuple(
            StreamedOpc(bundle, range(group.row_blocks), program.opc_map)
            for bundle, program in zip(self.bundles, self._programs, strict=True)
        )
        self._blocks = group.row_blocks // p.opcs
        self._set_times()

    def writes(self, number: int) -> list[tuple[int, int]]:
        """(address, word) of the register writes that program a tile."""
        program = self._programs[number]
        writes = tile_writes(self.tile, program.opc_map, self._blocks, program.scales, program.offsets)
        return [(address, word & 0xFFFFFFFF) for address, word in writes]

    def beats(self, number: int) -> int:
        """Beats of a vector of a tile."""
        return self.tile.input_beats(self._blocks)

    def payloads(self, number: int) -> list[bytes]:
        """The beats of all vectors, the same for every tile, little-endian."""
        p = self.tile
        size = (p.port * p.opc.input_bits + 1 + TAG_BITS + 7) // 8
        inputs = tile_inputs(self.request.image, self.request.x)
        return [payload.to_bytes(size, "little") for payload in activation_payloads(p, inputs)]

    @property
    def value_bits(self) -> int:
        """Bits of a quantized output."""
        return VALUE_BITS

    def make(self, number: int) -> SteppedOpc:
        """A tile, programmed, with its cells behind it."""
        tile = VerilatorTile(self.tile)
        tile.program(self._programs[number])
        return tile
