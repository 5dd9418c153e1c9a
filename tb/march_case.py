"""What the bench of the self-test runs on: crossbars of which a fault map holds cells, and soft faults beside."""

from __future__ import annotations

import numpy as np

from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.tile import Tile
from crossvote.rtl.tile_parameters import TileParameters
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.common.seeds import seed_sequence
from crossvote.sim.peripheral.march import CellBank

#: Two OPCs of two row blocks; verdicts take two words each; a search begins with segments of 8 of 24 word lines.
PARAMETERS = TileParameters(
    opc=OpcParameters(columns=32, lanes=16, planes=3, input_bits=3, adc_bits=7, row_blocks=2),
    opcs=2,
    rows=24,
    port=8,
    read_clocks=5,
    convert_clocks=3,
    scale_bits=4,
    self_test=True,
)
CROSSBARS = 2 * PARAMETERS.opcs * PARAMETERS.opc.row_blocks
RATE, SEED = 0.04, 3


def create(_: OpcParameters) -> Tile:
    """The tile that tests its crossbars."""
    return Tile(PARAMETERS)


def faults() -> FaultMap:
    """Stuck cells of all crossbars, in the paper's ratio of SA0 and SA1."""
    return FaultMap.sample(
        PARAMETERS.rows, PARAMETERS.opc.columns, CROSSBARS, RATE, seed_sequence(SEED, "march"), (1.0, 1.0)
    )


def bank(soft: bool = False, rate: float = RATE) -> CellBank:
    """Cells with random contents of which the fault map holds some; with ``soft`` some others are faulty, too."""
    p, rng = PARAMETERS, np.random.default_rng(SEED)
    levels = rng.integers(0, 2, (CROSSBARS, p.rows, p.opc.columns)).astype(np.uint8)
    found = CellBank.with_faults(levels, faults()) if rate else CellBank(levels, np.full(levels.shape, -1, np.int8))
    if soft:
        kind = np.where(found.stuck < 0, rng.integers(0, 400, levels.shape), 9)
        found.no_set, found.no_reset, found.disturbed = kind == 0, kind == 1, kind == 2
    return found
