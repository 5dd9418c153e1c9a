"""Families that only look like a known one are refused, with the module that is in the way."""

from __future__ import annotations

import pytest
import torch
from test_groups import FAMILIES
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    MobileBertConfig,
    MobileBertForSequenceClassification,
)

from crossvote.sim.common.errors import UserError
from crossvote.swstack.models.accounting import account_for
from crossvote.swstack.models.layouts import matrix_names

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 40}


@pytest.mark.parametrize("family", FAMILIES)
def test_known_families_leave_nothing_out(family):
    model = FAMILIES[family]()
    account = account_for(model)
    assert account.mapped == matrix_names(model)
    linear = {name for name, module in model.base_model.named_modules(prefix=model.base_model_prefix)
              if isinstance(module, nn.Linear)}  # fmt: skip
    assert linear <= {*account.mapped, *account.digital}


def mobilebert(**changes):
    config = {"intermediate_size": 64, "intra_bottleneck_size": 16, "embedding_size": 32, **SIZES, **changes}
    return MobileBertForSequenceClassification(MobileBertConfig(**config))


@pytest.mark.parametrize("changes", [{}, {"use_bottleneck": False, "intra_bottleneck_size": 32}])
def test_mobilebert_has_more_matrices_than_bert(changes):
    with pytest.raises(UserError, match=r"module mobilebert\.encoder\.layer\.0\.\S+ .*would be on no crossbar"):
        account_for(mobilebert(**changes))


def tiny_bert():
    return BertForSequenceClassification(BertConfig(intermediate_size=64, **SIZES))


def test_matrices_of_a_group_take_the_same_inputs():
    model = tiny_bert()
    attention = model.bert.encoder.layer[1].attention.self
    attention.value = nn.Linear(16, 32)
    with pytest.raises(UserError, match=r"layer\.1\.attention\.self\.value takes 16 inputs, but .*query takes 32"):
        account_for(model)


def test_matrices_of_a_group_are_driven_by_one_tensor():
    model = tiny_bert()
    model.bert.encoder.layer[0].attention.self.key.register_forward_pre_hook(lambda _, args: (args[0] * 2,))
    with pytest.raises(UserError, match=r"layer\.0\.attention\.self\.key is not driven by the same tensor"):
        account_for(model)


def test_a_matrix_that_is_never_called_cannot_be_mapped():
    model = tiny_bert()
    dense = model.bert.encoder.layer[0].output.dense
    model.bert.encoder.layer[0].output.forward = lambda hidden, residual: (
        nn.functional.linear(hidden, dense.weight, dense.bias) + residual
    )
    with pytest.raises(UserError, match=r"layer\.0\.output\.dense is in the model but a forward pass does not call it"):
        account_for(model)


def test_the_account_draws_nothing_and_leaves_the_mode_alone():
    model = tiny_bert().train()
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    account_for(model)
    assert torch.equal(torch.rand(3), expected)
    assert model.training
