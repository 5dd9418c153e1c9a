"""``crossvote verilog``: the output peripheral as an IP: synthesizable Verilog and what a chip team needs beside it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import check_folder
from crossvote.swstack.cli.app import command
from crossvote.swstack.cli.output import Output

if TYPE_CHECKING:
    from crossvote.rtl.tile_parameters import TileParameters
    from crossvote.sim.chip.config import ChipConfig

Whole = Annotated[int | None, typer.Option(help="In the place of the chip's.", show_default=False)]
Flag = Annotated[bool | None, typer.Option(help="In the place of the chip's.", show_default=False)]


@command(
    examples=(
        "crossvote verilog --out build/verilog",
        "crossvote verilog --chip my-chip.toml",
        "crossvote verilog --tile 3 --vote crossbar --self-test",
        "crossvote verilog --lanes 32 --scale-bits 17 --bus axi --streams axi --name my_opc",
    )
)
def verilog(
    out: Output,
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")] = Path("build/verilog"),
    chip: Annotated[
        str,
        typer.Option(
            help="Chip preset or TOML file that sets the parameters. isaac-ce has more planes than an output "
            "peripheral can: give --planes with it."
        ),
    ] = "crossvote",
    name: Annotated[
        str | None,
        typer.Option(help="Name of the top module and of the files; otherwise opc or tile.", show_default=False),
    ] = None,
    bus: Annotated[str, typer.Option(help="What the registers are reached through: port or axi (AXI4-Lite).")] = "port",
    streams: Annotated[
        str, typer.Option(help="What codes and outputs go through: plain or axi (AXI4-Stream).")
    ] = "plain",
    columns: Whole = None,
    lanes: Whole = None,
    planes: Whole = None,
    input_bits: Whole = None,
    adc_bits: Whole = None,
    row_blocks: Whole = None,
    voter: Flag = None,
    column_map: Flag = None,
    scale_bits: Whole = None,
    log_bits: Whole = None,
    checksum_bits: Whole = None,
    tile: Annotated[int | None, typer.Option(min=1, help="Instead, a whole tile for so many row blocks.")] = None,
    vote: Annotated[
        str | None,
        typer.Option(help="Where the tile's replicas vote: output (if not said) or crossbar.", show_default=False),
    ] = None,
    self_test: Annotated[bool, typer.Option("--self-test", help="The tile can test its crossbars.")] = False,
    wrap_memories: Annotated[
        bool,
        typer.Option("--wrap-memories", help="Map, scales and log as modules that a chip replaces with its memories."),
    ] = False,
) -> None:
    """Export the output peripheral: Verilog, register description, constraints, lint waivers, and an example that runs.

    Sizes are those of the chip unless options say otherwise. With --tile the same is written for the digital part of a
    whole tile.
    """
    check_folder(folder)
    from crossvote.rtl.export import BUSES, STREAMS
    from crossvote.rtl.ip_export import export_ip
    from crossvote.rtl.register_map import missing
    from crossvote.sim.chip.components.opc import opc_parameters
    from crossvote.sim.chip.config import load_chip
    from crossvote.sim.peripheral.example import example, tile_example

    for option, value, known in (("--bus", bus, tuple(BUSES)), ("--streams", streams, STREAMS)):
        if value not in known:
            raise UserError(f"{option} {value}: must be one of {', '.join(known)}.")
    own: dict[str, Any] = {
        "columns": columns,
        "lanes": lanes,
        "planes": planes,
        "input_bits": input_bits,
        "adc_bits": adc_bits,
        "row_blocks": row_blocks,
        "voter": voter,
        "column_map": column_map,
        "scale_bits": scale_bits,
        "log_bits": log_bits,
        "checksum_bits": checksum_bits,
    }
    if tile is None and (vote is not None or self_test):
        raise UserError(f"{'--self-test' if self_test else '--vote'} is about a whole tile; give --tile with it.")
    if tile is not None and wrap_memories:
        raise UserError("--wrap-memories is about an output peripheral by itself; leave it out with --tile.")
    config = load_chip(chip, where="--chip")
    given = {key: value for key, value in own.items() if value is not None}
    try:
        if tile is None:
            opc = opc_parameters(config, given)
            clock = config.opc.clock_ps
            files = export_ip(opc, folder, example(opc), name or "opc", bus, streams, clock, wrap_memories)
        else:
            own_tile = _tile(config, given, tile, vote or "output", self_test)
            worked = tile_example(own_tile)
            files = export_ip(own_tile, folder, worked, name or "tile", bus, streams, config.opc.clock_ps)
    except ValueError as error:
        raise UserError(str(error)) from None
    paths = [str(path) for path in files]
    for path in paths:
        out.text(path)
    if hint := missing():
        out.warn(f"C header, Verilog constants, register table and example were left out. {hint}")
    out.result({"files": paths})


def _tile(chip: ChipConfig, given: dict[str, Any], row_blocks: int, vote: str, self_test: bool) -> TileParameters:
    """The parameters of a tile.

    Raises:
        UserError, ValueError: something that a tile cannot have.
    """
    from crossvote.sim.peripheral.tile_sizes import tile_parameters

    if "row_blocks" in given:
        raise UserError("--row-blocks: the row blocks of a tile are what --tile says.")
    if vote not in ("output", "crossbar"):
        raise UserError(f"--vote {vote}: must be one of output, crossbar.")
    scale = {"scale_bits": given.pop("scale_bits")} if "scale_bits" in given else {}
    p = tile_parameters(chip, row_blocks, "output" if vote == "output" else "crossbar", given)
    return dataclasses.replace(p, self_test=self_test, **scale)
