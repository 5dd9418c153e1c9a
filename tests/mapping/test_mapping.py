"""Every bit of every kept output has one home per replica, and the report counts real crossbars."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapping_cases import SCHEMES, driven_inputs, placed, random_masks, tiny_model

from crossvote.sim.array.column_map import ColumnMap
from crossvote.sim.array.crossbar import reference_outputs
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image, MatrixImage
from crossvote.sim.common.errors import UserError
from crossvote.swstack.mapping.config import QuantizationConfig
from crossvote.swstack.mapping.cost import mapping_report
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.mapping.placement import place_outputs
from crossvote.swstack.mapping.programming import QuantizedGroup, place_group, program
from crossvote.swstack.mapping.scheme import Allocation, Term
from crossvote.swstack.mapping.schemes.replicas import Replicas
from crossvote.swstack.models.layouts import matrix_weight, word_line_groups
from crossvote.swstack.models.masks import MatrixMask


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    scheme=st.sampled_from(sorted(SCHEMES)),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 40),
    pruned=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
)
def test_every_weight_bit_of_every_kept_output_has_one_home_per_replica(seed, scheme, inputs, outputs, pruned):
    rng = np.random.default_rng(seed)
    protection = SCHEMES[scheme]
    group, image = placed(rng, protection, inputs=inputs, outputs=outputs, pruned=pruned)
    column_map = image.column_map
    counts, flipped = protection.replica_counts(7), protection.flipped_planes(7)

    lines = np.flatnonzero(column_map.used)
    homes = list(
        zip(*(a[lines].tolist() for a in (column_map.output, column_map.plane, column_map.replica)), strict=True)
    )
    kept = np.flatnonzero(group.kept_outputs).tolist()
    wanted = [(j, b, r) for j in kept for b in range(7) for r in range(counts[b])]
    assert sorted(homes) == wanted  # each once: no line holds two things, so no cell is used twice

    parts = np.stack([np.maximum(group.q, 0), np.maximum(-group.q, 0)])
    cells = np.concatenate([image.block_cells(block) for block in range(image.row_blocks)], axis=1)
    for line, (j, b, _) in zip(lines, homes, strict=True):
        assert column_map.flipped[line] == flipped[b]
        np.testing.assert_array_equal(cells[:, :inputs, line], (parts[:, :, j] >> b & 1) ^ flipped[b])
    assert not cells[:, inputs:].any()
    assert not cells[:, :, ~column_map.used].any()


@pytest.mark.parametrize("cell_bits", [1, 2])
@pytest.mark.parametrize("planes", [3, 6, 7])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_programmed_chip_multiplies(scheme, planes, cell_bits):
    rng = np.random.default_rng(1)
    group, image = placed(rng, SCHEMES[scheme], planes=planes, cell_bits=cell_bits)
    x = driven_inputs(rng, image)
    np.testing.assert_array_equal(reference_outputs(image, x, 8, 8), x @ group.q)


def test_two_planes_share_a_two_bit_cell():
    """Seven planes take four bit lines; a flipped cell holds 3 minus its level; SA1 reads 3."""
    kept = np.array([True])
    q = np.array([[0b1001110], [-0b0000011]], np.int32)
    group = QuantizedGroup("g", q, (MatrixImage("m", 0, 1, np.ones(1, np.float32), None),), np.ones(2, bool), kept)
    image = place_group(group, SCHEMES["paper"], 7, rows=2, columns=8, cell_bits=2)
    used = image.column_map.used
    assert image.column_map.plane[used].tolist() == [0, 2, 4, 6, 6, 6]
    assert image.column_map.flipped[used].tolist() == [False] * 3 + [True] * 3
    assert image.block_cells(0)[:, :, used].tolist() == [
        [[2, 3, 0, 2, 2, 2], [0, 0, 0, 3, 3, 3]],
        [[0, 0, 0, 3, 3, 3], [3, 0, 0, 3, 3, 3]],
    ]
    line = int(np.flatnonzero(used)[0])
    faults = FaultMap(2, 8, image.pairs * 2, np.array([line]), np.array([True]))
    x = np.array([[1, 0]])
    assert reference_outputs(image, x, 8, 8, faults)[0, 0] == 0b1001110 + 1
    report = mapping_report(Image((image,), {}, 8, 8))[0]
    assert report.hosts_needed == 2
    assert report.column_map_bits == 2 * 2  # one output of four bit lines


def test_an_image_of_two_bit_cells_survives_a_round_trip(tmp_path):
    model = tiny_model()
    one = build_image(model, word_line_groups(model), None, SCHEMES["best"], rows=16, columns=32)
    two = build_image(
        model, word_line_groups(model), None, SCHEMES["best"], QuantizationConfig(), rows=16, columns=32, cell_bits=2
    )
    two.save(tmp_path / "two")
    loaded = Image.load(tmp_path / "two")
    assert loaded.content_hash == two.content_hash != one.content_hash
    assert loaded.groups[0].cell_bits == 2
    assert two.crossbars < one.crossbars


def test_in_place_keeps_the_dense_layout_and_prefers_near_holes():
    kept = np.array([True, True, False, True, True, True, True, False, False])
    code = (Term(0, 0), Term(1, 1), Term(2, 2, 3, flipped=True))
    allocation = Allocation.uniform(code, kept, "output")
    column_map = place_outputs(allocation, 3, columns=10, placement="in_place")  # 3 outputs per block
    for j in np.flatnonzero(kept):
        first = j // 3 * 10 + j % 3 * 3
        assert column_map.output[first : first + 3].tolist() == [j] * 3
        assert column_map.plane[first : first + 3].tolist() == [0, 1, 2]
        assert not column_map.replica[first : first + 3].any()
    # Outputs 0 and 1 need 4 lines, their block has a hole of 3: the fourth goes to block 2, as block 1 has none.
    assert column_map.output[6:9].tolist() == [0, 0, 1]
    assert column_map.output[9] == -1  # beyond the last whole output: not a hole
    assert column_map.output[23:29].tolist()[:2] == [6, 6]
    assert sorted(column_map.output[column_map.replica > 0].tolist()) == [0, 0, 1, 1, 3, 3, 4, 4, 5, 5, 6, 6]
    assert len(column_map) == 40  # 12 replicas, 9 holes: a block was appended


@pytest.mark.parametrize("placement", ["in_place", "packed"])
@pytest.mark.parametrize(
    ("outputs", "in_place", "packed"),
    [(768, 171, 166), (3072, 683, 678), (2304, 512, 512)],
)
def test_least_pruned_columns_for_zero_space_with_three_msb_replicas(outputs, in_place, packed, placement):
    """Crossbar counts of 128 x 128, B = 7, two extra bit lines per kept output, derived by hand: 7 lines per pruned
    output against 2 per kept one, and 14 protected outputs per crossbar against 18 dense ones."""
    code = tuple(Term(plane, plane, 3 if plane == 6 else 1) for plane in range(7))
    dense_blocks = -(-outputs // 18)

    def blocks(pruned: int) -> int:
        kept = np.ones(outputs, np.bool_)
        kept[np.linspace(0, outputs - 1, pruned).astype(int)] = False
        return len(place_outputs(Allocation.uniform(code, kept, "output"), 7, 128, placement)) // 128

    least = {"in_place": in_place, "packed": packed}[placement]
    assert blocks(least) <= dense_blocks
    assert blocks(least - 1) > dense_blocks


def test_report_of_a_group_counted_by_hand():
    kept = np.ones(40, np.bool_)
    kept[[3, 20, 39]] = False
    q = np.ones((200, 40), np.int32) * kept
    group = QuantizedGroup("g", q, (MatrixImage("m", 0, 40, np.ones(1, np.float32), None),), np.arange(200) > 9, kept)
    scheme = Replicas(replicas={"msb": 3}, vote="output")
    report = mapping_report(Image((place_group(group, scheme, 7, 128, 128),), {}, 8, 8))[0]
    assert (report.crossbars, report.dense_crossbars) == (2 * 2 * 4, 2 * 2 * 3)
    assert not report.zero_space
    assert report.overhead == pytest.approx(1 / 3)
    assert (report.hosts_needed, report.hosts_available) == (2 * 37, 3 * 7)
    assert report.occupied_holes == 21
    assert report.appended_lines == 2 * 37 - 21
    assert report.column_map_entries == 2 * 37
    assert report.column_map_bits == 2 * 37 * 9  # 40 outputs x 7 planes need 9 bits
    assert (report.kept_outputs, report.kept_inputs) == (37, 190)
    appended = report.appended_lines
    assert report.outputs_protected_in_dense in (37 - appended // 2, 37 - appended // 2 - 1)


def test_unprotected_in_place_is_the_dense_mapping():
    rng = np.random.default_rng(0)
    group, image = placed(rng, SCHEMES["none"])
    report = mapping_report(Image((image,), {}, 8, 8))[0]
    assert report.crossbars == report.dense_crossbars
    assert report.occupied_holes == report.column_map_entries == report.hosts_needed == 0
    assert report.former_holes == 7 * int((~group.kept_outputs).sum())


def test_a_model_is_mapped_group_by_group_with_its_masks(tmp_path):
    model = tiny_model()
    masks = random_masks(model)
    image = build_image(model, word_line_groups(model), masks, SCHEMES["best"], rows=16, columns=32, name="best")
    assert image.protection["name"] == "best"
    assert [g.name for g in image.groups] == [g.name for g in word_line_groups(model)]
    pair = 0
    for group in image.groups:
        assert group.first_pair == pair
        pair += group.pairs
    group = image.groups[0]
    name = group.matrices[1].name
    matrix, mask = group.matrix(name), masks[name]
    expected = np.where(mask.rows[:, None] & mask.columns, matrix_weight(model, name).numpy(), 0)
    x = np.eye(group.inputs, dtype=np.int64)
    got = reference_outputs(group, x, 8, 8)[:, matrix.first_output : matrix.first_output + matrix.outputs]
    assert np.abs(got * matrix.scale - expected).max() <= 0.5001 * matrix.scale.max()
    image.save(tmp_path / "image")
    assert Image.load(tmp_path / "image").content_hash == image.content_hash


def test_mapping_leaves_the_model_as_it_is():
    model = tiny_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    image = build_image(model, word_line_groups(model), random_masks(model), SCHEMES["paper"], rows=16, columns=32)
    assert all((before[name] == tensor).all() for name, tensor in model.state_dict().items())
    bias = image.groups[0].matrices[0].bias
    assert bias is not None
    model.get_submodule(image.groups[0].matrices[0].name).bias.data += 1
    assert not np.shares_memory(bias, model.get_submodule(image.groups[0].matrices[0].name).bias.detach().numpy())


def test_bad_input_is_one_sentence():
    model = tiny_model()
    groups = word_line_groups(model)
    name = groups[0].matrices[0]
    with pytest.raises(UserError, match=f"{name} is for 3 inputs x 32 outputs"):
        build_image(model, groups, {name: MatrixMask(np.ones(3, bool), np.ones(32, bool))}, Replicas())
    with pytest.raises(UserError, match="takes 9 bit lines, more than the 8"):
        build_image(model, groups, None, SCHEMES["best"], columns=8)
    matrix_weight(model, name)[2, 5] = float("nan")
    with pytest.raises(UserError, match=f"{name}.*NaN or infinity in output 5"):
        build_image(model, groups, None, Replicas())


def test_programming_sets_each_bit_where_the_column_map_says():
    column_map = ColumnMap(
        np.array([0, -1, 0, -1], np.int32),
        np.array([1, 0, 0, 0], np.int8),
        np.zeros(4, np.int8),
        np.array([True, False, False, False]),
    )
    q = np.array([[2], [-3], [1]], np.int32)
    cells = np.unpackbits(program(q, column_map, rows=4), axis=-1, count=4)
    np.testing.assert_array_equal(cells[0], [[0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(cells[1], [[1, 0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
