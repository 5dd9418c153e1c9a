"""Energy of a tile's own logic, around its OPCs, from the toggles of its gates under a real layer's activations.

    python -m benchmarks.tile_power --liberty FILE          # all sizes; writes the system model's table, docs/tile.md
    python -m benchmarks.tile_power --liberty FILE --row 1  # one of them; adds to what is in the table

As ``benchmarks.opc_power``, with which it shares library, layer and assumptions. The OPCs are played: their sums are
those of stuck crossbars under the tile's activations, one output every ``planes`` clocks behind a vector's last beat.
Word lines and quantized outputs are compared with the reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.back import rtlil
from numpy.typing import NDArray

from benchmarks import energy_rows
from benchmarks.sections import Section
from crossvote.rtl.asic import map_blocks
from crossvote.rtl.liberty import Library
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.readout import output_layout
from crossvote.rtl.registers import Register, index_bits
from crossvote.rtl.requantise import value_layout
from crossvote.rtl.synthesis import TILES
from crossvote.rtl.tile_control import TileControl
from crossvote.rtl.tile_parameters import VALUE_BITS, TileParameters
from crossvote.sim.array import arithmetic
from crossvote.sim.chip.config import load_chip
from crossvote.sim.peripheral import NumpyPeripheral
from crossvote.sim.peripheral.opc_array import OpcArray
from crossvote.sim.peripheral.tile import (
    activation_payloads,
    calibrated,
    requantised,
    tile_cells,
    tile_codes,
    tile_inputs,
    tile_writes,
)
from tb.gates import Gates, GateSimulation
from tb.power import BlockEnergy, block_areas, energies
from tb.real_layers import placed_layers

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "sim" / "chip" / "components" / "tile_energy.json"
SECTION = Section(
    ROOT / "docs" / "tile.md", "<!-- sim/chip/components/tile_energy.json -->", "<!-- end of the energies -->"
)
RATE, STREAMS, VECTORS = 0.01, 16, 6
#: Clocks from a vector's last beat to its first output, about as in an OPC.
READ_OUT = 12
#: Word-line group by how many OPCs its row blocks take: those of the tiles that are counted.
LAYERS = {3: "layer.1.qkv", 12: "layer.1.ffn2"}
#: Blocks by the beginning of a cell's name, as in ``tb.power.BLOCKS``. What is left: sum over OPCs, registers.
BLOCKS = {
    r"buffer\..*_memory\.": "words",
    "buffer": "buffer",
    "reader": "reader",
    r"requantise\..*_memory\.": "tables",
    "requantise": "requantise",
}


@dataclass(frozen=True)
class Row:
    """Of one tile, pJ in the library's technology.

    Attributes:
        clocks, values, outputs: of the vector that was counted. areas: um2 by block. blocks: its energy by block.
        turn: of an activation that is kept, turned. read: of the steps of a read. requantise: of an output. All outside
            memories, by ``actions``.
        clock: of that vector when every register is clocked in every clock. memories: of it, signals in memories.
    """

    opcs: int
    lanes: int
    clocks: int
    values: int
    outputs: int
    areas: dict[str, float]
    blocks: dict[str, dict[str, float]]
    turn: float
    read: float
    requantise: float
    clock: float
    memories: float


def tiles() -> list[TileParameters]:
    """What is measured: of the tiles that are counted, those with an OPC for each row block and no self-test."""
    return [
        t for t in TILES if t.opcs in LAYERS and not t.self_test and t.opc == replace(OpcParameters(), row_blocks=1)
    ]


def actions(found: Mapping[str, BlockEnergy], p: TileParameters, clocks: int, outputs: int) -> dict[str, float]:
    """pJ of an activation kept, of a read, and of an output.

    Registers are clocked when they work: those of the buffer while a beat turns, those of the reader always, the others
    once an output.
    """
    none = BlockEnergy(0.0, 0.0, 0.0, 0, 0)

    def of(names: Sequence[str], times: int, ticks: int) -> float:
        chosen = [found.get(name, none) for name in names]
        return (sum(one.data for one in chosen) + sum(one.clock for one in chosen) / clocks * ticks) / times

    values, bits = p.opcs * p.rows, p.opc.input_bits
    return {
        "turn": of(("buffer",), values, values // p.port * bits),
        "read": of(("reader",), bits, clocks),
        "requantise": of(("requantise", "glue"), outputs, outputs),
    }


@dataclass(frozen=True, eq=False)
class Stimulus:
    """What a tile's own logic gets, and what must come out: for each stream and vector.

    Attributes:
        x: int[S, V, K]. sums: int[S, V, opcs, outputs], of each OPC. scales, offsets. writes: that program the tile.
        values: int[S, V, outputs], what must come out.
    """

    x: NDArray[np.int64]
    sums: NDArray[np.int64]
    writes: list[tuple[int, int]]
    values: NDArray[np.int8]


def stimulus(p: TileParameters) -> Stimulus:
    """Activations of the layer, and the sums that stuck crossbars make of them."""
    chip = load_chip("crossvote")
    (layer,) = placed_layers([("best", LAYERS[p.opcs], RATE, STREAMS * VECTORS)])
    group = layer.image.groups[0]
    bundles = group.bundles(chip.opc.columns, chip.opc.outputs)
    bundle = bundles[len(bundles) // 2]
    opc_map = OpcArray(group, chip, lambda: NumpyPeripheral(OpcParameters()), layer.faults, [bundle]).maps[0]
    x = tile_inputs(group, layer.x)[: STREAMS * VECTORS]
    sums = []
    for codes in tile_codes(p, tile_cells(p, group, bundle, layer.faults), x):
        peripheral = NumpyPeripheral(p.opc)
        peripheral.load_map(opc_map)
        sums.append(peripheral.process(codes).outputs)
    total = np.sum(sums, axis=0)
    scales, offsets = calibrated(p, total)
    writes = [one for one in tile_writes(p, opc_map, 1, scales, offsets) if of_tile(one[0], p)]
    shape = (STREAMS, VECTORS, -1)
    return Stimulus(
        x.reshape(shape),
        np.stack(sums, 1).reshape(STREAMS, VECTORS, p.opcs, -1),
        writes,
        requantised(p, total, scales, offsets).reshape(shape),
    )


def of_tile(address: int, p: TileParameters) -> bool:
    """Whether a register is the tile's own: its OPCs are not there."""
    window, index = divmod(address, 1 << index_bits(p.opc))
    return window > 1 or (window == 0 and index == Register.ROW_BLOCKS)


def drive(gates: Gates, p: TileParameters, given: Stimulus, volts: float) -> tuple[int, dict[str, BlockEnergy]]:
    """Stream the vectors; clocks and energy of one of them, in the steady state.

    Raises:
        RuntimeError: a word line or an output is wrong.
    """
    simulation = GateSimulation(gates, -(-STREAMS // 64))
    for port in gates.ports:
        if port not in gates.outputs and port != "clk":
            simulation.set(port, [0])
    simulation.set("rst", [1])
    clock(simulation)
    simulation.set("rst", [0])
    simulation.set("bus__write_strobe", [0xF])
    simulation.set("o__ready", [1])
    for number in range(p.opcs):
        simulation.set(f"opcs__{number}__ready", [1])
    for address, word in given.writes:
        simulation.set("bus__address", [address])
        simulation.set("bus__write_data", [word])
        simulation.set("bus__write", [1])
        clock(simulation)
    simulation.set("bus__write", [0])

    bits, rows = p.opc.input_bits, p.rows
    beats = [list(activation_payloads(p, one)) for one in given.x]
    # The top bit comes first.
    lines = arithmetic.input_bits(given.x.reshape(STREAMS * VECTORS, -1), bits)[:, ::-1].reshape(
        STREAMS, VECTORS, bits, p.opcs, rows
    )
    layout, value_field = output_layout(p.opc), value_layout(p)["value"]
    gates.ports["value"] = gates.ports["o__payload"][value_field.offset : value_field.offset + VALUE_BITS]
    outputs = given.values.shape[2]
    sent = loads = accumulated = played = clocks = 0
    seen: list[list[int]] = [[] for _ in range(STREAMS)]
    waits: list[int] = []  # clocks until each output of the vectors that have been accumulated
    for _ in range(2 * VECTORS * p.interval(1, 0)):
        simulation.set("i__valid", [int(sent < len(beats[0]))])
        if sent < len(beats[0]):
            simulation.set("i__payload", [one[sent] for one in beats])
        comes = bool(waits) and waits[0] <= 0
        for number in range(p.opcs):
            simulation.set(f"opcs__{number}__o__valid", [int(comes)])
            if comes:
                at, output = divmod(played, outputs)
                numbers = {"output": output, "last": output == outputs - 1, "tag": at}
                marks = sum(value << layout[name].offset for name, value in numbers.items())
                mask = (1 << p.opc.sum_bits) - 1
                words = [(int(own) & mask) << layout["sum"].offset | marks for own in given.sums[:, at, number, output]]
                simulation.set(f"opcs__{number}__o__payload", words)
        simulation.settle()
        if simulation.get("array__load", 1)[0]:
            at, bit = divmod(loads, bits)
            for number in range(p.opcs):
                if simulation.get(f"array__word_lines__{number}", STREAMS) != words_of(lines[:, at, bit, number]):
                    raise RuntimeError(f"word lines of vector {at}, bit {bit} are wrong.")
            loads += 1
        if simulation.get("o__valid", 1)[0]:
            for stream, value in zip(seen, simulation.get("value", STREAMS), strict=True):
                stream.append(value - (value >> VALUE_BITS - 1 << VALUE_BITS))
        ended = bool(simulation.get("opcs__0__valid", 1)[0] and simulation.get("opcs__0__last", 1)[0])
        taken = bool(sent < len(beats[0]) and simulation.get("i__ready", 1)[0])
        clocks += simulation.count
        simulation.tick()
        sent += taken
        played += comes
        waits = [wait - 1 for wait in waits[comes:]]
        if ended:
            accumulated += 1
            waits += [READ_OUT + p.opc.planes * number for number in range(outputs)]
            # Here one vector is read while another comes in and the outputs of a third leave.
            simulation.count = accumulated == VECTORS - 3
        if len(seen[0]) == given.values[0].size:
            break
    if seen != given.values.reshape(STREAMS, -1).tolist():
        raise RuntimeError("outputs are wrong.")
    return clocks, energies(gates, simulation.toggles[: gates.nets], STREAMS, clocks, volts, BLOCKS)


def words_of(lines: NDArray[np.integer]) -> list[int]:
    """Word lines int[S, rows] as numbers, the first one lowest."""
    return [int.from_bytes(np.packbits(own.astype(np.uint8), bitorder="little").tobytes(), "little") for own in lines]


def clock(simulation: GateSimulation) -> None:
    """A clock in which nothing is looked at."""
    simulation.settle()
    simulation.tick()


def measure(p: TileParameters, liberty: Path, library: Library, folder: Path) -> Row:
    """Map a tile's own logic, run it, compare, and take its energy."""
    text: str = rtlil.convert(TileControl(p), name="control", emit_src=False)
    gates = Gates(map_blocks(text, "control", folder / str(p.opcs), liberty, "memory"), "control", library)
    given = stimulus(p)
    clocks, found = drive(gates, p, given, library.volts)
    outputs = given.values.shape[2]
    return Row(
        p.opcs,
        p.opc.lanes,
        clocks,
        p.opcs * p.rows,
        outputs,
        block_areas(gates, BLOCKS),
        {name: asdict(one) for name, one in found.items()},
        **actions(found, p, clocks, outputs),
        clock=sum(one.clock for one in found.values()),
        memories=sum(one.data for one in found.values() if one.memory_bits),
    )


def table(document: Mapping[str, Any]) -> str:
    """Markdown of the energies."""
    lines = [
        "| OPCs | L | activation kept | read | output | vector | memories | clocks of all registers |",
        f"|{'---|' * 8}",
    ]
    for one in document["rows"]:
        row = Row(**one)
        reads = OpcParameters().input_bits
        total = row.turn * row.values + row.read * reads + row.requantise * row.outputs
        numbers = (row.turn, row.read, row.requantise, total / 1000, row.memories / 1000, row.clock / 1000)
        lines.append(f"| {row.opcs} | {row.lanes} | {' | '.join(f'{number:.1f}' for number in numbers)} |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    own = tiles()

    def measured(number: int, liberty: Path, library: Library, folder: Path) -> dict[str, Any]:
        return asdict(measure(own[number], liberty, library, folder))

    keys, folder = [one.opcs for one in own], Path("build/tile_power")
    energy_rows.run(
        "tile", __doc__ or "", RESULTS, SECTION, folder, keys, lambda row: int(row["opcs"]), measured, table
    )


if __name__ == "__main__":
    main()
