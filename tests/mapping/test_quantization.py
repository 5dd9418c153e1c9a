"""Weights and activations become the integers that design section 3 defines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossvote.sim.common.errors import UserError
from crossvote.swstack.mapping.quantization import activation_scale, quantize_weights, round_activations


@pytest.mark.parametrize("scale", ["tensor", "column"])
@given(seed=st.integers(0, 2**32 - 1), bits=st.integers(2, 12))
def test_weights_are_within_half_a_step_and_use_the_full_range(scale, seed, bits):
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, rng.uniform(1e-4, 10, 5), (9, 5)).astype(np.float32)
    q, step = quantize_weights(weights, bits, scale)
    top = 2 ** (bits - 1) - 1
    assert step.shape == ((1,) if scale == "tensor" else (5,))
    assert np.abs(q * step - weights).max() <= 0.5001 * step.max()
    largest = np.abs(q).max(axis=0) if scale == "column" else np.abs(q).max()
    assert (np.asarray(largest) == top).all()


def test_all_zero_columns_and_matrices_stay_zero():
    weights = np.array([[1.0, 0.0], [-2.0, 0.0]], np.float32)
    q, step = quantize_weights(weights, 8, "column")
    np.testing.assert_array_equal(q, [[64, 0], [-127, 0]])
    assert step[1] == 1
    q, step = quantize_weights(np.zeros((3, 2), np.float32), 8, "tensor")
    assert not q.any()
    assert step.tolist() == [1]


def test_a_column_too_small_for_a_step_becomes_zero():
    weights = np.array([[1e-45], [0.0]], np.float32)
    q, step = quantize_weights(weights, 8, "column")
    assert np.isfinite(step).all()
    assert not q.any()


def test_constant_matrix_and_single_row():
    q, _ = quantize_weights(np.full((1, 4), -0.3, np.float32), 8, "tensor")
    assert (q == -127).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_name_the_output(bad):
    weights = np.ones((2, 3), np.float32)
    weights[1, 2] = bad
    with pytest.raises(UserError, match="output 2"):
        quantize_weights(weights, 8, "tensor")


def test_weights_that_are_no_matrix_are_refused():
    with pytest.raises(UserError, match=r"\(3,\)"):
        quantize_weights(np.ones(3, np.float32), 8, "tensor")


@pytest.mark.parametrize("bits", [8, 5, 12])
def test_activations_per_token_use_the_range_of_each_token(bits):
    x = torch.randn(6, 40, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 6)[:, None]
    step = activation_scale(x, bits, "token")
    q = round_activations(x, step, bits)
    assert (q.abs().amax(1) == 2 ** (bits - 1) - 1).all()
    assert ((q * step - x).abs() <= 0.5001 * step).all()


def test_activations_per_tensor_share_one_step_and_zero_tokens_stay_zero():
    x = torch.tensor([[0.0, 0.0], [1.0, -4.0]])
    assert activation_scale(x, 8, "tensor").shape == (1, 1)
    step = activation_scale(x, 8, "token")
    assert round_activations(x, step, 8).tolist() == [[0, 0], [32, -127]]


def test_static_steps_clip_symmetrically():
    q = round_activations(torch.tensor([[300.0, -300.0, 1.0]]), torch.tensor([[1.0]]), 8)
    assert q.tolist() == [[127, -127, 1]]
