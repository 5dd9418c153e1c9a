"""Verilog of a tile, with a machine-readable description of its ports, parameters and registers."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from crossvote.rtl.export import ports, to_verilog, write_atomic
from crossvote.rtl.registers import map_address
from crossvote.rtl.tile import Tile
from crossvote.rtl.tile_axi import TileAxi
from crossvote.rtl.tile_axi_stream import TileAxiStream
from crossvote.rtl.tile_parameters import TileParameters
from crossvote.rtl.tile_registers import offset_address, tile_registers, tile_scale_address, tile_status_bits

#: What the registers can be reached through.
BUSES: dict[str, type[Tile | TileAxi]] = {"port": Tile, "axi": TileAxi}
#: Layout version of the description.
DESCRIPTION_VERSION = 1


def describe(tile: Tile | TileAxi | TileAxiStream, name: str) -> dict[str, Any]:
    """Ports, parameters and register words of an exported tile, as JSON values."""
    p = tile.parameters
    return {
        "format": "crossvote-tile",
        "version": DESCRIPTION_VERSION,
        "module": name,
        "parameters": dataclasses.asdict(p),
        "outputs": p.opc.outputs,
        "ports": ports(tile),
        "register_words": {register.name: int(register) for register in tile_registers(p)},
        "status_bits": {bit.name: int(bit) for bit in tile_status_bits(p)},
        "map": {"first_word": map_address(p.opc, 0), "entries": p.opc.columns},
        "scales": {"first_word": tile_scale_address(p, 0), "entries": p.opc.outputs},
        "offsets": {"first_word": offset_address(p, 0), "entries": p.opc.outputs},
    }


def _named(text: str) -> str:
    """Names that can be read, for what Yosys and Amaranth number: parts of a register that have other resets, and
    registers that go by the name of a port of another block.
    """
    counts: dict[str, int] = {}
    for found, register in re.findall(r"assign \{? ?([^ ;[]+)[^;]* = (\\\$auto\$ff\.cc:\d+:slice\$\d+) ;", text):
        counts[found] = counts.get(found, 0) + 1
        text = text.replace(f"{register} ", f"{found}_part_{counts[found]} ")
    return re.sub(r"\\([a-z]\w*)\$(\d+) ", r"\1_\2 ", text)


def export_tile(
    parameters: TileParameters, folder: Path, name: str = "tile", bus: str = "port", streams: str = "plain"
) -> tuple[Path, Path]:
    """Write ``name``.v and ``name``.json into ``folder`` and return both paths.

    ``bus`` is one of ``BUSES``. ``streams``: "plain", or "axi" for AXI4-Stream.
    """
    plain = BUSES[bus](parameters)
    tile = TileAxiStream(plain) if streams == "axi" else plain
    source, description = folder / f"{name}.v", folder / f"{name}.json"
    write_atomic(source, _named(to_verilog(tile, name)))
    write_atomic(description, json.dumps(describe(tile, name), indent=2) + "\n")
    return source, description
