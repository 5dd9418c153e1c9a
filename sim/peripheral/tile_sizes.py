"""The sizes of the tile that serves a chip's bit lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from crossvote.rtl.tile_parameters import TileParameters
from crossvote.sim.array.column_map import Vote
from crossvote.sim.chip.components.opc import opc_parameters
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError


def tile_parameters(
    chip: ChipConfig, blocks: int, vote: Vote, given: Mapping[str, int] | None = None
) -> TileParameters:
    """The tile that serves a bundle of bit lines over ``blocks`` row blocks of a chip.

    Parameters of its OPCs that are ``given`` by name take the place of the chip's.

    Row blocks that are added before a vote share an OPC; otherwise each has one of its own, as in the system model.
    Times are whole clock cycles, rounded up. The input is as wide as it must be for the tile never to wait for it: what
    the bus of a chip carries is not part of the tile.

    Raises:
        UserError: sizes that the RTL cannot have.
    """
    opcs = 1 if vote == "output" else blocks
    clock = chip.opc.clock_ps
    conversions = -(-chip.crossbar.columns * chip.adc.shared_by // chip.adc.per_crossbar)
    try:
        return TileParameters(
            opc=replace(opc_parameters(chip, given), row_blocks=blocks // opcs),
            opcs=opcs,
            rows=chip.crossbar.rows,
            port=next(port for port in range(64, 0, -1) if chip.crossbar.rows % port == 0),
            read_clocks=-(-chip.crossbar.read_ps // clock),
            convert_clocks=-(-conversions * chip.adc.conversion_ps // clock),
        )
    except ValueError as error:
        raise UserError(f"chip '{chip.name}': the tile cannot be built: {error}") from None
