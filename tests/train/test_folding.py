"""Folding leaves the logits alone and prunes rows for nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_groups import FAMILIES

from crossvote.swstack.models.layouts import matrix_bias, matrix_names, matrix_weight, word_line_groups
from crossvote.swstack.models.masks import apply_masks, dense_masks
from crossvote.swstack.pruning.folding import fold


def pruned_model(family, seed):
    """A model with random biases and every third column, at random, pruned."""
    torch.manual_seed(seed)
    model = FAMILIES[family]().eval()
    model.config.pad_token_id = 0
    if family == "mpnet":  # random as it is, the relative position bias is too small to show a mistake
        torch.nn.init.normal_(model.mpnet.encoder.relative_attention_bias.weight, std=2.0)
    rng = np.random.default_rng(seed)
    masks = dense_masks(model)
    for name in matrix_names(model):
        weight, bias = matrix_weight(model, name), matrix_bias(model, name)
        weight.copy_(torch.randn(weight.shape) * 0.3)
        bias.copy_(torch.randn(bias.shape))
        masks[name].columns[rng.permutation(bias.numel())[: bias.numel() // 3]] = False
    apply_masks(model, masks)
    return model, masks


def logits(model):
    generator = torch.Generator().manual_seed(9)
    ids = torch.randint(1, 20, (5, 12), generator=generator)
    mask = torch.ones_like(ids)
    if model.config.model_type != "gpt2":
        mask[2, 7:] = 0
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask).logits


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", [0, 1])
def test_logits_are_equal_and_rows_are_gained(family, seed):
    model, masks = pruned_model(family, seed)
    before = logits(model)
    folded = fold(model, masks)
    torch.testing.assert_close(logits(model), before, rtol=1e-4, atol=1e-5)
    values, inner = None, None
    for group in word_line_groups(model):
        pruned = [~masks[name].columns for name in group.matrices]
        if group.name.endswith(".qkv"):
            values = pruned[-1][-16:]
        elif group.name.endswith(".ffn1"):
            inner = pruned[-1]
        for name in group.matrices:
            weight, mask = matrix_weight(model, name), folded[name]
            assert not weight[:, torch.from_numpy(~mask.columns)].any()
            assert not weight[torch.from_numpy(~mask.rows), :].any()
            # A folded word line carries exactly zero, and everything pruned before is still pruned.
            assert not (mask.columns & ~masks[name].columns).any()
            expected = {"o": values, "ffn2": inner}.get(group.name.rsplit(".", 1)[1])
            assert np.array_equal(~mask.rows, np.zeros(weight.shape[0], bool) if expected is None else expected)
            assert masks[name].rows.all()
    # Query columns whose key column is pruned are gained.
    first = word_line_groups(model)[0]
    name = first.matrices[0]
    queries = slice(0, 16)
    assert (~folded[name].columns[queries]).sum() > (~masks[name].columns[queries]).sum()
    assert folded[name].columns[queries].reshape(4, -1).any(axis=1).all()


def test_folding_changes_biases_that_matter():
    model, masks = pruned_model("bert", 0)
    output = "bert.encoder.layer.0.output.dense"
    before = matrix_bias(model, output).clone()
    fold(model, masks)
    assert not torch.allclose(before, matrix_bias(model, output))
