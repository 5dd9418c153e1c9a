from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.chip.config import load_chip
from crossvote.sim.common.seeds import seed_sequence
from crossvote.sim.system.model import simulate
from crossvote.sim.system.workload import Workload
from crossvote.swstack.evaluation.captured import captured_inputs
from crossvote.swstack.evaluation.cosimulation import on_chip
from crossvote.swstack.inference import products
from crossvote.swstack.inference.convert import convert, swap_faults
from crossvote.swstack.inference.mapped_linear import MappedLinear
from crossvote.swstack.mapping.config import Activations
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.models.layouts import word_line_groups

CHIP = load_chip("crossvote")


def model():
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=48,
        intermediate_size=160,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=50,
        max_position_embeddings=40,
    )
    return BertForSequenceClassification(config).eval()


def batches():
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        ids = torch.randint(1, 50, (2, 9), generator=generator)
        mask = torch.ones_like(ids)
        mask[1, 6:] = 0
        yield {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("scheme", ["none", "paper", "best"])
def test_a_whole_encoder_s_tokens_are_the_real_ones(scheme):
    plain = model()
    image = build_image(plain, word_line_groups(plain), None, PRESETS[scheme], rows=128, columns=128, name=scheme)
    faults = FaultMap.sample(128, 128, image.crossbars, 0.005, seed_sequence(3))
    placed = on_chip(plain, image, batches(), faults, 20, scheme=scheme)
    assert {len(x) for x in placed.inputs.values()} == {20}
    result = simulate(Workload.from_image(image, CHIP, 2, 20), CHIP, computed=placed.requests(CHIP, "numpy"))

    def records():
        return [placed.record(computed) for computed in result.computed.values()]

    assert [record.name for record in records()] == [group.name for group in image.groups]
    assert {(record.scheme, record.backend, record.tokens) for record in records()} == {(scheme, "numpy", 20)}
    assert all(record.equal for record in records())
    assert sum(record.disagreements for record in records()) > 0 or scheme == "none"
    # The same integers against a chip without faults are not equal: the comparison can fail.
    swap_faults(placed.model, None)
    assert not all(record.equal for record in records())


def test_padding_is_left_out():
    plain = model()
    image = build_image(plain, word_line_groups(plain), None, PRESETS["none"], rows=128, columns=128, name="none")
    on_chip = convert(plain, image, "token")
    every = captured_inputs(on_chip, image, batches(), 1000)
    assert {len(x) for x in every.values()} == {3 * (9 + 6)}
    first = captured_inputs(on_chip, image, batches(), 7)
    assert all(np.array_equal(first[name], every[name][:7]) for name in every)


@pytest.mark.parametrize("activations", ["token", "tensor"])
def test_what_is_captured_is_what_is_multiplied_whatever_the_batch(
    activations: Activations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of a whole tensor is that of the batch, padding and all, and the batches are those that are handed in.

    The compiled product, which rounds inputs itself, is left out: ``test_int8_product`` holds it to torch bit for bit.
    """
    monkeypatch.setattr(products, "packed", lambda weight, places=None: None)
    plain = model()
    image = build_image(plain, word_line_groups(plain), None, PRESETS["none"], rows=128, columns=128, name="none")
    on_chip = convert(plain, image, activations)
    group = image.groups[-1]
    layer = on_chip.get_submodule(group.matrices[0].name)
    assert isinstance(layer, MappedLinear)
    streamed: list[torch.Tensor] = []
    real = layer._sums

    def watched(x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        streamed.append(x.clone())
        return real(x, values)

    monkeypatch.setattr(layer, "_sums", watched)
    caught = captured_inputs(on_chip, image, batches(), 1000)[group.name]
    masks = [batch["attention_mask"].reshape(-1).bool() for batch in batches()]
    assert all(not mask.all() for mask in masks)
    expected = torch.cat([x[mask] for x, mask in zip(streamed, masks, strict=True)])
    assert np.array_equal(caught, expected.numpy())
