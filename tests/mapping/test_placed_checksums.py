"""Checksum bit lines that schemes place: what they hold, where they lie, what OPCs then count, and what is refused."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch
from mapping_cases import quantized

from crossvote.sim.array.checksum import mismatches
from crossvote.sim.array.column_map import ColumnMap
from crossvote.sim.array.crossbar import reference_outputs
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import GroupImage, Image
from crossvote.sim.chip.components.opc import opc_parameters
from crossvote.sim.chip.config import ChipConfig, load_chip
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral import create_peripheral
from crossvote.sim.peripheral.support import check_image, group_demand, refusal
from crossvote.sim.peripheral.tile_backend import NumpyTile
from crossvote.sim.system.cosim import CosimRequest, cosimulate
from crossvote.sim.system.group_work import GroupWork
from crossvote.swstack.inference.checksums import checksum_mismatches
from crossvote.swstack.mapping.cost import mapping_report
from crossvote.swstack.mapping.demand import scheme_demand
from crossvote.swstack.mapping.programming import place_group
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.mapping.scheme import Scheme, scheme_from
from crossvote.swstack.mapping.schemes.fixed import Fixed
from crossvote.swstack.mapping.schemes.replicas import Replicas

BLIND = [name for name, scheme in PRESETS.items() if not scheme.knows_faults]
ROWS, COLUMNS = 16, 48


def checked(name: str, bits: int = 3) -> Scheme:
    return dataclasses.replace(PRESETS[name], checksum_bits=bits)


def chip(opc_columns: int = COLUMNS, bits: int = 3, **sections: dict) -> ChipConfig:
    small = {
        "crossbar": {"rows": ROWS, "columns": COLUMNS},
        "opc": {"columns": opc_columns, "lanes": 4, "row_blocks": 8, "checksum_bits": bits},
    }
    return load_chip("crossvote", small | sections)


def group(scheme: Scheme, opc_columns: int = COLUMNS, seed: int = 5, **sizes) -> GroupImage:
    own = quantized(np.random.default_rng(seed), **{"inputs": 40, "outputs": 30, **sizes})
    return place_group(own, scheme, 7, ROWS, COLUMNS, 2, 1, opc_columns, opc_columns // 7)


def faults_of(image: GroupImage, rate: float, seed: int = 1) -> FaultMap:
    crossbars = 2 * (image.first_pair + image.pairs)
    return FaultMap.sample(ROWS, COLUMNS, crossbars, rate, np.random.SeedSequence(seed))


def corners(rng: np.random.Generator, image: GroupImage) -> np.ndarray:
    """Inputs at the ends of their range, zeros, single word lines, and random ones; undriven ones are 0."""
    k = image.inputs
    x = [np.full(k, value) for value in (-128, 127, 0, -1, 1)]
    x += [*(np.eye(k, dtype=np.int64)[rng.integers(k, size=4)] * -128), *rng.integers(-128, 128, (6, k))]
    return np.stack(x) * image.kept_inputs


@pytest.mark.parametrize("name", BLIND)
@pytest.mark.parametrize(("opc_columns", "bits"), [(48, 3), (36, 1), (52, 16)])
def test_every_output_peripheral_has_a_checksum_that_holds(name, opc_columns, bits):
    image = group(checked(name, bits), opc_columns)
    own = image.column_map
    assert own.checksum_bits == bits
    bundles = image.bundles(opc_columns, opc_columns // 7)
    assert len(bundles) == own.checksums > 1
    lines = np.concatenate([bundle.lines for bundle in bundles])
    np.testing.assert_array_equal(np.sort(lines), np.flatnonzero(own.read))
    x = corners(np.random.default_rng(0), image)
    blocks = [range(block, block + 1) for block in range(image.row_blocks)]
    for spans in (blocks, [range(image.row_blocks)]):
        assert not mismatches(image, x, None, spans, range(own.checksums)).any()
    # Outputs give what they gave; a code that fills all lines there are is another one.
    if not name.startswith("code"):
        plain = group(PRESETS[name], opc_columns)
        np.testing.assert_array_equal(reference_outputs(image, x, 8, 8), reference_outputs(plain, x, 8, 8))


@pytest.mark.parametrize("name", ["none", "paper", "best", "code", "vote5", "code-apart"])
@pytest.mark.parametrize("opc_columns", [48, 36, 64])
@pytest.mark.parametrize("rate", [0.0, 0.002, 0.1])
def test_torch_numpy_and_the_cells_count_the_same(name, opc_columns, rate):
    image, own = group(checked(name), opc_columns), chip(opc_columns)
    faults, x = faults_of(image, rate), corners(np.random.default_rng(3), image)
    for make_tile in (None, NumpyTile):
        request = CosimRequest(
            image, x, lambda: create_peripheral("numpy", opc_parameters(own)), faults, quantum=5, make_tile=make_tile
        )
        found = cosimulate(request, own)
        assert found.mismatches == 0
        assert found.checksums == tuple(range(image.column_map.checksums))
        assert found.checksum_mismatches == found.checksum_reference
        assert (found.checksum_mismatches > 0) == (rate > 0)
        again = checksum_mismatches(image, torch.from_numpy(x), faults, found.spans, found.checksums)
        assert again == found.checksum_mismatches


def test_one_wrong_cell_is_counted_where_its_input_is_no_multiple():
    """Of an output's line and of a checksum's; all other OPCs are silent."""
    image, own = group(checked("best")), chip()
    covered, held = image.column_map.checked_lines(1)
    x = np.zeros((256, image.inputs), np.int64)
    row = int(np.flatnonzero(image.kept_inputs[ROWS : 2 * ROWS])[0])
    x[:, ROWS + row] = np.arange(-128, 128)
    for line, counts in [(int(covered[3]), 1), *((int(line), 1 << bit) for bit, line in enumerate(held))]:
        crossbar = 2 * image.pair(1, line // COLUMNS)
        cell = (crossbar * ROWS + row) * COLUMNS + line % COLUMNS
        read = 1 - image.block_cells(1)[0, row, line]
        faults = FaultMap(ROWS, COLUMNS, 2 * (image.first_pair + image.pairs), np.array([cell]), np.array([bool(read)]))
        request = CosimRequest(image, x, lambda: create_peripheral("numpy", opc_parameters(own)), faults)
        found = cosimulate(request, own)
        expected = int((np.arange(-128, 128) * counts % 8 != 0).sum())
        assert (found.checksum_mismatches, found.checksum_reference) == (expected, expected)


def test_images_keep_checksums_and_others_have_none(tmp_path):
    image = Image((group(checked("best")),), {"name": "best"}, 8, 8)
    image.save(tmp_path / "a.safetensors")
    again = Image.load(tmp_path / "a.safetensors")
    for name in ("check", "checksum"):
        np.testing.assert_array_equal(
            getattr(again.groups[0].column_map, name), getattr(image.groups[0].column_map, name)
        )
    unchecked = dataclasses.replace(image.groups[0].column_map, check=None, checksum=None)
    other = Image((dataclasses.replace(image.groups[0], column_map=unchecked),), {"name": "best"}, 8, 8)
    assert other.content_hash != image.content_hash
    _, arrays = Image((group(PRESETS["best"]),), {"name": "best"}, 8, 8)._content()
    assert not [name for name in arrays if "check" in name]


@pytest.mark.parametrize("name", ["code", "code-group", "mean5"])
def test_checksums_take_no_crossbars_where_the_scheme_leaves_room(name):
    own = quantized(np.random.default_rng(5), inputs=40, outputs=300)
    report, dense = (
        mapping_report(Image((place_group(own, scheme, 7, 128, 128),), {}, 8, 8))[0]
        for scheme in (checked(name, 4), PRESETS[name])
    )
    assert report.zero_space
    assert dense.zero_space


def test_packed_outputs_leave_room_for_the_checksum_of_their_crossbar():
    own = quantized(np.random.default_rng(5), inputs=40, outputs=300)
    column_map = place_group(own, checked("best", 4), 7, 128, 128).column_map
    blocks = np.arange(len(column_map)) // 128
    for number in range(column_map.checksums):
        covered, held = column_map.checked_lines(number)
        assert len(set(blocks[covered]) | set(blocks[held])) == 1


def test_the_system_model_charges_lines_reads_and_steps():
    own = chip()
    plain, more = group(PRESETS["best"]), group(checked("best"))
    before, after = GroupWork.from_image(plain, own), GroupWork.from_image(more, own)
    extra = 3 * more.column_map.checksums
    assert after.lines.sum() == before.lines.sum() + extra
    assert after.opc_lines.sum() == before.opc_lines.sum() + extra
    assert after.programmed == before.programmed + 2 * extra * int(plain.kept_inputs.sum())
    assert after.conducting > before.conducting
    assert (after.kept, after.sums, after.votes) == (before.kept, before.sums, before.votes)
    bare = GroupWork.from_image(group(PRESETS["none"]), own)
    assert bare.variant == "plain"
    assert GroupWork.from_image(group(checked("none")), own).variant == "map"


@pytest.mark.parametrize(
    ("scheme", "own", "message"),
    [
        (checked("best", 4), chip(), "checksums of 4 bits are placed, but chip.opc.checksum_bits = 3"),
        (checked("none", 3), chip(adc={"bits": 4, "may_clip": True}), "holds for exact sums only, and codes clip"),
        (checked("none", 3), chip(cell={"variation": 0.1}), r"exact sums only, and codes are not .*variation = 0.1"),
        (
            Replicas(checksum_bits=3),
            chip(opc_columns=8),
            "an output and its checksum take 10 bit lines, but chip.opc.columns = 8",
        ),
        (
            Replicas(checksum_bits=3),
            load_chip("crossvote", {"crossbar": {"cell_bits": 2}, "adc": {"bits": 9}, "opc": {"checksum_bits": 3}}),
            "checksums are for 1-bit cells",
        ),
    ],
)
def test_what_cannot_be_checked_is_refused(scheme, own, message):
    for engine in ("fast", "explicit", "numpy", "verilator", "tile", "system"):
        demand = scheme_demand(scheme, 7, own.crossbar.cell_bits)
        assert re.search(message, refusal(own, demand, engine) or ""), engine


def test_an_image_is_refused_by_a_chip_that_cannot_check_it():
    image = group(checked("best"))
    assert group_demand(image).checksum_bits == 3
    with pytest.raises(UserError, match=r"checksums of 3 bits are placed, but chip\.opc\.checksum_bits = 0"):
        check_image(chip(bits=0), Image((image,), {}, 8, 8))
    with pytest.raises(UserError, match=r"checksum 0 takes \d+ bit lines of 5 outputs, an OPC serves 32 of 4"):
        image.bundles(32, 4)


def test_schemes_that_cannot_have_checksums_are_refused():
    with pytest.raises(UserError, match="checksum_bits is for schemes that are blind to faults"):
        scheme_from({"kind": "closest", "checksum_bits": 2})
    for bits in (0, 17):
        with pytest.raises(UserError, match="checksum_bits"):
            scheme_from({"checksum_bits": bits})
    with pytest.raises(UserError, match="take 10 bit lines, more than the 9 of an output peripheral"):
        place_group(quantized(np.random.default_rng(0)), Replicas(checksum_bits=3), 7, 16, 48, 0, 1, 9, 1)
    assert "checksums of 2 bit lines" in Fixed(lines=(1, 1), checksum_bits=2).describe()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checksum": [-1, -1, 0, 0]}, "need the bits 0 to 0"),
        ({"checksum": [-1, -1, 0, 2]}, "need the bits 0 to 2"),
        ({"checksum": [-1, 0, 1, -1], "check": [0, 0, 0, -1]}, "bit line 1 holds both a checksum and output 1"),
        ({"check": [0, -1, 0, 0]}, "bit line 1 is part of no checksum"),
        ({"checksum": [-1, -1, 0, -1]}, "bit line 3 is part of a checksum, but holds nothing"),
        ({"check": [0, 0, 1, 1]}, "2 checksums need the bits 0 to 1 on one bit line each, and outputs"),
        ({"check": [0, 0, 0]}, "for every bit line"),
    ],
)
def test_column_maps_refuse_checksums_that_are_none(changes, message):
    zeros = np.zeros(4, np.int8)
    values = {"check": [0, 0, 0, 0], "checksum": [-1, -1, 0, 1]} | changes
    arrays = {
        "check": np.array(values["check"], np.int32),
        "checksum": np.array(values["checksum"], np.int8),
    }
    output = np.array([0, 1, -1, -1], np.int32)
    with pytest.raises(UserError, match=message):
        ColumnMap(output, zeros, zeros, zeros.astype(np.bool_), **arrays)


def test_an_output_is_covered_by_one_checksum():
    zeros = np.zeros(6, np.int8)
    with pytest.raises(UserError, match="output 0 is covered by two checksums"):
        ColumnMap(
            np.array([0, 0, 1, 1, -1, -1], np.int32),
            np.array([0, 1, 0, 1, 0, 0], np.int8),
            zeros,
            zeros.astype(np.bool_),
            check=np.array([0, 1, 0, 1, 0, 1], np.int32),
            checksum=np.array([-1, -1, -1, -1, 0, 0], np.int8),
        )
