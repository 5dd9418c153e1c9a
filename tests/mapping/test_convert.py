"""A model on crossbars: every family, shared memory, swapped chips, and a layer of the embedded encoder."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from mapping_cases import SCHEMES, driven_inputs, placed, random_masks, tiny_image, tiny_model, tokens
from torch import nn

from crossvote.sim.array.crossbar import reference_outputs
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image
from crossvote.sim.common.errors import UserError
from crossvote.swstack.inference import crossbar_linear
from crossvote.swstack.inference.convert import convert, swap_faults
from crossvote.swstack.inference.crossbar_linear import CrossbarLinear
from crossvote.swstack.mapping.config import QuantizationConfig
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import word_line_groups
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.models.masks import apply_masks


def chip(image: Image, rate: float = 0.01, seed: int = 0) -> FaultMap:
    return FaultMap.sample(image.rows, image.columns, image.crossbars, rate, np.random.SeedSequence(seed))


def logits(model) -> torch.Tensor:
    with torch.inference_mode():
        return model(**tokens()).logits


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "mpnet", "distilbert", "gpt2"])
@pytest.mark.parametrize("scheme", ["none-column", "best"])
def test_every_family_runs_and_is_close_to_the_pruned_float_model(family, scheme):
    model = tiny_model(family)
    masks = random_masks(model)
    converted = convert(model, tiny_image(model, scheme, masks))
    names = {m for group in word_line_groups(model) for m in group.matrices}
    mapped = {name for name, module in converted.named_modules() if isinstance(module, CrossbarLinear)}
    assert mapped == names
    before = logits(model)
    apply_masks(model, masks)
    torch.testing.assert_close(logits(converted), logits(model), atol=0.05 * float(before.abs().max()) + 0.01, rtol=0)


def test_float_activations_differ_from_the_model_by_weight_rounding_only():
    model = tiny_model()
    image = build_image(
        model, word_line_groups(model), None, SCHEMES["none-column"], QuantizationConfig(weight_bits=14), rows=16
    )
    torch.testing.assert_close(logits(convert(model, image, "float")), logits(model), atol=1e-4, rtol=0)


def test_all_but_the_mapped_weights_is_shared_and_the_model_stays_as_it_was():
    model = tiny_model()
    before = logits(model)
    converted = convert(model, tiny_image(model))
    swap_faults(converted, chip(tiny_image(model), 0.3))
    own = {tensor.data_ptr() for tensor in model.state_dict().values()}
    for name, tensor in converted.named_parameters():
        assert tensor.data_ptr() in own, name
    assert torch.equal(logits(model), before)
    assert not converted.training


def test_a_saved_fault_map_gives_the_same_logits_and_no_faults_restore_them(tmp_path):
    model = tiny_model()
    image = tiny_image(model, "paper", random_masks(model))
    image.save(tmp_path / "image")
    faults = chip(image, 0.02)
    faults.save(tmp_path / "faults")

    first = convert(model, image)
    clean = logits(first)
    swap_faults(first, faults)
    faulty = logits(first)
    assert not torch.equal(clean, faulty)

    second = convert(model, Image.load(tmp_path / "image"))
    swap_faults(second, chip(image, 0.1, seed=5))
    swap_faults(second, FaultMap.load(tmp_path / "faults"))
    assert torch.equal(logits(second), faulty)
    swap_faults(second, None)
    assert torch.equal(logits(second), clean)


@pytest.mark.parametrize("path", ["auto", "explicit"])
def test_copies_of_a_converted_model_have_chips_of_their_own(path):
    model = tiny_model()
    image = tiny_image(model, "paper")
    first = convert(model, image, path=path)
    swap_faults(first, chip(image, 0.1, seed=3))
    second = copy.deepcopy(first)
    before = logits(first)
    assert torch.equal(logits(second), before)
    swap_faults(second, chip(image, 0.05))
    assert torch.equal(logits(first), before)
    swap_faults(first, chip(image, 0.05))
    assert torch.equal(logits(first), logits(second))
    assert not torch.equal(logits(first), before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("path", ["auto", "explicit"])
def test_a_gpu_computes_the_same_integers(path):
    """64 inputs and outputs: a size at which the integer product of CUDA is used."""
    rng = np.random.default_rng(0)
    group = placed(rng, SCHEMES["best"], inputs=64, outputs=64, pruned=0.2)[1]
    image = Image((group,), {}, 8, 8)
    model = nn.ModuleDict({m.name: nn.Linear(64, m.outputs) for m in group.matrices})
    x = torch.from_numpy(driven_inputs(rng, group, 40)).to(torch.int8)
    results = []
    for device in ("cpu", "cuda"):
        converted = convert(model.to(device), image, path=path)
        for faults in (chip(image, 0.2, seed=1), chip(image, 0.05)):
            swap_faults(converted, faults)
        layers = [converted[m.name] for m in group.matrices]
        results.append(torch.cat([layer.integer_outputs(x.to(device)).cpu() for layer in layers], dim=1))
    assert torch.equal(*results)
    np.testing.assert_array_equal(results[0].numpy(), reference_outputs(group, x.numpy(), 8, 8, chip(image, 0.05)))


@pytest.mark.parametrize("rate", [0.001, 0.2])
def test_weights_are_packed_once_for_each_chip(rate, monkeypatch):
    """What is kept between passes is that of the present chip, whichever way it was programmed."""
    asked = []
    real = crossbar_linear.packed_outputs

    def counted(weight, places):
        asked.append(weight)
        return real(weight, places)

    monkeypatch.setattr(crossbar_linear, "packed_outputs", counted)
    model = tiny_model()
    image = tiny_image(model, "best", random_masks(model))
    converted = convert(model, image)
    if real(torch.ones((1, 1), dtype=torch.int8), None) is None:
        pytest.skip("no compiled product")
    for faults in (None, chip(image, rate, 0), chip(image, rate, 1), None):
        swap_faults(converted, faults)
        before = len(asked)
        first = logits(converted)
        packs = len(asked) - before
        assert torch.equal(logits(converted), first)
        assert len(asked) - before == packs == sum(len(group.matrices) for group in image.groups)
        fresh = convert(model, image)
        swap_faults(fresh, faults)
        assert torch.equal(logits(fresh), first)


def test_packed_weights_are_kept_for_passes_of_few_inputs_only(monkeypatch):
    """Packing takes as long as a few inputs' product; kept, it takes a byte a weight."""
    monkeypatch.setattr(crossbar_linear, "_KEPT_BELOW", 16)
    model = tiny_model()
    found = convert(model, tiny_image(model, "best")).modules()
    layer = next(one for one in found if isinstance(one, CrossbarLinear) and one.out_features >= 16)
    if crossbar_linear.packed_outputs(layer.weight, layer.mapped) is None:
        pytest.skip("no compiled product")
    inputs = torch.randn((16, layer.in_features), generator=torch.Generator().manual_seed(0))
    many = layer(inputs)
    assert layer.packed is None
    assert torch.equal(layer(inputs[:15]), many[:15])
    assert layer.packed.weights.untyped_storage().nbytes() == layer.packed.weights.nbytes
    assert torch.equal(layer(inputs), many)


def test_a_refused_fault_map_leaves_the_old_chip_in_place():
    model = tiny_model()
    image = tiny_image(model)
    converted = convert(model, image)
    swap_faults(converted, chip(image, 0.05))
    before = logits(converted)
    wrong_size = FaultMap.sample(16, 16, 10 * image.crossbars, 0.1, np.random.SeedSequence(0))
    with pytest.raises(UserError, match="16 x 16 cells, the image for 16 x 32"):
        swap_faults(converted, wrong_size)
    too_few = FaultMap.sample(16, 32, image.crossbars - 2, 0.1, np.random.SeedSequence(0))
    with pytest.raises(UserError, match="sample a larger chip"):
        swap_faults(converted, too_few)
    assert torch.equal(logits(converted), before)


def test_models_and_images_that_do_not_belong_together_are_refused():
    model = tiny_model()
    image = tiny_image(model)
    with pytest.raises(UserError, match="convert it first"):
        swap_faults(model, None)
    with pytest.raises(UserError, match=r"bert.encoder.layer.0.attention.self.query, which the model does not have"):
        convert(tiny_model("distilbert"), image)


@pytest.mark.parametrize("scheme", ["none", "paper", "best", "two planes, crossbar"])
def test_a_layer_of_the_embedded_encoder_equals_the_reference(scheme):
    model, _ = load_model(ModelConfig(source="minilm-l6"), 2, False, 0)
    group = next(g for g in word_line_groups(model) if g.name.endswith("layer.2.o"))
    masks = {name: mask for name, mask in random_masks(model).items() if name in group.matrices}
    image = build_image(model, (group,), masks, SCHEMES[scheme])
    faults = chip(image, 0.005)
    converted = convert(model, image)
    swap_faults(converted, faults)
    layer = converted.get_submodule(group.matrices[0])
    x = np.random.default_rng(0).integers(-128, 128, (3, image.groups[0].inputs))
    x[:, ~image.groups[0].kept_inputs] = 0
    got = layer.integer_outputs(torch.from_numpy(x).to(torch.int8)).numpy()
    expected = reference_outputs(image.groups[0], x, 8, 8, faults)
    assert not np.array_equal(expected, reference_outputs(image.groups[0], x, 8, 8))
    np.testing.assert_array_equal(got, expected)
