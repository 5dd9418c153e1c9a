"""A converted model runs with gradients on, learns what is not programmed, and computes the same integers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.read_model import ReadModel
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.seeds import seed_sequence
from crossvote.swstack.inference.convert import convert, swap_faults
from crossvote.swstack.inference.mapped_linear import MappedLinear
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.models.layouts import matrix_names, word_line_groups

NAMES = ("none", "best")


def tiny():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(vocab_size=30, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                            num_attention_heads=2, initializer_range=0.2)  # fmt: skip
        return BertForSequenceClassification(config).eval()


def on_chip(scheme, path="auto", rate=0.02):
    model = tiny()
    image = build_image(model, word_line_groups(model), None, PRESETS[scheme], name=scheme)
    converted = convert(model, image, read_model=ReadModel(), path=path)
    if rate:
        swap_faults(converted, FaultMap.sample(image.rows, image.columns, image.crossbars, rate, seed_sequence(1)))
    return converted


IDS = torch.randint(1, 30, (8, 7), generator=torch.Generator().manual_seed(2))
LABELS = torch.arange(8) % 2


@pytest.mark.parametrize("path", ["auto", "explicit"])
@pytest.mark.parametrize("scheme", NAMES)
def test_a_plain_forward_pass_gives_the_same_logits_with_gradients_on(scheme, path):
    model = on_chip(scheme, path)
    with torch.no_grad():
        expected = model(IDS).logits
    logits = model(IDS).logits
    assert logits.requires_grad
    assert torch.equal(logits, expected)


@pytest.mark.parametrize("scheme", NAMES)
def test_the_backward_pass_is_that_of_the_linear_map_on_the_chip(scheme):
    layer = next(m for m in on_chip(scheme).modules() if isinstance(m, MappedLinear))
    weight = layer.effective_weight()
    x = torch.randn(5, 32, requires_grad=True)
    layer(x).square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * layer(x.detach()) @ weight)
    # It is the faulty matrix: a fault-free chip has another one.
    clean = next(m for m in on_chip(scheme, rate=0).modules() if isinstance(m, MappedLinear))
    assert not torch.equal(weight, clean.effective_weight())
    # The dense weights of the same matrix are its limit: within half a step without faults.
    dense = tiny().bert.encoder.layer[0].attention.self.query.weight.detach()
    assert float((clean.effective_weight() - dense).abs().max()) <= 0.5001 * float(clean.scale.max())


def test_a_converted_model_learns_and_what_is_programmed_stays():
    model = on_chip("best")
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    embeddings = model.bert.embeddings.word_embeddings.weight.detach().clone()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(model(IDS).logits, LABELS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert not torch.equal(embeddings, model.bert.embeddings.word_embeddings.weight)


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_model_gives_the_same_logits(backend):
    model = on_chip("best")
    with torch.no_grad():
        expected = model(IDS).logits
        compiled = torch.compile(model, backend=backend)
        torch.testing.assert_close(compiled(IDS).logits, expected, rtol=1e-5, atol=1e-6)


def test_integers_are_no_inputs():
    layer = next(m for m in on_chip("none").modules() if isinstance(m, MappedLinear))
    with pytest.raises(UserError, match=r"was handed torch\.int16; it takes floating-point inputs"):
        layer(torch.ones(2, 32, dtype=torch.int16))


def test_a_converted_model_is_not_saved_as_if_it_were_dense(tmp_path):
    model = on_chip("none")
    for kept in (model, copy.deepcopy(model), model.bert, torch.compile(model, backend="eager")):
        with pytest.raises(UserError, match="is on crossbars; save the model it was made from, and its image"):
            kept.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("path", ["auto", "explicit"])
def test_its_state_holds_what_learns_and_goes_into_the_dense_model(path):
    dense = tiny()
    image = build_image(dense, word_line_groups(dense), None, PRESETS["none"], name="none")
    state = convert(dense, image, path=path).state_dict()
    mapped = {f"{name}.{part}" for name in matrix_names(dense) for part in ("weight", "bias")}
    assert set(state) == set(dense.state_dict()) - mapped
    other = tiny()
    found = other.load_state_dict(state, strict=False)
    assert (set(found.missing_keys), found.unexpected_keys) == (mapped, [])
