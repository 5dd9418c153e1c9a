"""The check of checksum bit lines: NumPy is its definition and the hardware NumPy, on random codes and a real layer."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from amaranth.back import rtlil
from hypothesis import given, settings
from hypothesis import strategies as st
from opc_hardware import needs_compiler

from crossvote.rtl.export import create
from crossvote.rtl.parameters import OpcParameters
from crossvote.rtl.registers import OPTIONS_WORD, Register, Status
from crossvote.rtl.tile_parameters import TileParameters
from crossvote.rtl.tile_registers import TileRegister
from crossvote.sim.array.checksum import checksum_cells, residues
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral import OpcMap, create_peripheral
from crossvote.sim.peripheral.numpy_backend import NumpyPeripheral
from crossvote.sim.peripheral.tile import calibrated, tile_cells, tile_codes, tile_inputs, tile_sums
from crossvote.sim.peripheral.tile_backend import NumpyTile, TileProgram, VerilatorTile
from crossvote.swstack.models.packaged import packaged_directory
from tb.real_layers import placed_layers
from tb.stimulus import random_codes, random_map
from tb.tile_layers import BLOCKS, bench_chip, bench_parameters

SMALL = OpcParameters(columns=16, lanes=4, planes=3, input_bits=3, adc_bits=5, row_blocks=3, checksum_bits=4)
#: More than eight lanes: read-out has one more stage.
MANY = dataclasses.replace(SMALL, columns=32, lanes=16)
#: Column sums of fewer bits than the checksum.
NARROW = OpcParameters(columns=16, lanes=16, planes=2, input_bits=2, adc_bits=1, row_blocks=1, checksum_bits=9)
#: No voter, whose stages the check is not behind.
VOTELESS = dataclasses.replace(SMALL, voter=False, lanes=1)
#: A tile with two OPCs, each behind its own crossbars.
TILE = TileParameters(
    opc=dataclasses.replace(SMALL, columns=24, row_blocks=2), opcs=2, rows=30, port=6, read_clocks=9, convert_clocks=7
)


def checked_map(rng: np.random.Generator, p: OpcParameters, bits: int | None = None) -> OpcMap:
    """A map with a checksum of as many bits as are left, or as are given."""
    while True:
        opc_map = random_map(rng, p, outputs=int(rng.integers(1, max(2, p.outputs - 1))))
        unused = int(np.count_nonzero(opc_map.output < 0))
        if bits is None or unused >= bits:
            return opc_map.with_checksum(min(p.checksum_bits, unused) if bits is None else bits)


def mismatches_by_definition(opc_map: OpcMap, codes: np.ndarray) -> int:
    """In plain integers, one vector and bit line after the other."""
    vectors, blocks, bits = codes.shape[:3]
    found = 0
    for v in range(vectors):
        difference, lines = 0, 0
        for line in range(len(opc_map)):
            total = 0
            for g in range(blocks):
                for t in range(bits):
                    positive, negative = (int(code) for code in codes[v, g, t, line])
                    total += (-(2**t) if t == bits - 1 else 2**t) * (positive - negative)
            if opc_map.checksum[line] >= 0:
                lines += 1
                difference -= 2 ** int(opc_map.checksum[line]) * total
            elif opc_map.output[line] >= 0:
                difference += total
        found += difference % 2**lines != 0
    return found


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_numpy_is_the_definition(seed: int, blocks: int) -> None:
    rng = np.random.default_rng(seed)
    opc_map = checked_map(rng, SMALL)
    codes = random_codes(rng, SMALL, 6, blocks)
    codes[::2] //= 16  # small ones hold by chance now and then
    opc = NumpyPeripheral(SMALL)
    opc.load_map(opc_map)
    assert opc.process(codes).mismatches == mismatches_by_definition(opc_map, codes)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.booleans())
@settings(max_examples=25, deadline=None)
def test_residues_from_codes_are_those_of_the_cells(seed: int, bits: int, faulty: bool) -> None:
    """``crossvote.sim.array.checksum`` says the same of crossbars; without faults both say nothing."""
    rng = np.random.default_rng(seed)
    p = TILE
    opc_map = checked_map(rng, p.opc, bits)
    cells = programmed_cells(rng, opc_map, p)
    if faulty:
        cells ^= (rng.random(cells.shape) < 0.02).astype(np.uint8)
    x = rng.integers(-4, 4, (5, p.opcs * p.opc.row_blocks * p.rows))
    opc = NumpyPeripheral(p.opc)
    opc.load_map(opc_map)
    drives = x.reshape(5, p.opcs, p.opc.row_blocks, p.rows)
    lines = opc_map.checksum_lines[::-1]
    for number, codes in enumerate(tile_codes(p, cells, x)):
        each = [
            residues(pair[..., opc_map.read_order], pair[..., lines], drives[:, number, block])
            for block, pair in enumerate(cells[number])
        ]
        found = opc.residues(codes)
        assert found.tolist() == (np.sum(each, axis=0) % (1 << bits)).tolist()
        assert faulty or not found.any()


def programmed_cells(rng: np.random.Generator, opc_map: OpcMap, p: TileParameters) -> np.ndarray:
    """Cells uint8[opcs, row blocks, 2, rows, columns] at random, but for those of the checksum."""
    cells = rng.integers(0, 2, (p.opcs, p.opc.row_blocks, 2, p.rows, p.opc.columns)).astype(np.uint8)
    return with_checksums(cells, opc_map)


def with_checksums(cells: np.ndarray, opc_map: OpcMap) -> np.ndarray:
    """The cells with what the checksum lines shall hold."""
    cells = cells.copy()
    lines = opc_map.checksum_lines[::-1]
    for pair in cells.reshape(-1, *cells.shape[2:]):
        pair[..., lines] = checksum_cells(pair[..., opc_map.read_order], len(lines))
    return cells


@pytest.mark.parametrize("p", [SMALL, MANY, NARROW, VOTELESS], ids=["small", "many lanes", "narrow", "no voter"])
def test_amaranth_equals_numpy(p: OpcParameters) -> None:
    rng = np.random.default_rng(5)
    blocks = min(2, p.row_blocks)
    opc_map = checked_map(rng, p, p.checksum_bits)
    codes = random_codes(rng, p, 4, blocks)
    found = []
    for backend in ("numpy", "amaranth"):
        opc = create_peripheral(backend, p)
        opc.load_map(opc_map)
        result = opc.process(codes)
        found.append((result.outputs.tolist(), result.disagreements, result.cycles, result.mismatches))
    assert found[0] == found[1]
    assert found[0][3] > 0
    plain = NumpyPeripheral(p)
    plain.load_map(dataclasses.replace(opc_map, checksum=np.full(len(opc_map), -1, np.int8)))
    assert plain.process(codes).outputs.tolist() == found[0][0]


@needs_compiler
def test_the_compiled_opc_equals_numpy() -> None:
    rng = np.random.default_rng(6)
    compiled, total = create_peripheral("verilator", SMALL), 0
    for run in range(12):
        opc_map = checked_map(rng, SMALL, run % 5)
        codes = random_codes(rng, SMALL, int(rng.integers(1, 20)), int(rng.integers(1, 4)))
        reference = NumpyPeripheral(SMALL)
        for opc in (reference, compiled):
            opc.load_map(opc_map)
        expected, got = reference.process(codes), compiled.process(codes)
        assert (got.mismatches, got.disagreements, got.cycles) == (
            expected.mismatches, expected.disagreements, expected.cycles
        )  # fmt: skip
        assert got.outputs.tolist() == expected.outputs.tolist()
        assert run % 5 or expected.mismatches == 0
        total += expected.mismatches
    assert total > 20


@needs_compiler
def test_the_compiled_tile_says_behind_which_opc_it_is() -> None:
    """A wrong cell behind the second OPC; then none; then many."""
    rng = np.random.default_rng(7)
    opc_map = checked_map(rng, TILE.opc, 3)
    good = programmed_cells(rng, opc_map, TILE)
    x = rng.integers(-4, 4, (9, TILE.opcs * TILE.opc.row_blocks * TILE.rows))
    scales = calibrated(TILE, tile_sums(TILE, opc_map, good, x)[0])
    one = good.copy()
    one[1, 0, 0, 4, opc_map.read_order[2]] ^= 1
    many = (good ^ (rng.random(good.shape) < 0.05)).astype(np.uint8)
    compiled, reference = VerilatorTile(TILE), NumpyTile(TILE)
    found = []
    for cells in (one, good, many):
        for tile in (compiled, reference):
            tile.program(TileProgram(opc_map, cells, *scales))
        got, expected = compiled.process(x), reference.process(x)
        assert (got.values.tolist(), got.disagreements) == (expected.values.tolist(), expected.disagreements)
        assert got.mismatches == expected.mismatches
        found.append(got.mismatches)
    word_line = x[:, TILE.opc.row_blocks * TILE.rows + 4]
    assert found[0] == (0, int(np.count_nonzero(word_line % 8)))
    assert found[1] == (0, 0)
    assert min(found[2]) > 5
    assert compiled.read(Register.STATUS) == 1 << Status.CHECKSUM
    for opc in range(TILE.opcs):
        compiled.write(TileRegister.MISMATCH_OPC, opc)
        assert compiled.read(TileRegister.MISMATCH_OPC) == opc
    with pytest.raises(UserError, match="refuses to store"):
        compiled.write(TileRegister.MISMATCH_OPC, TILE.opcs)
    assert compiled.read(TileRegister.MISMATCH_OPC) == TILE.opcs - 1
    compiled.write(Register.MISMATCHES, 7)
    for opc in range(TILE.opcs):
        compiled.write(TileRegister.MISMATCH_OPC, opc)
        assert compiled.read(Register.MISMATCHES) == 7
    compiled.write(Register.INTERRUPTS, 1 << Status.CHECKSUM)
    assert compiled.read(Register.INTERRUPTS) == 1 << Status.CHECKSUM
    assert compiled.read(Register.OPTIONS) >> OPTIONS_WORD["checksum_bits"].offset == TILE.opc.checksum_bits


@needs_compiler
@pytest.mark.slow
@pytest.mark.skipif(packaged_directory("minilm-l6") is None, reason="minilm-l6 is not installed")
def test_a_real_layer_is_silent_until_cells_are_stuck() -> None:
    """A tile of ``layer.1.qkv`` whose OPCs have unused bit lines: its map, cells, and activations of real sentences."""
    layer = next(placed_layers([("paper", "layer.1.qkv", 0.001, 6)]))
    group, chip = layer.image.groups[0], bench_chip()
    p = bench_parameters(group.vote)
    p = dataclasses.replace(p, opc=dataclasses.replace(p.opc, checksum_bits=2), self_test=False)
    bundle = group.bundles(chip.opc.columns, chip.opc.outputs)[-1]
    opc_map = OpcMap.from_bundle(group.column_map, bundle, chip.opc.columns).with_checksum(2)
    programmed = with_checksums(tile_cells(p, group, bundle, None), opc_map)
    stuck = tile_cells(p, group, bundle, layer.faults)
    stuck[..., opc_map.checksum_lines] = programmed[..., opc_map.checksum_lines]
    x = tile_inputs(group, layer.x)
    scales = calibrated(p, tile_sums(p, opc_map, programmed, x)[0])
    tile, reference = VerilatorTile(p), NumpyTile(p)
    results = []
    for cells in (programmed, stuck):
        for one in (tile, reference):
            one.program(TileProgram(opc_map, cells, *scales))
        got, expected = tile.process(x), reference.process(x)
        assert got.values.tolist() == expected.values.tolist()
        assert got.mismatches == expected.mismatches
        results.append(got.mismatches)
    assert results[0] == (0,) * p.opcs
    assert sum(results[1]) > 0
    assert p.opcs * p.opc.row_blocks == BLOCKS


@pytest.mark.parametrize(
    ("checksum", "message"),
    [
        ([-1, -1, -1, 0], "bit line 3 holds both a checksum and output 0, plane 0"),
        ([0, 0, -1, -1], "checksum bits of an OPC must be 0 to 0, each on one bit line"),
        ([0, 2, -1, -1], "checksum bits of an OPC must be 0 to 2, each on one bit line"),
        ([0, 1, -1], "checksum for every bit line"),
    ],
)
def test_impossible_checksums_are_refused(checksum: list[int], message: str) -> None:
    zeros = np.zeros(4, np.int8)
    with pytest.raises(UserError, match=message):
        OpcMap(
            np.array([-1, -1, -1, 0], np.int32), zeros, zeros, zeros.astype(np.bool_),
            checksum=np.array(checksum, np.int8),
        )  # fmt: skip


def test_a_checksum_that_does_not_fit_is_refused() -> None:
    zeros = np.zeros(4, np.int8)
    opc_map = OpcMap(np.array([-1, -1, -1, 0], np.int32), zeros, zeros, zeros.astype(np.bool_))
    with pytest.raises(UserError, match="a checksum of 4 bits needs as many unused bit lines; the map has 3"):
        opc_map.with_checksum(4)
    p = OpcParameters(columns=4, lanes=1, planes=1, checksum_bits=2)
    opc_map.with_checksum(2).check_fits(p)
    with pytest.raises(UserError, match="a checksum of 3 bits, but the OPC was built with checksum_bits = 2"):
        opc_map.with_checksum(3).check_fits(p)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checksum_bits": 17}, "checksum_bits = 17 must be a whole number from 0 to 16"),
        ({"column_map": False, "voter": False}, "needs column_map = True, because only the map names checksum lines"),
        ({"planes": 13}, "columns = 16 cannot hold the 13 planes of one output and 4 checksum lines"),
    ],
)
def test_hardware_that_cannot_check_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **changes)


def test_an_opc_without_it_has_nothing_of_it() -> None:
    """No module, signal or register: what is exported for other parameters stays what it was."""
    with_it, without = (
        rtlil.convert(create(dataclasses.replace(SMALL, checksum_bits=bits)), name="opc", emit_src=False).lower()
        for bits in (4, 0)
    )
    for name in ("checksum", "mismatch"):
        assert name in with_it
        assert name not in without
