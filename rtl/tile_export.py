"""Verilog of a tile, with a machine-readable description of its ports, parameters and registers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from crossvote.rtl.export import ports, to_verilog, write_atomic
from crossvote.rtl.registers import Register, Status, map_address
from crossvote.rtl.tile import Tile
from crossvote.rtl.tile_axi import TileAxi
from crossvote.rtl.tile_control import TileRegister, offset_address, tile_scale_address
from crossvote.rtl.tile_parameters import TileParameters

#: What the registers can be reached through.
BUSES: dict[str, type[Tile | TileAxi]] = {"port": Tile, "axi": TileAxi}
#: Layout version of the description.
DESCRIPTION_VERSION = 1


def describe(tile: Tile | TileAxi, name: str) -> dict[str, Any]:
    """Ports, parameters and register words of an exported tile, as JSON values."""
    p = tile.parameters
    absent = {Register.DISAGREEMENTS: not p.opc.voter, Register.STEPS: not p.opc.column_map}
    absent |= dict.fromkeys((Register.LOG_LINE, Register.LOG_COUNT), not p.opc.log_bits)
    own = list(TileRegister) if p.self_test else []
    return {
        "format": "crossvote-tile",
        "version": DESCRIPTION_VERSION,
        "module": name,
        "parameters": dataclasses.asdict(p),
        "outputs": p.opc.outputs,
        "ports": ports(tile),
        "register_words": {register.name: int(register) for register in (*Register, *own) if not absent.get(register)},
        "status_bits": {bit.name: int(bit) for bit in Status},
        "map": {"first_word": map_address(p.opc, 0), "entries": p.opc.columns},
        "scales": {"first_word": tile_scale_address(p, 0), "entries": p.opc.outputs},
        "offsets": {"first_word": offset_address(p, 0), "entries": p.opc.outputs},
    }


def export_tile(parameters: TileParameters, folder: Path, name: str = "tile", bus: str = "port") -> tuple[Path, Path]:
    """Write ``name``.v and ``name``.json into ``folder`` and return both paths; ``bus`` is one of ``BUSES``."""
    tile = BUSES[bus](parameters)
    source, description = folder / f"{name}.v", folder / f"{name}.json"
    write_atomic(source, to_verilog(tile, name))
    write_atomic(description, json.dumps(describe(tile, name), indent=2) + "\n")
    return source, description
