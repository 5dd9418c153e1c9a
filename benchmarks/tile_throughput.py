"""How fast the compiled tile simulates: code pairs per second of one core, crossbars and converters included.

    python -m benchmarks.tile_throughput             # all; writes benchmarks/results and the table of docs/tile.md
    python -m benchmarks.tile_throughput --tile 1    # one of them; prints only

Every clock of the Verilog is evaluated, also those in which a read settles and no code is taken: so what counts beside
clocks per second is how many code pairs a clock takes. Times are CPU seconds, of runs of some seconds, the best of
five; builds are not counted.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import environment
from benchmarks.sections import Section, measured_on
from crossvote.rtl.tile_parameters import TileParameters
from crossvote.sim.array.column_map import Vote
from crossvote.sim.chip.config import load_chip
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.peripheral.tile import calibrated, tile_sums
from crossvote.sim.peripheral.tile_backend import TileProgram, VerilatorTile
from crossvote.sim.peripheral.tile_sizes import tile_parameters
from tb.stimulus import random_map

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "tile_throughput.json"
SECTION = Section(
    ROOT / "docs" / "tile.md", "<!-- benchmarks/results/tile_throughput.json -->", "<!-- end of the measurement -->"
)
RUNS, SECONDS, GOAL = 5, 3.0, 30e6
#: Row blocks of a word-line group, where its replicas vote, changes to the shipped chip: groups of the embedded
#: encoder on it, and on one with faster cells and converters, where a read takes no longer than its beats.
TILES: tuple[tuple[int, Vote, dict[str, Any]], ...] = (
    (3, "crossbar", {}),
    (3, "output", {}),
    (3, "crossbar", {"crossbar": {"read_ps": 16_000}, "adc": {"conversion_ps": 125}}),
)


@dataclass(frozen=True)
class Speed:
    """Of one tile. clocks, code_pairs: of the measured run."""

    row_blocks: int
    vote: str
    read_clocks: int
    clocks: int
    code_pairs: int
    seconds: float


def program(p: TileParameters, blocks: int) -> tuple[TileProgram, np.ndarray[Any, Any]]:
    """Random cells and activations."""
    rng = np.random.default_rng(1)
    opc_map = random_map(rng, p.opc)
    cells = rng.integers(0, 2, (p.opcs, blocks, 2, p.rows, p.opc.columns)).astype(np.uint8)
    x = rng.integers(-128, 128, (4, p.opcs * blocks * p.rows))
    return TileProgram(opc_map, cells, *calibrated(p, tile_sums(p, opc_map, cells, x)[0])), x


def measure(number: int) -> Speed:
    """Speed of one of ``TILES``; a run takes about ``SECONDS``."""
    row_blocks, vote, overrides = TILES[number]
    p = tile_parameters(load_chip("crossvote", overrides), row_blocks, vote)
    loaded, x = program(p, row_blocks // p.opcs)
    tile = VerilatorTile(p)
    tile.program(loaded)

    def run(vectors: int) -> tuple[float, int]:
        given = np.tile(x, (-(-vectors // len(x)), 1))[:vectors]
        start = time.process_time()
        clocks = tile.process(given).cycles
        return time.process_time() - start, clocks

    run(16)  # what is touched for the first time
    vectors = max(4, int(128 * SECONDS / max(run(128)[0], 1e-3)))
    seconds, clocks = min(run(vectors) for _ in range(RUNS))
    pairs = vectors * row_blocks * p.opc.input_bits * p.opc.columns
    return Speed(row_blocks, vote, p.read_clocks, clocks, pairs, seconds)


def table(speeds: Sequence[Speed]) -> str:
    """Markdown table."""
    lines = [
        "| row blocks | vote | clocks a read settles | pairs a clock | clocks/s | code pairs/s |",
        "|---|" + "---|" * 5,
    ]
    lines += [
        f"| {s.row_blocks} | {s.vote} | {s.read_clocks} | {s.code_pairs / s.clocks:.1f} | "
        f"{s.clocks / s.seconds / 1e6:.2f} M | {s.code_pairs / s.seconds / 1e6:.1f} M |"
        for s in speeds
    ]
    return "\n".join(lines)


def section(data: dict[str, Any]) -> str:
    """What stands in the document, from the content of ``RESULTS``."""
    speeds = [Speed(**entry) for entry in data["results"]]
    fast = sum(s.code_pairs / s.seconds >= GOAL for s in speeds)
    return (
        f"{table(speeds)}\n\nGoal: {GOAL / 1e6:.0f} M code pairs/s on one core, met by {fast} of {len(speeds)}.\n"
        f"{measured_on(data['environment'])}"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tile_throughput", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--tile", type=int, choices=range(len(TILES)), nargs="+", default=list(range(len(TILES))))
    options = parser.parse_args()
    speeds = []
    for number in options.tile:
        print(f"{TILES[number]} ...", file=sys.stderr, flush=True)
        speeds.append(measure(number))
        print(table(speeds[-1:]), flush=True)
    if len(options.tile) == len(TILES):
        data = {"environment": environment(), "results": [asdict(speed) for speed in speeds]}
        write_text_atomic(RESULTS, json.dumps(data, indent=1) + "\n")
        SECTION.write(section(data))


if __name__ == "__main__":
    main()
