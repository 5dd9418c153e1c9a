"""Word-line groups and matrix access for every supported family."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    MPNetConfig,
    MPNetForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from crossvote.sim.common.errors import UserError
from crossvote.swstack.models.families import LAYOUTS
from crossvote.swstack.models.layouts import matrix_bias, matrix_names, matrix_weight, word_line_groups

BERT_SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


def bert():
    return BertForSequenceClassification(BertConfig(vocab_size=20, **BERT_SIZES))


def gpt2():
    config = GPT2Config(vocab_size=20, n_embd=16, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0)
    return GPT2ForSequenceClassification(config)


FAMILIES = {
    "bert": bert,
    "roberta": lambda: RobertaForSequenceClassification(RobertaConfig(vocab_size=20, **BERT_SIZES)),
    "electra": lambda: ElectraForSequenceClassification(ElectraConfig(vocab_size=20, **BERT_SIZES)),
    "mpnet": lambda: MPNetForSequenceClassification(MPNetConfig(vocab_size=20, **BERT_SIZES)),
    "distilbert": lambda: DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=20, dim=16, hidden_dim=32, n_layers=2, n_heads=4)
    ),
    "gpt2": gpt2,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_gives_four_groups_in_execution_order(family):
    model = FAMILIES[family]()
    groups = word_line_groups(model)
    assert [group.name.rsplit(".", 1)[1] for group in groups] == ["qkv", "o", "ffn1", "ffn2"] * 2
    assert [".0." in group.name for group in groups] == [True] * 4 + [False] * 4
    for group in groups:
        shapes = [tuple(matrix_weight(model, name).shape) for name in group.matrices]
        role = group.name.rsplit(".", 1)[1]
        assert len({inputs for inputs, _ in shapes}) == 1
        assert (shapes[0][0], sum(n for _, n in shapes)) == {
            "qkv": (16, 48),
            "o": (16, 16),
            "ffn1": (16, 64 if family == "gpt2" else 32),
            "ffn2": (64 if family == "gpt2" else 32, 16),
        }[role]
        assert sum(group.heads) == (12 if role == "qkv" else 1)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_matrix_weight_is_what_the_module_multiplies_by(family):
    model = FAMILIES[family]()
    for name in matrix_names(model):
        weight, bias = matrix_weight(model, name), matrix_bias(model, name)
        x = torch.randn(3, weight.shape[0])
        torch.testing.assert_close(model.get_submodule(name)(x), x @ weight + bias)


def test_matrix_weight_is_a_view():
    model = bert()
    name = matrix_names(model)[0]
    matrix_weight(model, name)[3, 5] = 7.0
    assert model.get_submodule(name).weight[5, 3] == 7.0


def test_unknown_architecture_and_unknown_matrix_are_refused():
    with pytest.raises(UserError, match="not supported"):
        word_line_groups(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(UserError, match=r"no matrix named 'bert\.encoder'"):
        matrix_weight(bert(), "bert.encoder")


def test_no_layer_has_two_layouts():
    """So it does not matter which layout is looked for first."""
    modules = {
        name: {path for paths in layout.roles.values() for path in paths} | set(layout.digital)
        for name, layout in LAYOUTS.items()
    }
    assert [(one, other) for one, other in itertools.permutations(modules, 2) if modules[one] <= modules[other]] == []
