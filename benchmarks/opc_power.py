"""Energy of the OPC from the toggles of a real layer: a library's cells, codes of stuck crossbars, outputs compared.

    python -m benchmarks.opc_power --liberty FILE          # all sizes; writes the system model's table and docs/opc.md
    python -m benchmarks.opc_power --liberty FILE --row 3  # one of them; adds to what is in the table

Layer 1's Q, K and V of the embedded encoder, 30 % of the columns pruned, 1 % of the cells stuck, tokens of real
sentences: 32 streams side by side, each its own five vectors, of which the last but one counts. An OPC without a voter
gets an unprotected matrix. For other numbers of planes the same bit lines are grouped otherwise, as no layer here has
them. What ``tb.power`` counts, and what it does not, stands there. Debian's qflow-tech-osu018 has a library (180 nm).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import energy_rows
from benchmarks.sections import Section
from crossvote.rtl.asic import map_blocks, netlist
from crossvote.rtl.liberty import Library
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.synthesis import VARIANTS
from crossvote.sim.chip.config import load_chip
from crossvote.sim.peripheral import NumpyPeripheral
from crossvote.sim.peripheral.base import OpcMap
from crossvote.sim.peripheral.opc_array import OpcArray
from crossvote.sim.peripheral.scales import OpcScales
from tb.gates import Gates
from tb.power import BlockEnergy, Run, block_areas, drive
from tb.real_layers import placed_layers
from tb.stimulus import random_scales

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "sim" / "chip" / "components" / "opc_energy.json"
SECTION = Section(
    ROOT / "docs" / "opc.md", "<!-- sim/chip/components/opc_energy.json -->", "<!-- end of the energies -->"
)
LAYER, RATE, TOKENS, STREAMS, VECTORS = "layer.1.qkv", 0.01, 64, 32, 5
#: Variant, lanes, planes.
ROWS = (
    ("plain", 8, 7),
    ("map", 8, 7),
    ("map + voter", 8, 7),
    ("map + voter + scale", 8, 7),
    ("map + voter", 1, 7),
    ("map + voter", 32, 7),
    ("map + voter", 8, 3),
    ("map + voter", 8, 11),
)


@dataclass(frozen=True)
class Row:
    """Of one OPC, pJ in the library's technology.

    Attributes:
        steps, votes, clocks: of the vector that was counted. areas: um2 by block. blocks: its energy by block.
        pair, step, lookup, vote: energy of an action outside memories, by ``actions``.
        memories: of that vector, signals in memories of flip-flops and what stands around them.
        clock, memory_clock: of it when every register is clocked in every clock, and every bit of a memory.
    """

    variant: str
    lanes: int
    planes: int
    steps: int
    votes: int
    clocks: int
    areas: dict[str, float]
    blocks: dict[str, dict[str, float]]
    pair: float
    step: float
    lookup: float
    vote: float
    memories: float
    clock: float
    memory_clock: float


@cache
def layer_codes(scheme: str) -> tuple[OpcMap, NDArray[np.uint8]]:
    """The map of a full OPC of the layer under a scheme, and codes of single row blocks [V, 1, n_x, columns, 2]."""
    chip = load_chip("crossvote")
    (layer,) = placed_layers([(scheme, LAYER, RATE, TOKENS)])
    group = layer.image.groups[0]
    bundles = group.bundles(chip.opc.columns, chip.opc.outputs)
    bundle = bundles[len(bundles) // 2]
    opcs = OpcArray(group, chip, lambda: NumpyPeripheral(OpcParameters()), layer.faults, [bundle])
    codes = [opcs.opc_codes(layer.x, range(g, g + 1), bundle) for g in range(group.row_blocks)]
    return opcs.maps[0], np.concatenate(codes).astype(np.uint8)


def side_by_side(parameters: OpcParameters, voted: bool) -> OpcMap:
    """Outputs side by side, top plane first; with ``voted`` the top plane three times."""
    p = parameters
    lines = p.planes + 2 * voted
    place = np.arange(p.columns)
    output = np.where(place < p.columns // lines * lines, place // lines, -1).astype(np.int32)
    within = place % lines
    extra = np.minimum(within, 2 * voted)
    plane = np.where(output < 0, 0, p.planes - 1 - (within - extra)).astype(np.int8)
    replica = np.where((output >= 0) & (plane == p.planes - 1), extra, 0).astype(np.int8)
    return OpcMap(output, plane, replica, np.zeros(p.columns, np.bool_))


def actions(parameters: OpcParameters, run: Run, steps: int, votes: int) -> dict[str, float]:
    """pJ of a pair of codes, a step of read-out, a look-up and a vote: the signals of its blocks over how often it
    happens, and the clock of their registers where clocks are gated: once a beat for what adds codes, once a step for
    what reads out.

    Memories are left out, and with them the signals of what stands around them.
    """
    none = BlockEnergy(0.0, 0.0, 0.0, 0, 0)

    def of(blocks: Sequence[str], times: float, ticks: float) -> float:
        """Energy of each of ``times`` actions whose blocks are clocked ``ticks`` times."""
        found = [run.energies.get(name, none) for name in blocks]
        data = sum(one.data for one in found if one.memory_bits == 0)
        return (data + sum(one.clock for one in found) / run.clocks * ticks) / times if times else 0.0

    beats = parameters.beats(1)
    return {
        "pair": of(("lanes", "banks", "glue", "registers"), beats * parameters.lanes, beats),
        "step": of(("readout", "scale", "scales"), steps, steps),
        "lookup": of(("map", "check"), steps, steps),
        "vote": of(("voter",), votes, steps),
    }


def measure(variant: str, lanes: int, planes: int, liberty: Path, library: Library, folder: Path) -> Row:
    """Map one OPC, run it, compare its outputs, and take its energy.

    Raises:
        RuntimeError: an output is wrong.
    """
    p = OpcParameters(lanes=lanes, planes=planes, **VARIANTS[variant])
    name = f"{re.sub('[^a-z]+', '_', variant)}_{lanes}_{planes}"
    gates = Gates(map_blocks(netlist(p), "opc", folder / name, liberty), "opc", library)
    opc_map, codes = layer_codes("best" if p.voter else "none")
    if planes != OpcParameters().planes or not p.column_map:
        opc_map = side_by_side(p, p.voter)
    scales: OpcScales | None = None
    if p.scale_bits:
        scales = random_scales(np.random.default_rng(1), p, opc_map.outputs)
    streams = [codes[VECTORS * number : VECTORS * (number + 1)] for number in range(STREAMS)]
    run = drive(gates, p, opc_map, scales, streams, library.volts)
    reference = NumpyPeripheral(OpcParameters(lanes=lanes, planes=planes, voter=p.voter, scale_bits=p.scale_bits))
    reference.load_map(opc_map)
    if scales is not None:
        reference.load_scales(scales)
    for stream, outputs in zip(streams, run.outputs, strict=True):
        if reference.process(stream).outputs.ravel().tolist() != outputs:
            raise RuntimeError(f"the gates of {name} give other outputs than the reference.")
    steps, votes = len(opc_map.read_order), len(opc_map.places[1])
    found = run.energies.values()
    return Row(
        variant,
        lanes,
        planes,
        steps,
        votes,
        run.clocks,
        block_areas(gates),
        {name: asdict(one) for name, one in run.energies.items()},
        **actions(p, run, steps, votes),
        memories=sum(one.data for one in found if one.memory_bits),
        clock=sum(one.clock for one in found),
        memory_clock=sum(one.memory_clock for one in found),
    )


def table(document: dict[str, Any]) -> str:
    """Markdown of the energies."""
    lines = [
        "| L | variant | planes | pair | step | look-up | vote | vector | memories | clocks | memories' clock |",
        f"|{'---|' * 11}",
    ]
    for one in document["rows"]:
        row = Row(**one)
        p = OpcParameters(lanes=row.lanes, planes=row.planes, **VARIANTS[row.variant])
        total = row.pair * p.beats(1) * p.lanes + (row.step + row.lookup) * row.steps + row.vote * row.votes
        head = [str(row.lanes), row.variant, str(row.planes)]
        actions = [f"{value:.1f}" for value in (row.pair, row.step, row.lookup, row.vote)]
        vectors = [f"{value / 1000:.1f}" for value in (total, row.memories, row.clock, row.memory_clock)]
        lines.append(f"| {' | '.join([*head, *actions, *vectors])} |")
    return "\n".join(lines)


def key(row: Mapping[str, Any]) -> tuple[str, int, int]:
    """Which OPC a row is about."""
    return row["variant"], row["lanes"], row["planes"]


def main() -> None:
    """Command line."""

    def measured(number: int, liberty: Path, library: Library, folder: Path) -> dict[str, Any]:
        return asdict(measure(*ROWS[number], liberty, library, folder))

    energy_rows.run("opc", __doc__ or "", RESULTS, SECTION, Path("build/power"), ROWS, key, measured, table)


if __name__ == "__main__":
    main()
