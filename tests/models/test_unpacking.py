"""Attention whose projections are bare tensors computes the same, and is saved the same, once they are matrices."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_families import FAMILIES, LENGTH, WORDS, build
from torch import nn

from crossvote.swstack.models.unpacking import UnpackedAttention, UnpackedRelativeAttention, unpack_attention

XLNET = next(family for family in FAMILIES if family.name == "XLNet")
IDS = torch.randint(3, WORDS, (2, LENGTH), generator=torch.Generator().manual_seed(1))
PADDED = torch.ones_like(IDS).index_fill(1, torch.tensor([0, 1]), 0)


def unpacked(dtype=torch.float64):
    own = build(XLNET).to(dtype)
    return own, unpack_attention(copy.deepcopy(own))


def test_xlnet_gives_the_same_logits_also_with_padding_and_its_attention_weights():
    own, other = unpacked()
    assert sum(isinstance(module, UnpackedRelativeAttention) for module in other.modules()) == 2
    with torch.no_grad():
        for options in ({}, {"attention_mask": PADDED}, {"token_type_ids": IDS % 2}):
            expected = own(IDS, output_attentions=True, **options)
            found = other(IDS, output_attentions=True, **options)
            torch.testing.assert_close(found.logits, expected.logits, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(found.attentions, expected.attentions, rtol=1e-12, atol=1e-12)


def test_xlnet_keeps_its_memory_and_its_second_stream():
    own, other = unpacked(torch.float32)  # the library's masks of the second stream are of no other type
    guesses = torch.zeros(2, 1, LENGTH)
    guesses[:, 0, -1] = 1.0
    hidden = torch.zeros(2, LENGTH, LENGTH)
    hidden[:, :, -1] = 1.0
    with torch.no_grad():
        mems = own.transformer(IDS, use_mems=True).mems
        assert mems is not None
        for options in ({"mems": mems}, {"perm_mask": hidden, "target_mapping": guesses}):
            expected, found = (model.transformer(IDS, **options).last_hidden_state for model in (own, other))
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_what_is_saved_is_xlnets(tmp_path):
    own, other = unpacked(torch.float32)
    state = other.state_dict()
    assert state
    assert set(state) == set(own.state_dict())
    for name, tensor in own.state_dict().items():
        assert torch.equal(state[name], tensor), name
    other.save_pretrained(tmp_path)
    again = type(own).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(again(IDS).logits, own(IDS).logits)
        for parameter in other.parameters():
            parameter.zero_()
        other.load_state_dict(own.state_dict())
        torch.testing.assert_close(other(IDS).logits, own(IDS).logits, rtol=1e-4, atol=1e-5)


def test_unpacking_twice_changes_nothing():
    _, other = unpacked()
    names = [name for name, _ in other.named_modules()]
    assert [name for name, _ in unpack_attention(other).named_modules()] == names


@pytest.mark.parametrize("batch_first", [True, False])
def test_torchs_attention_gives_the_same(batch_first):
    torch.manual_seed(0)
    own = nn.MultiheadAttention(32, 4, batch_first=batch_first).double().eval()
    x = torch.randn(3, 5, 32, dtype=torch.float64)
    padding = torch.zeros(3 if batch_first else 5, 5 if batch_first else 3, dtype=torch.bool)
    padding[0, -1] = True
    with torch.no_grad():
        expected = own(x, x, x, key_padding_mask=padding, need_weights=False)[0]
        found = UnpackedAttention(own)(x, x, x, key_padding_mask=padding)[0]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
