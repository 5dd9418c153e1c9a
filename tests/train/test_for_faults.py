"""Training for faults: the errors drawn are those of chips, pruned weights stay zero, and equal seeds train alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import build
from crossvote.swstack.inference.convert import convert, swap_faults
from crossvote.swstack.mapping.error_law import matrix_laws
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import matrix_names, matrix_weight, word_line_groups
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.models.masks import MatrixMask, apply_masks, dense_masks
from crossvote.swstack.pruning.config import FaultTrainingConfig
from crossvote.swstack.pruning.for_faults import FaultyWeights, train_for_faults


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
    return build_image(model, word_line_groups(model), masks, PRESETS[scheme], rows=32, columns=64, name=scheme)


def slope(mean: torch.Tensor, weight: torch.Tensor) -> float:
    """Least-squares factor by which the weights shrink on average."""
    return float((mean * weight).sum() / (weight**2).sum())


@pytest.mark.parametrize("scheme", ["code", "none", "paper-column"])
def test_the_law_has_the_mean_and_variance_of_chips(pruned, scheme):
    model, _, masks = pruned
    image = image_of(model, masks, scheme)
    rate = 0.05
    laws = matrix_laws(image, 0.1)
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
    drawn = torch.stack([laws[name].perturbed(weight, rate, generator) for _ in range(300)]).double()
    keep = torch.from_numpy(np.outer(masks[name].columns, masks[name].rows))
    # Replicas that vote on single weights rarely err; sums over many weights are what the law is for.
    if scheme != "paper-column":
        assert float(drawn.var(dim=0)[keep].mean() / simulated.var(dim=0)[keep].mean()) == pytest.approx(1, rel=0.1)
    assert slope(drawn.mean(dim=0)[keep], weight[keep]) == pytest.approx(
        slope(simulated.mean(dim=0)[keep], weight[keep]), abs=0.02
    )
    still = laws[name].perturbed(weight, 0.0, generator)
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
    assert "accuracy" in result.dev_metrics
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
    law.perturbed(weight, 0.05, torch.Generator().manual_seed(1)).sum().backward()
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
