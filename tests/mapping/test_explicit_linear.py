"""The explicit path computes every ADC code as the NumPy reference does, and is chosen where it is needed."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mapping_cases import CODES, SCHEMES, coded, driven_inputs, placed, random_masks, tiny_image, tiny_model, tokens

from crossvote.sim.array import crossbar, imperfect_reads
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import GroupImage, Image
from crossvote.sim.array.imperfect_reads import loss
from crossvote.sim.array.read_model import ReadModel
from crossvote.sim.common.errors import UserError
from crossvote.swstack.inference.calibration import calibrate
from crossvote.swstack.inference.convert import convert, swap_faults
from crossvote.swstack.inference.crossbar_linear import CrossbarLinear
from crossvote.swstack.inference.explicit_linear import ExplicitLinear

MODELS = {
    "ideal": ReadModel(),
    "clipping": ReadModel(adc_bits=3),
    "coarse": ReadModel(adc_bits=3, adc_range=16),
    "narrow": ReadModel(adc_bits=5, adc_range=9.3),
    "leaking": ReadModel(on_off_ratio=7.3),
    "varying": ReadModel(variation=0.2, seed=3),
    "verified": ReadModel(variation=0.3, verified_share=0.4, verified_variation=0.05, seed=3),
    "all at once": ReadModel(adc_bits=4, adc_range=12, on_off_ratio=20, variation=0.1),
}


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    """Groups of a test then have several tiles of bit lines, the last one smaller."""
    monkeypatch.setattr(ExplicitLinear, "_TILE", 20)


def chip(group: GroupImage, rate: float, seed: int = 0) -> FaultMap:
    crossbars = Image((group,), {}, 8, 8).crossbars
    return FaultMap.sample(group.rows, group.columns, crossbars, rate, np.random.SeedSequence(seed))


def layers_of(
    group: GroupImage, model: ReadModel, faults: FaultMap | None, input_bits: int = 8
) -> list[ExplicitLinear]:
    layers = [ExplicitLinear(group, matrix, input_bits, 8, model) for matrix in group.matrices]
    for layer in layers:
        layer.program(faults)
    return layers


def outputs(layers: list[ExplicitLinear], x: np.ndarray) -> np.ndarray:
    return torch.cat([layer.integer_outputs(torch.from_numpy(x)) for layer in layers], dim=1).numpy()


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**31),
    scheme=st.sampled_from(sorted(SCHEMES)),
    model=st.sampled_from(sorted(MODELS)),
    rate=st.sampled_from([0.0, 0.02, 0.5, 1.0]),
    inputs=st.integers(1, 40),
    cell_bits=st.sampled_from([1, 2]),
)
def test_outputs_equal_the_reference(seed, scheme, model, rate, inputs, cell_bits):
    rng = np.random.default_rng(seed)
    _, group = placed(rng, SCHEMES[scheme], inputs=inputs, first_pair=1, cell_bits=cell_bits)
    faults, x = chip(group, rate, seed), driven_inputs(rng, group)
    expected = imperfect_reads.reference_outputs(group, x, 8, 8, MODELS[model], faults)
    np.testing.assert_array_equal(outputs(layers_of(group, MODELS[model], faults), x), expected)


@pytest.mark.parametrize("adc_bits", [2, 3, 8])
def test_clipping_equals_the_reference_of_the_ideal_crossbar(adc_bits):
    rng = np.random.default_rng(0)
    _, group = placed(rng, SCHEMES["best"])
    faults, x = chip(group, 0.1), driven_inputs(rng, group)
    expected = crossbar.reference_outputs(group, x, 8, adc_bits, faults)
    got = outputs(layers_of(group, ReadModel(adc_bits=adc_bits), faults), x)
    np.testing.assert_array_equal(got, expected)
    unclipped = crossbar.reference_outputs(group, x, 8, 8, faults)
    assert (adc_bits == 8) == np.array_equal(got, unclipped)


@pytest.mark.parametrize("vote", ["output", "crossbar"])
@pytest.mark.parametrize("code", CODES)
def test_codes_equal_the_reference(code, vote):
    rng = np.random.default_rng(20)
    _, group = coded(rng, CODES[code], vote, flipped=(6, 5))
    faults, x = chip(group, 0.1, 20), driven_inputs(rng, group)
    expected = crossbar.reference_outputs(group, x, 8, 8, faults)
    np.testing.assert_array_equal(outputs(layers_of(group, ReadModel(), faults), x), expected)


def test_wide_inputs():
    rng = np.random.default_rng(1)
    _, group = placed(rng, SCHEMES["paper"])
    x = np.where(group.kept_inputs, rng.integers(-2048, 2048, (4, group.inputs)), 0)
    got = outputs(layers_of(group, MODELS["coarse"], None, input_bits=12), x)
    np.testing.assert_array_equal(got, imperfect_reads.reference_outputs(group, x, 12, 8, MODELS["coarse"]))


def test_chips_can_be_swapped_and_leave_no_trace():
    rng = np.random.default_rng(2)
    _, group = placed(rng, SCHEMES["two planes, crossbar"])
    x = driven_inputs(rng, group)
    layers = layers_of(group, MODELS["clipping"], None)
    for faults in (chip(group, 0.4, 1), chip(group, 0.02, 2), None, chip(group, 1.0, 3), chip(group, 0.02, 2)):
        for layer in layers:
            layer.program(faults)
        expected = imperfect_reads.reference_outputs(group, x, 8, 8, MODELS["clipping"], faults)
        np.testing.assert_array_equal(outputs(layers, x), expected)


def test_a_leaking_flipped_plane_loses_its_share_only():
    """Stored 1-bit with a leak of 1/r gives (1 - 1/r) of the result; the input sum still cancels between the pair."""
    rng = np.random.default_rng(3)
    quantized, group = placed(rng, SCHEMES["best"], inputs=16)
    x = driven_inputs(rng, group)
    fine = ReadModel(adc_bits=16, adc_range=64.0, on_off_ratio=10.0)
    got = outputs(layers_of(group, fine, None), x) * fine.step(8)
    np.testing.assert_allclose(got, 0.9 * (x @ quantized.q), rtol=0, atol=0.01 * np.abs(x @ quantized.q).max())


def test_verified_cells_are_those_that_count_most_and_vary_less():
    rng = np.random.default_rng(5)
    _, group = placed(rng, SCHEMES["best"], inputs=40)
    scale = np.concatenate([np.broadcast_to(m.scale, m.outputs) for m in group.matrices])
    column_map = group.column_map
    used = column_map.used
    counts = np.where(used, scale[column_map.output] * 2.0**column_map.shift, 0.0)
    for share in (0.0, 0.25, 0.5, 1.0):
        chosen = imperfect_reads.verified_lines(group, share)
        assert chosen.sum() == np.ceil(share * used.sum())
        assert not (chosen & ~used).any()
        if 0 < share < 1:
            assert counts[chosen].min() >= counts[used & ~chosen].max()
    plain, verified, perfect = (
        imperfect_reads.conductance_factors(
            ReadModel(variation=0.3, verified_share=share, verified_variation=own), group, 0
        )
        for share, own in ((0.0, 0.0), (0.25, 0.1), (1.0, 0.0))
    )
    chosen = imperfect_reads.verified_lines(group, 0.25)
    np.testing.assert_array_equal(plain[..., ~chosen], verified[..., ~chosen])
    np.testing.assert_allclose(np.log(plain[..., chosen]) / 3, np.log(verified[..., chosen]), rtol=1e-9, atol=1e-12)
    assert (perfect[..., used] == 1).all()


def test_variation_belongs_to_the_silicon():
    """Crossbars vary alike whatever is mapped on them, log-normally with median 1, and seeds give other chips."""
    model = ReadModel(variation=0.3, seed=1)
    first = imperfect_reads.variation(model, 64, 64, 5)
    np.testing.assert_array_equal(first, imperfect_reads.variation(model, 64, 64, 5))
    assert not np.array_equal(first, imperfect_reads.variation(model, 64, 64, 6))
    assert not np.array_equal(first, imperfect_reads.variation(ReadModel(variation=0.3, seed=2), 64, 64, 5))
    _, group = placed(np.random.default_rng(0), SCHEMES["none"])
    chips = [imperfect_reads.variation(model, 64, 64, 5, chip(group, 0.01, seed)) for seed in (1, 2, 1)]
    assert not np.array_equal(chips[0], first)
    assert not np.array_equal(chips[0], chips[1])
    np.testing.assert_array_equal(chips[0], chips[2])
    logarithm = np.log(imperfect_reads.variation(model, 512, 512, 0))
    assert abs(logarithm.mean()) < 0.003
    assert logarithm.std() == pytest.approx(0.3, abs=0.003)


@pytest.mark.parametrize(("one", "zero"), [(0.02, 0.0), (0.0, 0.03), (0.01, 0.02)])
def test_disturbed_reads_have_the_mean_and_variance_of_independent_cells(one, zero):
    """One 2-bit input, one output, one plane: y = -2 d_1 + d_0 with d the pair's difference of binomial counts."""
    rng = np.random.default_rng(4)
    _, group = placed(rng, SCHEMES["none"], inputs=16, outputs=1, planes=2, pruned=0.0)
    layer = layers_of(group, ReadModel(one_disturb=one, zero_disturb=zero, seed=5), None, input_bits=2)[0]
    x = np.full((20000, 16), -1)  # both bits driven on every word line
    y = outputs([layer], x)[:, 0].astype(float)
    cells = group.block_cells(0)[:, :, group.column_map.used].astype(float)
    ones, zeros = cells.sum(axis=1), (1 - cells).sum(axis=1)
    mean_code = ones * (1 - one) + zeros * zero
    variance = (ones * one * (1 - one) + zeros * zero * (1 - zero)).sum(axis=0)
    weight = 2.0 ** group.column_map.plane[group.column_map.used]
    assert y.mean() == pytest.approx(-((mean_code[0] - mean_code[1]) @ weight), abs=5 * y.std() / 20000**0.5)
    assert y.var() == pytest.approx(5 * weight**2 @ variance, rel=0.06)
    layer.program(None)
    np.testing.assert_array_equal(outputs([layer], x)[:, 0], y)  # equal seeds, equal reads


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (ReadModel(adc_bits=4), "15"),
        (ReadModel(adc_range=100.0), "a code stands for"),
        (ReadModel(on_off_ratio=10.0), "on/off ratio 10"),
        (ReadModel(variation=0.1), "varies"),
        (ReadModel(one_disturb=0.1), "disturbed"),
    ],
)
def test_the_explicit_path_is_taken_where_codes_can_lose_something_and_says_why(model, reason, caplog):
    network = tiny_model()
    image = tiny_image(network)
    with caplog.at_level(logging.INFO, logger="crossvote.swstack.inference.convert"):
        converted = convert(network, image, read_model=model)
    assert reason in caplog.text
    assert any(isinstance(module, ExplicitLinear) for module in converted.modules())
    assert not any(isinstance(module, CrossbarLinear) for module in converted.modules())


def test_both_paths_give_the_same_logits_where_nothing_is_lost():
    network = tiny_model()
    image = tiny_image(network, "paper", random_masks(network))
    assert loss(image, ReadModel()) is None
    faults = FaultMap.sample(image.rows, image.columns, image.crossbars, 0.03, np.random.SeedSequence(0))
    logits = []
    for path in ("auto", "explicit"):
        converted = convert(network, image, path=path)
        swap_faults(converted, faults)
        with torch.inference_mode():
            logits.append(converted(**tokens()).logits)
    assert torch.equal(*logits)


def test_few_driven_word_lines_cannot_clip_a_short_adc():
    rng = np.random.default_rng(6)
    group = placed(rng, SCHEMES["best"], inputs=7)[1]
    assert loss(Image((group,), {}, 8, 3), ReadModel()) is None
    assert loss(Image((group,), {}, 8, 2), ReadModel()) is not None


def test_two_bit_cells_reach_further_codes_and_cannot_be_disturbed():
    rng = np.random.default_rng(6)
    image = Image((placed(rng, SCHEMES["best"], cell_bits=2, pruned=0.0)[1],), {}, 8, 5)
    assert "16 driven word lines of group g can add up to 48" in (loss(image, ReadModel()) or "")
    assert loss(image, ReadModel(adc_bits=6)) is None
    with pytest.raises(UserError, match="one-bit cells only"):
        loss(image, ReadModel(one_disturb=0.1))


def test_float_activations_are_refused():
    network = tiny_model()
    with pytest.raises(UserError, match="float activations cannot be streamed"):
        convert(network, tiny_image(network), "float", path="explicit")


def test_calibrated_steps_cover_the_largest_input_of_each_group():
    network = tiny_model()
    image = tiny_image(network)
    steps = calibrate(network, image.groups, 8, lambda: network(**tokens()))
    assert set(steps) == {group.name for group in image.groups}
    converted = convert(network, image, "static", steps)
    with torch.inference_mode():
        torch.testing.assert_close(converted(**tokens()).logits, network(**tokens()).logits, atol=0.02, rtol=0)
    with pytest.raises(UserError, match=r"never used group bert.encoder.layer.0.qkv"):
        calibrate(network, image.groups, 8, lambda: None)
