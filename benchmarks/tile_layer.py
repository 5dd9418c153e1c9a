"""Whole layers through compiled tiles: every matrix of a layer, every blind scheme, stuck cells; all integers compared.

    python -m benchmarks.tile_layer                        # all of them; writes benchmarks/results and docs/tile.md
    python -m benchmarks.tile_layer --scheme best none     # two; adds to what is in benchmarks/results

Layer 1 of the embedded encoder, 30 % of its columns pruned, on the shipped chip with 1 % of the cells stuck.
Activations are those of real sentences. What must come out are the integers of the torch evaluation of the same
cells, quantized to 8 bits as the tile does it; they come from elsewhere than crossbars, OPCs and tiles.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.measure import environment
from benchmarks.sections import Section
from crossvote.sim.chip.config import load_chip
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.peripheral.support import pair_votes_refusal
from crossvote.sim.peripheral.tile_array import TileArray
from crossvote.sim.peripheral.tile_backend import VerilatorTile
from crossvote.swstack.mapping.protection import PRESETS
from tb.real_layers import placed_layers

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "tile_layer.json"
SECTION = Section(
    ROOT / "docs" / "tile.md", "<!-- benchmarks/results/tile_layer.json -->", "<!-- end of the layers -->"
)
#: The word-line groups of the layer, and so all its matrices.
GROUPS = ("qkv", "o", "ffn1", "ffn2")
#: Those that know the fault map would need it before they are mapped; their images are no others to the hardware.
#: Nor those whose replicas vote in each crossbar alone, which the hardware refuses.
SCHEMES = tuple(
    name
    for name, scheme in PRESETS.items()
    if not scheme.knows_faults and pair_votes_refusal(getattr(scheme, "vote", "none")) is None
)
LAYER, RATE, VECTORS, CALIBRATION = "layer.1", 0.01, 2, 32


@dataclass(frozen=True)
class Result:
    """Of one scheme. tiles, opcs: of the layer. outputs: compared values. wrong: of them. code_pairs, seconds: of both
    vectors, without compiling and programming.
    """

    scheme: str
    tiles: int
    opcs: int
    outputs: int
    distinct: int
    wrong: int
    disagreements: int
    code_pairs: int
    seconds: float


def run(scheme: str, groups: Sequence[str] = GROUPS, rate: float = RATE, vectors: int = VECTORS) -> Result:
    """All of a layer's groups through tiles under a scheme."""
    chip = load_chip("crossvote")
    tiles = opcs = outputs = wrong = disagreements = pairs = 0
    seconds, seen = 0.0, set[int]()
    for layer in placed_layers([(scheme, f"{LAYER}.{group}", rate, CALIBRATION) for group in groups]):
        group = layer.image.groups[0]
        bundles = group.bundles(chip.opc.columns, chip.opc.outputs)
        array = TileArray(group, chip, VerilatorTile, layer.faults, bundles, layer.sums)
        start = time.process_time()
        found = array.process(layer.x[-vectors:])
        seconds += time.process_time() - start
        expected = array.requantise(layer.sums[-vectors:])[:, array.requantise.outputs]
        got = found.outputs[:, array.requantise.outputs]
        tiles, opcs = tiles + len(bundles), opcs + len(array)
        outputs, wrong = outputs + got.size, wrong + int((got != expected).sum())
        disagreements, pairs = disagreements + found.disagreements, pairs + found.code_pairs
        seen |= set(np.unique(got).tolist())
    return Result(scheme, tiles, opcs, outputs, len(seen), wrong, disagreements, pairs, seconds)


def table(results: Sequence[Result]) -> str:
    """Markdown table."""
    head = "| scheme | tiles | OPCs | values compared | wrong | different values | disagreeing votes | code pairs/s |"
    lines = [head, "|---|" + "---|" * 7]
    lines += [
        f"| {r.scheme} | {r.tiles} | {r.opcs} | {r.outputs:,} | {r.wrong} | {r.distinct} | {r.disagreements:,} | "
        f"{r.code_pairs / r.seconds / 1e6:.1f} M |"
        for r in results
    ]
    return "\n".join(lines)


def section(data: dict[str, object]) -> str:
    """What stands in the document, from the content of ``RESULTS``."""
    results = [Result(**entry) for entry in data["results"]]  # type: ignore[attr-defined]
    right = sum(not result.wrong for result in results)
    return f"{table(results)}\n\nAll integers equal under {right} of {len(results)} schemes."


def main() -> None:
    """Command line; exit status 1 if an integer differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tile_layer", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--scheme", choices=SCHEMES, nargs="+", default=list(SCHEMES))
    options = parser.parse_args()
    kept: list[dict[str, object]] = json.loads(RESULTS.read_text())["results"] if RESULTS.is_file() else []
    for scheme in options.scheme:
        print(f"{scheme} ...", file=sys.stderr, flush=True)
        result = run(scheme)
        print(table([result]), flush=True)
        kept = [entry for entry in kept if entry["scheme"] != scheme] + [asdict(result)]
        kept.sort(key=lambda entry: SCHEMES.index(str(entry["scheme"])))
        data: dict[str, object] = {"environment": environment(), "results": kept}
        write_text_atomic(RESULTS, json.dumps(data, indent=1) + "\n")
        SECTION.write(section(data))
    sys.exit(any(entry["wrong"] for entry in kept))


if __name__ == "__main__":
    main()
