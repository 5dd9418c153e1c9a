"""The compiled product of 8-bit integers: exact at every size and corner, and equal to what torch makes of a layer."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossvote.sim.common import libraries
from crossvote.sim.common.errors import UserError
from crossvote.swstack.inference import int8_product, products
from crossvote.swstack.inference.int8_product import VotedTerms, packed
from crossvote.swstack.mapping.quantization import activation_scale, round_activations

if packed(torch.ones((1, 1), dtype=torch.int8)) is None:
    pytest.skip("no AVX2, or no C++ compiler", allow_module_level=True)


def random_int8(rng, *shape):
    """Uniform, a quarter of them at the ends of the range."""
    values = rng.integers(-128, 128, shape)
    ends = rng.choice([-128, 127], shape)
    return torch.from_numpy(np.where(rng.random(shape) < 0.25, ends, values).astype(np.int8))


@settings(max_examples=60)
@given(st.integers(0, 140), st.integers(1, 40), st.integers(1, 50), st.booleans(), st.integers(0, 1 << 30))
def test_products_are_those_of_wide_integers(vectors, inputs, outputs, some, seed):
    rng = np.random.default_rng(seed)
    x, weight = random_int8(rng, vectors, inputs), random_int8(rng, outputs, inputs)
    places = torch.from_numpy(np.flatnonzero(rng.random(outputs) < 0.6)) if some else None
    expected = x.long() @ weight.long().T
    if places is not None:
        others = torch.ones(outputs, dtype=torch.bool)
        others[places] = False
        expected[:, others] = 0
    assert torch.equal(packed(weight, places).product(x).long(), expected)


@pytest.mark.parametrize("inputs", [1023, 1024, 1025, 2050, 5000])
def test_long_sums_do_not_saturate(inputs):
    x = torch.full((66, inputs), -128, dtype=torch.int8)
    x[1] = 127
    weight = torch.full((17, inputs), -128, dtype=torch.int8)
    weight[3] = 127
    assert torch.equal(packed(weight).product(x).long(), x.long() @ weight.long().T)


@pytest.mark.parametrize(
    "pair", [(64, 64), (65, 64), (127, 1), (127, 2), (-64, -64), (-65, -64), (-128, -1), (127, -128)]
)
def test_weights_whose_products_would_saturate_are_packed_as_two(pair):
    """At both ends of the inputs' range; pairs of one sign up to 128 are packed as they are, zeros not at all."""
    weight = torch.zeros((8, 64), dtype=torch.int8)
    weight[5, 10:12] = torch.tensor(pair)
    x = torch.tensor([[-128], [127], [0], [1]], dtype=torch.int8).expand(4, 64).contiguous()
    own = packed(weight)
    assert torch.equal(own.product(x).long(), x.long() @ weight.long().T)
    same = pair[0] * pair[1] > 0 and abs(sum(pair)) > 128
    assert len(own.quads) == (2 if same else 1)


def test_packed_weights_take_the_memory_of_bytes():
    """Of trained weights, which are small but for a few."""
    rng = np.random.default_rng(0)
    weight = torch.from_numpy(np.clip(rng.normal(0, 25, (96, 3000)).round(), -127, 127).astype(np.int8))
    own = packed(weight)
    size = sum(part.nbytes for part in (own.weights, own.quads, own.first, own.start))
    assert size < 1.25 * weight.nbytes


def test_threads_share_the_vectors():
    rng = np.random.default_rng(0)
    x, weight = random_int8(rng, 261, 30), random_int8(rng, 20, 30)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert int8_product._threads(261) == 3
        assert torch.equal(packed(weight).product(x).long(), x.long() @ weight.long().T)
    finally:
        torch.set_num_threads(before)
    assert int8_product._threads(63) == 1


@pytest.mark.parametrize("activations", ["token", "tensor"])
@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("with_bias", [True, False])
def test_outputs_are_bit_for_bit_those_of_torch(activations, bits, with_bias):
    rng = np.random.default_rng(bits)
    generator = torch.Generator().manual_seed(bits)
    x = torch.randn((133, 37), generator=generator)
    x[5] = 0.0
    x[6] = 1e-42
    x[7, 3] = float("nan")
    x[8, 2] = float("inf")
    x[9] = torch.arange(37) / 2 - 9  # halves are rounded to even
    weight = random_int8(rng, 45, 37)
    places = torch.from_numpy(np.flatnonzero(rng.random(45) < 0.7))
    weight[[n for n in range(45) if n not in places.tolist()]] = 0
    scale = torch.rand(45 if activations == "token" else 1, generator=generator)
    bias = torch.randn(45, generator=generator) if with_bias else None
    if activations == "tensor":
        x[7:9] = 0.5
    step, top = activation_scale(x, bits, activations), (1 << (bits - 1)) - 1
    integers = round_activations(x, step, bits).to(torch.int8)
    expected = (integers.long() @ weight.long().T).int() * step * scale
    if bias is not None:
        expected += bias
    for own in (step, None) if activations == "token" else (step,):
        y = torch.full((133, 45), 7.0)
        packed(weight, places).outputs_of(x, own, top, scale, bias, y)
        np.testing.assert_array_equal(y.numpy(), expected.numpy())


def medians(q, errors):
    """Of the sums of q [V, K] with errors [r, n, K] of every replica, [V, n]."""
    return np.median(np.einsum("vk,rnk->rvn", q, errors), axis=0).astype(np.int64)


@pytest.mark.parametrize("replicas", [3, 5])
@pytest.mark.parametrize("long", [0, 256, 257, 259, 600])
@pytest.mark.parametrize("by_name", [True, False])
def test_votes_are_medians_of_the_sums_of_errors(replicas, long, by_name):
    """Full-scale inputs, errors that count several times, as many of one sign as 16 bits hold the sum of, and more."""
    rng = np.random.default_rng(long)
    outputs, inputs, vectors, rows = 21, 700, 67, 128
    places = np.flatnonzero(rng.random(outputs) < 0.7)
    of = np.sort(rng.choice(places, 9))
    errors = rng.integers(-6, 7, (replicas, len(of), inputs)) * (rng.random((replicas, len(of), inputs)) < 0.1)
    errors[:, 0], errors[:, 0, :long] = 0, 1
    errors[:, 1], errors[:, 1, inputs - long :] = 0, -1
    q = rng.choice([-127, 127, 3], (vectors, inputs))
    q[0], q[1] = 127, -127
    weight = np.zeros((outputs, inputs), np.int64)
    weight[places] = rng.integers(-127, 128, (len(places), inputs))
    shift = rng.integers(0, 7, len(of))
    expected = q @ weight.T
    if by_name:
        at = [np.flatnonzero(own) for own in errors.transpose(1, 0, 2).reshape(-1, inputs)]
        value = [own[k] for own, k in zip(errors.transpose(1, 0, 2).reshape(-1, inputs), at, strict=True)]
        columns = np.unique(np.concatenate(at))
        named = (
            torch.from_numpy(np.concatenate(value).astype(np.float32)),
            torch.from_numpy(np.searchsorted(columns, np.concatenate(at))),
            torch.from_numpy(np.concatenate([[0], np.cumsum([len(k) for k in at])])),
            torch.from_numpy(columns),
        )
        kind = {"named": named}
        voted = medians(q, errors)
    else:
        errors[0] = 0
        padded = np.zeros((replicas - 1, 16, inputs), np.int8)
        padded[:, : len(of)] = errors[1:]
        kind = {"held": (torch.from_numpy(padded.reshape(-1, inputs)), rows)}
        parts = range(0, inputs, rows)
        voted = sum(medians(q[:, k : k + rows], errors[:, :, k : k + rows]) for k in parts)
    np.add.at(expected.T, of, voted.T << shift[:, None])
    terms = VotedTerms(replicas, torch.from_numpy(of), torch.from_numpy(np.float32(2.0**shift)), **kind)
    y = torch.empty((vectors, outputs))
    own = packed(torch.from_numpy(weight.astype(np.int8)), torch.from_numpy(places))
    own.outputs_of(torch.from_numpy(q).float(), torch.ones(1, 1), 127, torch.ones(1), None, y, [terms])
    np.testing.assert_array_equal(y.numpy(), expected)  # below 2^24


def test_votes_that_have_no_place_are_refused():
    ones = torch.ones((1, 4), dtype=torch.int8)
    terms = VotedTerms(3, torch.tensor([1]), torch.ones(1), held=(ones.repeat(2, 1), 4))
    own = packed(ones.repeat(3, 1), torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="an output that is not packed"):
        own.outputs_of(torch.ones(2, 4), None, 127, torch.ones(1), None, torch.ones(2, 3), [terms])
    wide = torch.ones((1, (1 << 16) + 1), dtype=torch.int8)
    with pytest.raises(ValueError, match="up to 65536 inputs, not 65537"):
        packed(wide).outputs_of(wide.float(), None, 127, torch.ones(1), None, torch.ones(1, 1), [terms])


@pytest.mark.parametrize("step", [0.02, 1e-39, 1e-31, 3e38, float("inf"), float("nan")])
def test_quotients_near_halves_are_rounded_as_torch_does(step):
    """Where a product with the inverse of a step is not a quotient."""
    x = torch.arange(-140.5, 140.5, 0.5) * torch.tensor(step).clamp(max=1e36)
    x = torch.stack([x, torch.nextafter(x, x + 1), torch.nextafter(x, x - 1)]).T.reshape(-1, 3)
    x = torch.cat([x, torch.tensor([[3e38, -3e38, 1e-45]])])
    steps = torch.full((1, 1), step)
    expected = round_activations(x, steps, 8).nan_to_num(0).to(torch.int8)
    for columns in (3, 48):  # below and above a register
        wide, y = x.repeat(1, columns // 3), torch.empty((len(x), columns))
        own = packed(torch.eye(columns).to(torch.int8))
        own.outputs_of(wide, steps, 127, torch.ones(1), None, y)
        wanted = expected.repeat(1, columns // 3).int() * steps
        np.testing.assert_array_equal(y.numpy(), wanted.numpy())


def test_what_does_not_fit_is_refused():
    own = packed(torch.ones((3, 4), dtype=torch.int8))
    for x in (torch.ones(2, 4), torch.ones((2, 5), dtype=torch.int8), torch.ones(4, dtype=torch.int8)):
        with pytest.raises(ValueError, match=r"takes torch\.int8\[V, 4\] on the CPU"):
            own.product(x)
    x, scale = torch.ones(2, 4), torch.ones(3)
    for y in (torch.ones(2, 4), torch.ones(3, 2).T, torch.ones((2, 3), dtype=torch.float64)):
        with pytest.raises(ValueError, match=r"contiguous float32\[2, 3\]"):
            own.outputs_of(x, None, 127, scale, None, y)


@pytest.mark.parametrize("compiler", [None, "fails"])
def test_without_it_products_are_of_floats_and_the_same(compiler, monkeypatch):
    def fails(*arguments):
        raise UserError("'c++' failed.")

    monkeypatch.setattr(products, "integer_matmul_is_exact", lambda device: False)
    monkeypatch.setattr(libraries, "find_compiler", lambda: None if compiler is None else ["c++"])
    monkeypatch.setattr(libraries, "compiled_library", fails)
    rng = np.random.default_rng(0)
    x, weight = random_int8(rng, 5, 30), random_int8(rng, 20, 30)
    int8_product._library.cache_clear()
    try:
        if compiler is None:
            assert packed(weight) is None
        else:
            with pytest.warns(UserWarning, match=r"in float32, which is slower: 'c\+\+' failed"):
                assert packed(weight) is None
        assert isinstance(products.prepared(weight), list)
        assert torch.equal(products.integer_matmul(x, weight).long(), x.long() @ weight.long().T)
    finally:
        monkeypatch.undo()
        int8_product._library.cache_clear()
