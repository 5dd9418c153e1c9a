"""What the tile's bench runs: cells, of which the project's fault map holds some, a map, vectors, scales, offsets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.tile_parameters import TileParameters
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.common.seeds import seed_sequence
from crossvote.sim.peripheral.base import OpcMap
from crossvote.sim.peripheral.scales import OpcScales
from tb.stimulus import random_map

#: As many planes, input bits and code bits as the shipped chip has, with fewer and shorter lines.
PARAMETERS = TileParameters(
    opc=OpcParameters(columns=32, lanes=8, row_blocks=2), rows=32, port=8, read_clocks=12, convert_clocks=9
)
#: Three small OPCs that vote by themselves, for tests of single transfers.
THREE_OPCS = TileParameters(
    opc=OpcParameters(columns=8, lanes=8, planes=2, input_bits=3, adc_bits=4, row_blocks=1),
    opcs=3,
    rows=4,
    port=2,
    read_clocks=5,
    convert_clocks=2,
    scale_bits=8,
)
RATE, VECTORS, SEED = 0.05, 4, 5


@dataclass(frozen=True, eq=False)
class TileCase:
    """See ``crossvote.sim.peripheral.tile.tile_outputs``."""

    opc_map: OpcMap
    cells: NDArray[np.uint8]
    x: NDArray[np.int64]
    scales: OpcScales
    offsets: NDArray[np.int64]


def tile_case() -> TileCase:
    """The case, equal on every call: replicas hold the same cells but where they are stuck."""
    p, rng = PARAMETERS, np.random.default_rng(SEED)
    blocks = p.opc.row_blocks
    opc_map = random_map(rng, p.opc, outputs=2, replicated=0.5, flipped=0.0)
    cells = rng.integers(0, 2, (p.opcs, blocks, 2, p.rows, p.opc.columns)).astype(np.uint8)
    for first, second, third in opc_map.places[1].tolist():
        cells[..., second] = cells[..., third] = cells[..., first]
    crossbars = p.opcs * blocks * 2
    faults = FaultMap.sample(p.rows, p.opc.columns, crossbars, RATE, seed_sequence(SEED, "tile"))
    stuck, value = faults.of_crossbars(0, crossbars)
    crossbar, word_line, bit_line = faults.coordinates(stuck)
    cells.reshape(crossbars, p.rows, p.opc.columns)[crossbar, word_line, bit_line] = value
    half = 1 << (p.opc.input_bits - 1)
    x = rng.integers(-half, half, (VECTORS, p.opcs * blocks * p.rows))
    scales = OpcScales.from_floats(np.array([0.7, 1.0]) * 2.0**-10, p.scale_bits, 1.0)
    return TileCase(opc_map, cells, x, scales, np.array([3, -5]))
