"""The fast evaluation equals the cell-by-cell NumPy reference to the last integer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mapping_cases import CODES, SCHEMES, coded, driven_inputs, placed

from crossvote.sim.array.column_map import ColumnMap
from crossvote.sim.array.crossbar import read_cells, reference_outputs
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import GroupImage, Image
from crossvote.swstack.inference import cell_program, products
from crossvote.swstack.inference.cell_program import CellProgram, cells_from
from crossvote.swstack.inference.convert import ProgrammedGroup
from crossvote.swstack.inference.crossbar_linear import CrossbarLinear
from crossvote.swstack.inference.dense_program import DenseProgram
from crossvote.swstack.inference.placed_group import PlacedGroup
from crossvote.swstack.inference.products import integer_matmul
from crossvote.swstack.mapping.schemes.replicas import Replicas


def on_chip(
    group: GroupImage, faults: FaultMap | None, input_bits: int = 8, dense_from: float | None = None, **options
) -> ProgrammedGroup:
    placed_group = PlacedGroup(group)
    layers = tuple(CrossbarLinear(placed_group, matrix, input_bits, **options) for matrix in group.matrices)
    programmed = ProgrammedGroup(placed_group, layers, dense_from)
    programmed.program(faults)
    return programmed


def outputs(programmed: ProgrammedGroup, x: np.ndarray, dtype: torch.dtype = torch.int8) -> np.ndarray:
    inputs = torch.from_numpy(x).to(dtype)
    return torch.cat([layer.integer_outputs(inputs) for layer in programmed.layers], dim=1).numpy()


def chip(group: GroupImage, rate: float, seed: int) -> FaultMap:
    crossbars = Image((group,), {}, 8, 8).crossbars
    return FaultMap.sample(group.rows, group.columns, crossbars, rate, np.random.SeedSequence(seed))


protections = st.builds(
    lambda flip, replicas, vote, placement: Replicas(
        flip=flip, replicas=replicas, vote=vote if replicas else "none", placement=placement
    ),
    st.sampled_from(["none", "msb", "all"]),
    st.dictionaries(st.sampled_from(["msb", "msb-1", "0"]), st.sampled_from([3, 5]), max_size=3),
    st.sampled_from(["output", "crossbar", "alone"]),
    st.sampled_from(["in_place", "packed"]),
)


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 2**31),
    protection=protections,
    planes=st.sampled_from([3, 7, 9]),
    cell_bits=st.sampled_from([1, 1, 2]),
    rate=st.sampled_from([0.0, 0.005, 0.05, 0.5, 1.0]),
    inputs=st.integers(1, 40),
    count=st.integers(1, 20),
    dense_from=st.sampled_from([0.0, 2.0]),
)
def test_outputs_equal_the_reference(seed, protection, planes, cell_bits, rate, inputs, count, dense_from):
    rng = np.random.default_rng(seed)
    _, group = placed(rng, protection, planes=planes, first_pair=2, cell_bits=cell_bits, inputs=inputs, outputs=count)
    faults = chip(group, rate, seed)
    x = driven_inputs(rng, group)
    expected = reference_outputs(group, x, 8, 8, faults)
    np.testing.assert_array_equal(outputs(on_chip(group, faults, dense_from=dense_from), x), expected)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    code=st.sampled_from(sorted(CODES)),
    vote=st.sampled_from(["output", "crossbar", "alone"]),
    flipped=st.sampled_from([(), (6,), tuple(range(7))]),
    rate=st.sampled_from([0.0, 0.01, 0.1, 0.5]),
    inputs=st.integers(1, 40),
    broken=st.booleans(),
    dense_from=st.sampled_from([0.0, 2.0]),
)
def test_codes_equal_the_reference(seed, code, vote, flipped, rate, inputs, broken, dense_from):
    rng = np.random.default_rng(seed)
    quantized, group = coded(rng, CODES[code], vote, flipped, inputs=inputs)
    x = driven_inputs(rng, group)
    if broken:  # programmed differently in each copy
        cells = np.unpackbits(group.cells, axis=-1)
        cells[:, :inputs] ^= rng.random(cells[:, :inputs].shape) < 0.05
        group = dataclasses.replace(group, cells=np.packbits(cells, axis=-1))
    else:
        np.testing.assert_array_equal(reference_outputs(group, x, 8, 8), x @ quantized.q)
    faults = chip(group, rate, seed)
    got = outputs(on_chip(group, faults, dense_from=dense_from), x)
    np.testing.assert_array_equal(got, reference_outputs(group, x, 8, 8, faults))


def test_a_summed_code_needs_no_corrections():
    rng = np.random.default_rng(13)
    _, group = coded(rng, CODES["mean5"], "none")
    assert all(not layer.corrections for layer in on_chip(group, chip(group, 0.2, 1)).layers)


@pytest.mark.parametrize("code", ["mean5", "vote5"])
def test_many_faults_are_programmed_cell_by_cell_on_a_processor(code):
    """From ``cells_from`` on, without leaving a trace for the chips that follow."""
    rng = np.random.default_rng(14)
    _, group = coded(rng, CODES[code], "none" if code == "mean5" else "crossbar")
    x = driven_inputs(rng, group)
    programmed = on_chip(group, None)
    limit = cells_from(code == "vote5")
    assert programmed.dense is None
    for rate, used in ((limit / 4, False), (4 * limit, True), (limit / 4, True)):
        faults = chip(group, rate, 2)
        programmed.program(faults)
        assert (programmed.dense is not None) == used
        assert programmed.all_at_once == (rate > limit)
        np.testing.assert_array_equal(outputs(programmed, x), reference_outputs(group, x, 8, 8, faults))


def test_crossbars_that_vote_alone_have_a_median_each():
    """v = median of the sums of positive crossbars minus that of negative ones per row block; flipped lines: minus."""
    rng = np.random.default_rng(16)
    _, group = coded(rng, CODES["vote5"], "alone")
    faults, x = chip(group, 0.2, 4), driven_inputs(rng, group)
    y = np.zeros((len(x), group.outputs), np.int64)
    padded = np.zeros((len(x), group.row_blocks * group.rows), np.int64)
    padded[:, : group.inputs] = np.where(group.kept_inputs, x, 0)
    for block in range(group.row_blocks):
        cells = read_cells(group, block, faults).astype(np.int64)
        sums = padded[:, block * group.rows : (block + 1) * group.rows] @ cells  # [2, V, lines]
        for places in group.column_map.vote_groups:
            for lines, output, shift in zip(places.lines, places.output, places.shift, strict=True):
                positive, negative = np.median(sums[:, :, lines], axis=2).astype(np.int64)
                y[:, output] += (positive - negative << shift) * (-1 if group.column_map.flipped[lines[0]] else 1)
    np.testing.assert_array_equal(reference_outputs(group, x, 8, 8, faults), y)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(("code", "vote"), [("mean5", "none"), ("vote5", "crossbar"), ("vote5", "alone")])
def test_the_program_for_gpus_and_that_for_processors_make_the_same_integers(code, vote, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(cell_program, "_library", lambda: None)
    rng = np.random.default_rng(15)
    _, group = coded(rng, CODES[code], vote)
    placed_group = PlacedGroup(group)
    faults = chip(group, 0.1, 3)
    other, own = DenseProgram(placed_group, torch.device("cpu")), CellProgram(placed_group)
    (weight, values), (own_weight, own_values) = other.apply(faults), own.apply(faults)
    driven = torch.from_numpy(placed_group.driven)
    assert torch.equal(weight[:, driven], own_weight[:, driven])
    assert len(values) == len(own_values) == {"none": 0, "crossbar": 1, "alone": 2}[vote]
    for one, two in zip(values, own_values, strict=True):
        assert torch.equal(one[:, driven], two[:, driven])
    x = torch.from_numpy(driven_inputs(rng, group))
    votes = [p.votes_of(v, 0, group.outputs) for p, v in ((other, values), (own, own_values))]
    sums = []
    for made in votes:
        y = torch.zeros((len(x), group.outputs), dtype=torch.int64)
        for vote in made:
            vote.add_to(y, x)
        sums.append(y)
    assert torch.equal(*sums)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_chips_can_be_swapped_and_leave_no_trace(scheme):
    rng = np.random.default_rng(3)
    _, group = placed(rng, SCHEMES[scheme])
    x = driven_inputs(rng, group)
    programmed = on_chip(group, None, dense_from=0.1)
    chips = [chip(group, rate, seed) for seed, rate in enumerate((0.3, 0.02, 1.0, 0.2))]
    for faults in (*chips, None, *chips[1:]):
        programmed.program(faults)
        np.testing.assert_array_equal(outputs(programmed, x), reference_outputs(group, x, 8, 8, faults))


@pytest.mark.parametrize("stuck_at", [False, True])
def test_a_chip_of_nothing_but_stuck_cells_computes_nothing(stuck_at):
    rng = np.random.default_rng(4)
    _, group = placed(rng, SCHEMES["best"])
    size = Image((group,), {}, 8, 8).crossbars * group.rows * group.columns
    faults = FaultMap(
        group.rows,
        group.columns,
        size // group.rows // group.columns,
        np.arange(size),
        np.full(size, stuck_at),
    )
    assert not outputs(on_chip(group, faults), driven_inputs(rng, group)).any()


@pytest.mark.parametrize("input_bits", [2, 5, 12])
def test_other_input_widths(input_bits):
    rng = np.random.default_rng(5)
    _, group = placed(rng, SCHEMES["two planes, crossbar"], planes=9)
    faults = chip(group, 0.1, 5)
    x = np.where(group.kept_inputs, rng.integers(-(2 ** (input_bits - 1)), 2 ** (input_bits - 1), (5, group.inputs)), 0)
    got = outputs(on_chip(group, faults, input_bits), x, torch.int8 if input_bits <= 8 else torch.int32)
    np.testing.assert_array_equal(got, reference_outputs(group, x, input_bits, 8, faults))


@pytest.mark.parametrize("cell_bits", [1, 2])
def test_images_the_compiler_would_not_write_are_exact_too(cell_bits):
    """Both cells of a pair at 1, and replicas that were programmed differently."""
    rng = np.random.default_rng(6)
    _, group = placed(rng, SCHEMES["two planes, output"], cell_bits=cell_bits)
    bits = len(group.column_map) * cell_bits
    cells = np.unpackbits(group.cells, axis=-1, count=bits)
    cells[:, : group.inputs] ^= rng.random((2, group.inputs, bits)) < 0.05
    changed = dataclasses.replace(group, cells=np.packbits(cells, axis=-1))
    x = driven_inputs(rng, group)
    for faults in (None, chip(group, 0.05, 6)):
        np.testing.assert_array_equal(outputs(on_chip(changed, faults), x), reference_outputs(changed, x, 8, 8, faults))


def test_a_minority_of_wrong_replicas_costs_nothing_and_a_majority_is_corrected():
    rng = np.random.default_rng(7)
    quantized, group = placed(rng, SCHEMES["best"])
    output = int(group.column_map.output[group.column_map.used][0])
    lines = np.flatnonzero((group.column_map.output == output) & (group.column_map.plane == 6))
    k = int(np.flatnonzero(group.kept_inputs & (quantized.q[:, output] > 0))[0])

    def stuck(lines_hit: np.ndarray) -> FaultMap:
        block, word_line = divmod(k, group.rows)
        pair = group.pair(block, 0) + lines_hit // group.columns
        area = group.rows * group.columns
        at = word_line * group.columns + lines_hit % group.columns
        cells = np.sort(np.concatenate([2 * pair * area + at, (2 * pair + 1) * area + at]))
        # The positive cell at 1, the negative one at 0: a flipped plane reads -1, never so at a positive weight.
        return FaultMap(group.rows, group.columns, 2 * group.pairs, cells, cells // area % 2 == 0)

    one, two = (on_chip(group, stuck(lines[:count]), dense_from=2.0) for count in (1, 2))
    assert [len(layer.corrections) for layer in one.layers] == [0, 0]
    assert sum(len(layer.corrections) for layer in two.layers) == 1
    x = driven_inputs(rng, group)
    np.testing.assert_array_equal(outputs(two, x), reference_outputs(group, x, 8, 8, stuck(lines[:2])))


def test_large_sums_stay_exact():
    """K so large that float32 sums would round: the fall-back must split them."""
    x = torch.full((2, 5000), -128, dtype=torch.int8)
    x[0, 0] = 127
    weight = torch.full((3, 5000), 127, dtype=torch.int8)
    expected = [[-128 * 127 * 4999 + 127 * 127] * 3, [-128 * 127 * 5000] * 3]
    assert integer_matmul(x, weight).tolist() == expected
    wide = integer_matmul(x.int() * 256, weight.short())
    assert (wide == 256 * torch.tensor(expected)).all()


@pytest.mark.parametrize("compiled", [True, False])
def test_without_the_integer_product_the_fall_backs_are_exact(compiled, monkeypatch):
    monkeypatch.setattr(products, "integer_matmul_is_exact", lambda device_type: False)
    if not compiled:
        monkeypatch.setattr(products, "packed", lambda weight, places=None: None)
    test_large_sums_stay_exact()


@pytest.mark.parametrize(("magnitude", "parts"), [(40, 1), (42, 1), (43, 4), (127, 4)])
def test_float_products_are_exact_to_the_limit(magnitude, parts, monkeypatch):
    """3,100 weights of 42 add up to less than 2^17, those of 43 to more, which is not trusted."""
    monkeypatch.setattr(products, "integer_matmul_is_exact", lambda device: False)
    weight = torch.full((3, 3100), magnitude, dtype=torch.int8)
    weight[1, ::2] *= -1
    weight[2] = 1
    x = torch.full((5, 3100), -128, dtype=torch.int8)
    x[1, ::2] = 127
    x[2:] = torch.randint(-128, 128, (3, 3100), generator=torch.Generator().manual_seed(0)).to(torch.int8)
    own = products.float_parts(weight)
    assert own is not None
    assert len(own) == parts
    assert torch.equal(products.float_product(x.float(), own).long(), x.long() @ weight.long().T)


@pytest.mark.parametrize("activations", ["token", "tensor", "static"])
@pytest.mark.parametrize("scheme", ["none", "paper", "best"])
def test_forward_scales_the_integers_and_adds_the_bias(scheme, activations):
    rng = np.random.default_rng(8)
    _, group = placed(rng, SCHEMES[scheme])
    n = group.matrices[0].outputs
    scale = rng.uniform(0.01, 0.02, n if scheme == "best" else 1).astype(np.float32)
    first = dataclasses.replace(group.matrices[0], scale=scale, bias=rng.normal(size=n).astype(np.float32))
    group = dataclasses.replace(group, matrices=(first, *group.matrices[1:]))
    options = {"input_step": 0.02} if activations == "static" else {}
    faults = chip(group, 0.05, 8)
    layer = on_chip(group, faults, activations=activations, **options).layers[0]

    x = rng.normal(size=(2, 3, group.inputs)).astype(np.float32)
    driven = np.where(group.kept_inputs, x, 0).reshape(6, -1)
    step = np.full((6, 1), 0.02, np.float32)
    if activations == "token":
        step = np.abs(driven).max(axis=1, keepdims=True) / np.float32(127)
    elif activations == "tensor":
        step[:] = np.abs(driven).max() / np.float32(127)
    q = np.clip(np.rint(driven / step), -127, 127).astype(np.int64)
    y = reference_outputs(group, q, 8, 8, faults)[:, :n] * step.astype(float) * scale + first.bias
    np.testing.assert_allclose(layer(torch.from_numpy(x)).numpy(), y.reshape(2, 3, n), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_float_activations_see_the_same_faults(scheme):
    """For integer-valued inputs the float path gives the same numbers."""
    rng = np.random.default_rng(9)
    _, group = placed(rng, SCHEMES[scheme])
    faults = chip(group, 0.1, 9)
    x = driven_inputs(rng, group)
    layers = on_chip(group, faults, activations="float").layers
    y = torch.cat([layer(torch.from_numpy(x).float()) for layer in layers], dim=1)
    np.testing.assert_array_equal(y.numpy(), reference_outputs(group, x, 8, 8, faults))
    layers = on_chip(group, faults, activations="float", dense_from=2.0).layers
    y = torch.cat([layer(torch.from_numpy(x).float()) for layer in layers], dim=1)
    np.testing.assert_array_equal(y.numpy(), reference_outputs(group, x, 8, 8, faults))


@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 2**31),
    protection=protections,
    cell_bits=st.sampled_from([1, 1, 2]),
    rate=st.sampled_from([0.0, 0.005, 0.05, 0.3, 1.0]),
    inputs=st.sampled_from([1, 15, 16, 17, 40, 600]),
    outputs_=st.sampled_from([1, 2, 8, 9, 13, 40]),
    vectors=st.sampled_from([1, 5, 64, 131]),
    bits=st.sampled_from([2, 8]),
    activations=st.sampled_from(["token", "tensor", "static"]),
    dense_from=st.sampled_from([0.0, 2.0]),
)
def test_the_compiled_product_votes_bit_for_bit_as_torch_does(
    seed, protection, cell_bits, rate, inputs, outputs_, vectors, bits, activations, dense_from
):
    """Lists of more than 256 errors, crossbars that vote each, several replicas, pruned outputs, odd sizes."""
    rng = np.random.default_rng(seed)
    _, group = placed(rng, protection, cell_bits=cell_bits, inputs=inputs, outputs=outputs_)
    scaled = tuple(
        dataclasses.replace(
            m, scale=rng.random(m.outputs).astype(np.float32), bias=rng.normal(size=m.outputs).astype("f")
        )
        for m in group.matrices
    )
    group = dataclasses.replace(group, matrices=scaled)
    options = {"input_step": 0.02} if activations == "static" else {}
    layers = on_chip(group, chip(group, rate, seed), bits, dense_from, activations=activations, **options).layers
    x = torch.from_numpy(rng.normal(size=(vectors, inputs)).astype(np.float32))
    x[0] = torch.from_numpy(rng.choice(np.float32([-1, 1, 0.5, 0]), inputs))
    x[-1, 0] = rng.choice([3e38, 1e-40, -0.0, 40.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "integer_matmul_is_exact", lambda device_type: False)
        compiled = [layer(x) for layer in layers]
        patch.setattr(products, "packed", lambda weight, places=None: None)
        for layer, own in zip(layers, compiled, strict=True):
            np.testing.assert_array_equal(own.numpy(), layer(x).numpy())


def test_many_vectors_are_computed_in_parts_alike():
    rng = np.random.default_rng(10)
    _, group = placed(rng, SCHEMES["two planes, crossbar"])
    layer = on_chip(group, chip(group, 0.2, 1)).layers[0]
    x = torch.randn(1000, group.inputs, generator=torch.Generator().manual_seed(0))
    together = layer(x)
    alone = torch.cat([layer(part) for part in x.split(7)])
    assert torch.equal(together, alone)
    assert layer(x[:0]).shape == (0, layer.out_features)


def test_wrong_number_of_inputs_is_one_sentence():
    rng = np.random.default_rng(11)
    _, group = placed(rng, SCHEMES["none"])
    layer = on_chip(group, None).layers[0]
    with pytest.raises(ValueError, match="matrix m0 takes 40 inputs, not 39"):
        layer(torch.zeros(1, 39))
    with pytest.raises(ValueError, match="static activations need"):
        on_chip(group, None, activations="static")


def test_a_group_without_kept_outputs_gives_zero():
    rng = np.random.default_rng(12)
    _, group = placed(rng, SCHEMES["best"], pruned=1.0)
    assert isinstance(group.column_map, ColumnMap)
    y = outputs(on_chip(group, chip(group, 0.5, 0)), driven_inputs(rng, group))
    assert y.shape == (7, 13)
    assert not y.any()
