"""The tiles of a word-line group: activations in, quantized activations out, crossbars and converters included."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.tile_parameters import TileParameters
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Bundle, GroupImage
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.peripheral.base import OpcMap
from crossvote.sim.peripheral.opc_array import OpcRun, check_votes, code_pairs
from crossvote.sim.peripheral.scales import OpcScales
from crossvote.sim.peripheral.tile import calibrated, requantised, tile_cells, tile_inputs
from crossvote.sim.peripheral.tile_backend import TileModel, TileProgram, TileResult
from crossvote.sim.peripheral.tile_sizes import tile_parameters


@dataclass(frozen=True, eq=False)
class Requantisation:
    """How the tiles of a group turn integers into 8 bits, for some outputs of the group; the others stay 0.

    Attributes:
        outputs: int64[n], of the group. scales, offsets: one for each of these.
    """

    parameters: TileParameters
    outputs: NDArray[np.int64]
    scales: OpcScales
    offsets: NDArray[np.int64]

    def __call__(self, sums: NDArray[np.integer]) -> NDArray[np.int64]:
        """int64[V, N] of the group, for its integers [V, N]."""
        values = np.zeros(sums.shape, np.int64)
        values[:, self.outputs] = requantised(self.parameters, sums[:, self.outputs], self.scales, self.offsets)
        return values


class TileArray:
    """Crossbars, stuck cells included, and tiles of a word-line group; answers as ``OpcArray`` does.

    Args:
        group: what is programmed. faults: the chip's stuck cells. bundles: bit lines of the tiles.
        make_tile: called once per bundle. expected: int64[V, N], integers from which outputs get their 8-bit range.
        threads: bundles that are simulated at the same time.

    Attributes:
        spans: the row blocks that each OPC of a tile adds.

    Raises:
        UserError: an image the tile cannot serve, or a fault map for another chip.
    """

    def __init__(
        self,
        group: GroupImage,
        chip: ChipConfig,
        make_tile: Callable[[TileParameters], TileModel],
        faults: FaultMap | None,
        bundles: Sequence[Bundle],
        expected: NDArray[np.integer],
        threads: int = 1,
    ) -> None:
        check_votes(group)
        self.group, self.chip, self.bundles, self.threads = group, chip, bundles, threads
        self.parameters = p = tile_parameters(chip, group.row_blocks, group.vote)
        outputs = np.concatenate([b.outputs for b in bundles]) if bundles else np.zeros(0, np.int64)
        scales, offsets = calibrated(p, expected[:, outputs])
        self.requantise = Requantisation(p, outputs, scales, offsets)
        blocks = group.row_blocks // p.opcs
        self.spans = [range(opc * blocks, (opc + 1) * blocks) for opc in range(p.opcs)]
        self.tiles: list[TileModel] = []
        self.programs: list[TileProgram] = []
        first = 0
        for bundle in bundles:
            own = slice(first, first := first + len(bundle.outputs))
            program = TileProgram(
                OpcMap.from_bundle(group.column_map, bundle, chip.opc.columns),
                tile_cells(p, group, bundle, faults),
                OpcScales(scales.multiplier[own], scales.shift[own]),
                offsets[own],
            )
            self.programs.append(program)
            self.tiles.append(make_tile(p))
            self.tiles[-1].program(program)

    def __len__(self) -> int:
        """OPCs on the chip."""
        return self.parameters.opcs * len(self.bundles)

    @property
    def backend(self) -> str:
        """Name of the tiles; "none" where there are none."""
        return self.tiles[0].name if self.tiles else "none"

    def measured_cycles(self) -> tuple[int, int]:
        """Clock cycles of the tile with most bit lines for one vector, and for one more behind others."""
        slowest = max(range(len(self.bundles)), key=lambda i: len(self.bundles[i].lines))
        x = np.zeros((4, self.group.row_blocks * self.group.rows), np.int64)
        finished = self.tiles[slowest].process(x).finished
        one = int(finished[0]) + 1
        return one, one + int(finished[3] - finished[2])

    def process(self, x: NDArray[np.integer]) -> OpcRun:
        """Give x int[V, K], quantized activations, to every tile. The outputs are quantized again."""
        inputs, outputs = tile_inputs(self.group, x), np.zeros((len(x), self.group.outputs), np.int64)
        start = time.perf_counter()

        def one(tile: TileModel) -> TileResult:
            return tile.process(inputs)

        if self.threads == 1:
            results = list(map(one, self.tiles))
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                results = list(pool.map(one, self.tiles))
        seconds = time.perf_counter() - start
        for bundle, result in zip(self.bundles, results, strict=True):
            outputs[:, bundle.outputs] = result.values
        pairs = len(x) * code_pairs(self.group, self.chip, len(self.bundles))
        return OpcRun.of(outputs, results, pairs, seconds)
