"""``crossvote verilog``: the synthesizable Verilog of the output peripheral."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossvote.swstack.cli.app import command
from crossvote.swstack.cli.output import Output


@command(examples=("crossvote verilog --out build/verilog", "crossvote verilog --chip my-chip.toml"))
def verilog(
    out: Output,
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")] = Path("build/verilog"),
    chip: Annotated[str, typer.Option(help="Chip preset or TOML file that sets the parameters.")] = "crossvote",
) -> None:
    """Export the synthesizable Verilog of the output peripheral."""
    from crossvote.rtl.export import export
    from crossvote.sim.chip.bill import opc_parameters
    from crossvote.sim.chip.config import load_chip

    paths = [str(path) for path in export(opc_parameters(load_chip(chip)), folder)]
    for path in paths:
        out.text(path)
    out.result({"files": paths})
