"""Training for faults: the errors drawn are those of chips, pruned weights stay zero, and equal seeds train alike."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.registry import kind_mapping
from crossvote.sim.common.schema import build
from crossvote.swstack.inference.convert import convert, swap_faults
from crossvote.swstack.mapping.error_law import matrix_laws
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import matrix_names, matrix_weight, word_line_groups
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.models.masks import MatrixMask, apply_masks, dense_masks
from crossvote.swstack.pruning.fault_training_config import FaultTrainingConfig
from crossvote.swstack.pruning.for_faults import FaultyWeights, train_for_faults
from crossvote.swstack.pruning.noise import NOISES, parse_noise


@pytest.fixture
def pruned(tiny_directory):
    """The tiny model with a third of its columns pruned, its tokenizer and masks."""
    model, tokenizer = load_model(ModelConfig(source=str(tiny_directory)), 2, False, 0)
    rng = np.random.default_rng(0)
    masks = {
        name: MatrixMask(rng.random(len(mask.rows)) >= 0.1, rng.random(len(mask.columns)) >= 0.33)
        for name, mask in dense_masks(model).items()
    }
    apply_masks(model, masks)
    return model, tokenizer, masks


def image_of(model, masks, scheme: str):
    schemes = {**PRESETS, "code for 20 %": dataclasses.replace(PRESETS["code"], compensated_rate=0.2)}
    return build_image(model, word_line_groups(model), masks, schemes[scheme], rows=32, columns=64, name=scheme)


def slope(mean: torch.Tensor, weight: torch.Tensor) -> float:
    """Least-squares factor by which the weights shrink on average."""
    return float((mean * weight).sum() / (weight**2).sum())


@pytest.mark.parametrize("scheme", ["code", "none", "paper-column", "code for 20 %"])
def test_the_law_has_the_mean_and_variance_of_chips(pruned, scheme):
    model, _, masks = pruned
    image = image_of(model, masks, scheme)
    rate = 0.05
    laws, noise = matrix_laws(image, 0.1), parse_noise("code")
    name = word_line_groups(model)[2].matrices[0]
    converted = convert(model, image)
    layer = converted.get_submodule(name)
    chips = []
    for chip in range(150):
        swap_faults(converted, FaultMap.sample(32, 64, image.crossbars, rate, np.random.SeedSequence(chip)))
        eye = torch.eye(layer.in_features, dtype=torch.int8)
        chips.append(layer.integer_outputs(eye).T * layer.scale[:, None])
    simulated = torch.stack(chips).double()
    generator = torch.Generator().manual_seed(0)
    weight = matrix_weight(model, name).T.contiguous()
    drawn = torch.stack([noise.perturbed(laws[name], weight, rate, generator) for _ in range(300)]).double()
    keep = torch.from_numpy(np.outer(masks[name].columns, masks[name].rows))
    # Replicas that vote on single weights rarely err; sums over many weights are what the law is for.
    if scheme != "paper-column":
        assert float(drawn.var(dim=0)[keep].mean() / simulated.var(dim=0)[keep].mean()) == pytest.approx(1, rel=0.1)
    assert slope(drawn.mean(dim=0)[keep], weight[keep]) == pytest.approx(
        slope(simulated.mean(dim=0)[keep], weight[keep]), abs=0.02
    )
    still = noise.perturbed(laws[name], weight, 0.0, generator)
    swap_faults(converted, None)
    perfect = layer.integer_outputs(torch.eye(layer.in_features, dtype=torch.int8)).T * layer.scale[:, None]
    torch.testing.assert_close(still, perfect.float(), rtol=1e-4, atol=1e-6)


def config(**changes) -> FaultTrainingConfig:
    values = {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3, "precision": "float32", **changes}
    return build(FaultTrainingConfig, values, "test")


def test_training_keeps_pruned_weights_zero_and_repeats(pruned, tiny_directory, tiny_task, tmp_path):
    model, tokenizer, masks = pruned
    before = {name: matrix_weight(model, name).clone() for name in matrix_names(model)}
    laws = matrix_laws(image_of(model, masks, "code"), 0.1)
    result = train_for_faults(model, tokenizer, tiny_task, masks, laws, config(), 3, tmp_path / "a")
    assert [row["epoch"] for row in result.history] == [1, 2]
    for name, old in before.items():
        new, mask = matrix_weight(model, name), masks[name]
        assert not new[~mask.rows].any()
        assert not new[:, ~mask.columns].any()
        assert (new != old).any()
    again, _ = load_model(ModelConfig(source=str(tiny_directory)), 2, False, 0)
    apply_masks(again, masks)
    train_for_faults(again, tokenizer, tiny_task, masks, laws, config(), 3, tmp_path / "b")
    for one, two in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_rates_reach_the_design_rate_and_rise_with_a_ramp(pruned):
    model, _, masks = pruned

    def rates(**changes) -> np.ndarray:
        faults = FaultyWeights({}, masks, config(design_rate=0.08, **changes), 0, 200)
        with faults.attached(model):
            drawn = []
            for step in range(200):
                faults.begin_step(step)
                drawn.append(faults.rate)
        assert faults.rate is None
        return np.array(drawn)

    plain = rates()
    assert plain.max() < 0.08
    assert plain.mean() == pytest.approx(0.04, rel=0.15)
    ramped = rates(ramp_share=1.0)
    assert (ramped <= plain).all()
    assert ramped[:50].max() < 0.02 < ramped[150:].max()


def test_large_weights_feel_the_errors_they_cause(pruned):
    """The errors of an output grow with its scale, the largest weight: its gradient is not that of the others."""
    model, _, masks = pruned
    name = word_line_groups(model)[2].matrices[0]
    law = matrix_laws(image_of(model, masks, "code"), 0.1)[name]
    weight = matrix_weight(model, name).T.clone().requires_grad_()
    parse_noise("code").perturbed(law, weight, 0.05, torch.Generator().manual_seed(1)).sum().backward()
    output = int(np.flatnonzero(masks[name].columns)[0])
    gradient = weight.grad[output]
    largest = int(weight[output].abs().argmax())
    others = np.delete(np.arange(len(gradient)), largest)
    torch.testing.assert_close(gradient[others], torch.full((len(others),), 0.95))
    assert abs(gradient[largest] - 0.95) > 0.01


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_design_rates_outside_zero_to_half_are_refused(rate):
    with pytest.raises(UserError, match="design_rate"):
        config(design_rate=rate)


def test_a_fixed_rate_is_the_design_rate_in_every_step_and_rises_with_a_ramp(pruned):
    model, _, masks = pruned

    def rates(**changes) -> list[float]:
        faults = FaultyWeights({}, masks, config(design_rate=0.08, draw="fixed", **changes), 0, 100)
        with faults.attached(model):
            return [faults.begin_step(step) or faults.rate for step in range(100)]

    assert set(rates()) == {0.08}
    assert np.diff(rates(ramp_share=0.5)[:50]) == pytest.approx(0.08 / 50)
    assert set(rates(ramp_share=0.5)[50:]) == {0.08}


@pytest.fixture
def a_matrix(pruned):
    """A law, and a matrix [N, K] whose outputs are not pruned."""
    model, _, masks = pruned
    name = word_line_groups(model)[2].matrices[0]
    law = matrix_laws(image_of(model, masks, "code"), 0.1)[name]
    weight = matrix_weight(model, name).T.clone()
    weight[~torch.from_numpy(masks[name].columns)] = 0
    return law, weight, torch.from_numpy(masks[name].columns)


def test_censored_noise_has_no_upper_tail_and_passes_gradients_through(a_matrix):
    law, weight, kept = a_matrix
    free, cut = parse_noise({"kind": "censored", "cut": 100.0}), parse_noise({"kind": "censored", "cut": 0.5})
    drawn = [noise.perturbed(law, weight, 0.1, torch.Generator().manual_seed(1)) for noise in (free, cut)]
    errors = [((one - law.quantized(weight)) / (law.deviation_at(0.1) * law.scale(weight)))[kept] for one in drawn]
    assert errors[0].std() == pytest.approx(1, rel=0.1)
    assert errors[0].max() > 2
    assert errors[1].max() == pytest.approx(0.5, rel=1e-3)
    below = errors[0] < 0.5
    torch.testing.assert_close(errors[1][below], errors[0][below])
    fixed = parse_noise({"kind": "censored", "cut": 100.0, "deviation": 0.2})
    error = fixed.perturbed(law, weight, 0.0, torch.Generator().manual_seed(1)) - law.quantized(weight)
    assert (error / weight.abs().amax(dim=1, keepdim=True))[kept].std() == pytest.approx(0.2, rel=0.1)
    weight.requires_grad_()
    fixed.perturbed(law, weight, 0.1, torch.Generator().manual_seed(1)).sum().backward()
    torch.testing.assert_close(weight.grad, torch.ones_like(weight))


def test_stuck_devices_read_nothing_or_the_largest_weight(a_matrix):
    law, weight, kept = a_matrix
    largest = weight.abs().amax(dim=1, keepdim=True)
    rate, sa1 = 0.4, 0.75
    noise = parse_noise({"kind": "stuck", "sa0_sa1": [1, 3]})
    drawn = torch.stack(
        [noise.perturbed(law, weight, rate, torch.Generator().manual_seed(seed)) for seed in range(400)]
    )
    seen = law.quantized(weight)
    # Every device of the pair is healthy, 0 or full: of two devices there are nine outcomes.
    devices = [
        torch.stack([(sign * seen).clamp(min=0), torch.zeros_like(seen), largest.expand_as(seen)]) for sign in (1, -1)
    ]
    outcomes = (devices[0][:, None] - devices[1][None]).flatten(0, 1)
    assert ((drawn[:, None] - outcomes).abs().amin(dim=1) < 1e-6).all()
    # A device of value v reads (1 - p) v + p share(SA1) largest on average; the second part cancels in the pair.
    assert slope(drawn.double().mean(dim=0)[kept], seen.double()[kept]) == pytest.approx(1 - rate, abs=0.05)
    full = (drawn == largest)[:, seen > 0]  # the positive device stuck at the largest weight, the other one not
    assert full.float().mean() == pytest.approx(rate * sa1 * (1 - rate * sa1), abs=0.05)
    weight.requires_grad_()
    noise.perturbed(law, weight, rate, torch.Generator().manual_seed(1)).sum().backward()
    torch.testing.assert_close(weight.grad, torch.ones_like(weight))


def test_a_margin_penalises_large_weights_and_draws_nothing(a_matrix):
    law, weight, kept = a_matrix
    noise = parse_noise({"kind": "margin", "strength": 2.0})
    torch.testing.assert_close(noise.perturbed(law, weight, 0.1, torch.Generator()), law.quantized(weight))
    weight.requires_grad_()
    penalty = noise.penalty(law, weight, 0.1)
    errors = (law.deviation_at(0.1) * law.scale(weight))[kept] ** 2 * weight.shape[1]
    expected = 2 * (errors / (weight[kept] ** 2).sum(dim=1, keepdim=True)).mean()
    torch.testing.assert_close(penalty, expected)
    penalty.backward()
    output = int(torch.nonzero(kept)[0])
    largest = int(weight[output].abs().argmax())
    assert weight.grad[output, largest] * weight[output, largest] > 0  # descent makes it smaller
    other = (largest + 1) % weight.shape[1]
    assert weight.grad[output, other] * weight[output, other] <= 0


@pytest.mark.parametrize("kind", NOISES.names())
def test_every_kind_trains(pruned, tiny_task, tmp_path, kind):
    model, tokenizer, masks = pruned
    before = {name: matrix_weight(model, name).clone() for name in matrix_names(model)}
    laws = matrix_laws(image_of(model, masks, "code"), 0.1)
    result = train_for_faults(model, tokenizer, tiny_task, masks, laws, config(epochs=1, noise=kind), 3, tmp_path)
    assert np.isfinite(result.history[0]["loss"])
    assert all((matrix_weight(model, name) != old).any() for name, old in before.items())
    assert parse_noise(kind_mapping(parse_noise(kind))) == parse_noise(kind)


@pytest.mark.parametrize(
    ("noise", "reason"),
    [
        ("cod", "unknown noise 'cod'; did you mean 'code'"),
        ({"cut": 1.0}, "a noise needs its kind, one of censored, code, margin, stuck"),
        (1.0, "a noise is a name .censored, code, margin, stuck. or a table"),
        ({"kind": "censored", "cut": 0.0}, "cut"),
        ({"kind": "code", "cut": 1.0}, "cut"),
    ],
)
def test_noises_that_are_none_are_refused(noise, reason):
    with pytest.raises(UserError, match=reason):
        config(noise=noise)
