"""Pruning: exact shares in every group, heads kept, gates reopen, exact resume, estimators and their gradients."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from interruption import killed_and_resumed, same_weights
from test_groups import FAMILIES

from crossvote.sim.common.errors import UserError
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import WordLineGroup, matrix_bias, matrix_weight, word_line_groups
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.models.masks import apply_masks, dense_masks, load_masks, save_masks, sparsity_table
from crossvote.swstack.pruning.axes import Axis, pruning_axes, settle, stack_axes
from crossvote.swstack.pruning.config import PruneConfig
from crossvote.swstack.pruning.method import group_weights, make_method, relative_norms
from crossvote.swstack.pruning.methods import METHODS
from crossvote.swstack.pruning.pruning import Pruner, prune
from crossvote.swstack.pruning.straight_through import StraightThrough, estimator_slope, gated_weight
from crossvote.swstack.training.config import FinetuneConfig
from crossvote.swstack.training.finetune import finetune
from crossvote.swstack.training.predict import evaluate

CONFIG = PruneConfig(
    batch_size=8, learning_rate=1e-3, warmup_epochs=1, gate_epochs=3, final_epochs=2, checkpoint_steps=5,
    row_sparsity=0.1,
    precision="float32",
)  # fmt: skip


@pytest.fixture(scope="module")
def tuned(tiny_directory, tiny_task, tmp_path_factory):
    """State of the tiny model after fine-tuning, and a function that gives a fresh copy of it."""
    model, tokenizer = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)
    config = FinetuneConfig(epochs=12, batch_size=8, learning_rate=2e-3, precision="float32")
    finetune(model, tokenizer, tiny_task, config, 0, tmp_path_factory.mktemp("tuned"))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def copy():
        again, _ = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)
        again.load_state_dict(state)
        return again, tokenizer

    return copy


def test_every_group_ends_at_exactly_its_share_and_the_task_is_kept(tuned, tiny_task, tmp_path):
    model, tokenizer = tuned()
    dense = evaluate(model, tokenizer, tiny_task)["accuracy"]
    result = prune(model, tokenizer, tiny_task, CONFIG, 0, tmp_path)
    groups = {row.name: row for row in result.sparsity if row.kind == "group"}
    for group in word_line_groups(model):
        outputs = sum(matrix_weight(model, name).shape[1] for name in group.matrices)
        row = groups[group.name]
        # Folding adds query columns, and rows where value and first feed-forward columns went.
        exact_columns, exact_rows = not group.name.endswith("qkv"), group.name.endswith(("qkv", "ffn1"))
        for share, wanted, size, exact in (
            (row.column, 0.3, outputs, exact_columns),
            (row.row, 0.1, row.inputs, exact_rows),
        ):
            least = np.ceil(wanted * size) / size
            assert share == pytest.approx(least) if exact else share >= least - 1e-12
        for name in group.matrices:
            mask, weight = result.masks[name], matrix_weight(model, name).numpy()
            assert not weight[:, ~mask.columns].any()
            assert not weight[~mask.rows, :].any()
            assert (weight[np.ix_(mask.rows, mask.columns)] != 0).all()
            assert np.array_equal(mask.rows, result.masks[group.matrices[0]].rows)
            biases = matrix_bias(model, name)[torch.from_numpy(~mask.columns)]
            if ".query" not in name:  # whose biases stay where the key column does
                assert bool((biases != 0).any()) == (".output." in name)
            if group.name.endswith("qkv"):
                assert mask.columns.reshape(2, -1).any(axis=1).all()
    assert evaluate(model, tokenizer, tiny_task)["accuracy"] > dense - 15
    assert result.reopened > 0
    assert len(result.history) == CONFIG.epochs
    assert set(dict(model.named_parameters())) == set(dict(tuned()[0].named_parameters()))


# 12 steps an epoch: warm-up to step 12, gates to 48, final to 72.
@pytest.mark.parametrize("stop", [8, 31, 48, 70])
def test_a_killed_run_continues_to_the_same_weights_and_masks(tuned, tiny_task, tmp_path, stop):
    straight, tokenizer = tuned()
    expected = prune(straight, tokenizer, tiny_task, CONFIG, 0, tmp_path / "straight")
    resumed, result = killed_and_resumed(
        stop,
        tuned,
        lambda model, progress: prune(model, tokenizer, tiny_task, CONFIG, 0, tmp_path / "killed", progress),
    )
    assert same_weights(straight, resumed)
    assert (result.history, result.completed, result.reopened) == (
        expected.history, expected.completed, expected.reopened,
    )  # fmt: skip


def test_a_share_that_a_group_cannot_reach_says_which_and_why(tuned):
    model, _ = tuned()
    pruning_axes(model, 90 / 96, 0.0)
    with pytest.raises(UserError, match=r"layer\.0\.qkv has 96 columns .* 6 heads stays, so at most 0\.9375"):
        pruning_axes(model, 0.95, 0.0)
    with pytest.raises(UserError, match=r"row_sparsity = 0\.99"):
        pruning_axes(model, 0.0, 0.99)


def axis_of(size, prune_count, heads):
    width = size // heads
    segments = tuple((i * width, (i + 1) * width) for i in range(heads))
    widths = (size // 3,) * 3 if heads == 3 else (size,)
    return Axis(WordLineGroup("g", ("m",), (heads,)), "columns", size, prune_count, segments, widths)


@given(st.data())
def test_settle_keeps_the_best_of_every_head_and_exactly_the_rest(data):
    heads = data.draw(st.integers(1, 4))
    size = heads * data.draw(st.integers(1, 6))
    axis = axis_of(size, data.draw(st.integers(0, size - heads)), heads)
    # Few distinct values, so that ties occur.
    scores = torch.tensor(data.draw(st.lists(st.integers(-3, 3), min_size=size, max_size=size))).float()
    keep = settle(scores, axis)
    assert int((~keep).sum()) == axis.prune
    best_of_heads = [first + int(scores[first:stop].argmax()) for first, stop in axis.segments]
    assert keep[best_of_heads].all()
    free = torch.ones(size, dtype=torch.bool)
    free[best_of_heads] = False
    if (keep & free).any() and (~keep).any():
        assert scores[keep & free].min() >= scores[~keep].max()


def test_estimators_pass_the_step_function_with_their_slopes():
    values = torch.tensor([-1.0, 0.5, 2.0])
    expected = {
        "softplus": torch.sigmoid(values),
        "linear": torch.ones(3),
        "relu": torch.tensor([0.0, 1.0, 1.0]),
        "leaky": torch.tensor([0.1, 1.0, 1.0]),
    }
    for name, slope in expected.items():
        gates = values.clone().requires_grad_()
        out = StraightThrough.apply(gates, values > 0, estimator_slope(values, name))
        assert out.tolist() == [0.0, 1.0, 1.0]
        (out * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
        torch.testing.assert_close(gates.grad, slope * torch.tensor([1.0, 2.0, 3.0]))


def test_gate_gradients_are_the_chain_rule_or_the_sign_form():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 3, generator=generator)
    upstream = torch.randn(4, 3, generator=generator)
    expected = {"chain": upstream * weight, "sign": upstream * weight.sign()}
    for form, product in expected.items():
        leaf = weight.clone().requires_grad_()
        rows = torch.tensor([1.0, 0.0, 1.0, 1.0], requires_grad=True)
        columns = torch.tensor([1.0, 0.0, 1.0], requires_grad=True)
        gated = gated_weight(leaf, rows, columns, form)
        torch.testing.assert_close(gated, weight * torch.outer(rows, columns))
        (gated * upstream).sum().backward()
        torch.testing.assert_close(columns.grad, (product * rows[:, None]).sum(dim=0))
        torch.testing.assert_close(rows.grad, (product * columns).sum(dim=1))
        torch.testing.assert_close(leaf.grad, upstream * torch.outer(rows, columns))


@pytest.mark.parametrize("estimator", ["linear", "relu", "leaky"])
def test_other_estimators_reach_the_share(tuned, tiny_task, tmp_path, estimator):
    model, tokenizer = tuned()
    config = dataclasses.replace(
        CONFIG, methods={"gates": {"estimator": estimator}}, warmup_epochs=0, gate_gradient="sign"
    )
    result = prune(model, tokenizer, tiny_task, config, 0, tmp_path)
    assert result.sparsity[-1].column >= 0.3
    assert (result.reopened == 0) == (estimator == "relu")


def test_masks_round_trip_and_apply(tuned, tmp_path):
    model, _ = tuned()
    masks = dense_masks(model)
    name = "bert.encoder.layer.1.intermediate.dense"
    masks[name].columns[:16] = False
    masks[name].rows[3] = False
    save_masks(masks, tmp_path / "masks.safetensors")
    loaded = load_masks(tmp_path / "masks.safetensors")
    assert loaded.keys() == masks.keys()
    assert all(
        np.array_equal(loaded[n].rows, m.rows) and np.array_equal(loaded[n].columns, m.columns)
        for n, m in masks.items()
    )
    apply_masks(model, loaded)
    assert int((matrix_weight(model, name) == 0).sum()) == 16 * 32 + 64 - 16
    table = {row.name: row for row in sparsity_table(model, loaded)}
    assert table[name].element == pytest.approx((16 * 32 + 64 - 16) / (32 * 64))
    assert table[name].column == pytest.approx(0.25)
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(UserError, match="damaged pruning masks"):
        load_masks(tmp_path / "junk")


@pytest.mark.parametrize("method", METHODS.names())
def test_every_method_reaches_the_share_and_resumes_exactly(tuned, tiny_task, tmp_path, method):
    config = dataclasses.replace(CONFIG, method=method, warmup_epochs=0)
    straight, tokenizer = tuned()
    expected = prune(straight, tokenizer, tiny_task, config, 0, tmp_path / "straight")
    groups = [row for row in expected.sparsity if row.kind == "group"]
    assert all(0.3 <= row.column < (0.45 if row.name.endswith("qkv") else 0.33) for row in groups)
    stop = 33 if config.epochs > config.final_epochs else 20  # least squares trains the final epochs only
    resumed, _ = killed_and_resumed(
        stop,
        tuned,
        lambda model, progress: prune(model, tokenizer, tiny_task, config, 0, tmp_path / "killed", progress),
    )
    assert same_weights(straight, resumed)


# Movement and hard concrete judge by how training moves a column, so an idle one is no candidate to them.
@pytest.mark.parametrize("method", ["gates", "saliency", "magnitude", "magnitude-start", "admm", "group-lasso"])
def test_columns_that_do_nothing_are_the_ones_to_go(tuned, tiny_task, tmp_path, method):
    model, tokenizer = tuned()
    name = "bert.encoder.layer.0.intermediate.dense"
    idle = np.arange(64) % 3 == 0
    matrix_weight(model, name)[:, torch.from_numpy(idle)] *= 1e-4
    config = dataclasses.replace(  # a small rate, so that idle columns stay idle
        CONFIG, method=method, learning_rate=1e-5, warmup_epochs=0, gate_epochs=8, row_sparsity=0.0
    )
    result = prune(model, tokenizer, tiny_task, config, 0, tmp_path)
    pruned = ~result.masks[name].columns
    # By chance, 30 % of the idle third would go.
    assert pruned[idle].mean() > 0.6


def test_columns_are_ranked_in_units_of_their_own_matrix():
    axis = axis_of(12, 6, 3)  # query, key and value of one head each
    weight = torch.rand(5, 12, generator=torch.Generator().manual_seed(0)) + 0.5
    scaled = weight * torch.tensor([1.0] * 4 + [10.0] * 4 + [0.01] * 4)
    torch.testing.assert_close(relative_norms(scaled, axis), relative_norms(weight, axis))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gated_model_computes_what_the_masked_model_does(family):
    model = FAMILIES[family]().eval()
    model.config.pad_token_id = 0
    axes = pruning_axes(model, 0.3, 0.2)
    method = make_method(model, axes, PruneConfig(method="magnitude"), steps=1)
    pruner = Pruner(axes, method, first_step=0, freeze_step=0, ramp_share=0.0, gradient="chain")
    ids = torch.arange(1, 13).reshape(2, 6)
    with torch.no_grad():
        dense = model(input_ids=ids).logits
        with pruner.attached(model):
            torch.testing.assert_close(model(input_ids=ids).logits, dense)
            pruner.freeze()
            gated = model(input_ids=ids).logits
        assert not torch.allclose(gated, dense)
        apply_masks(model, pruner.masks(model))
        torch.testing.assert_close(model(input_ids=ids).logits, gated)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.floats(0, 1), st.integers(0, 99))
def test_stacked_axes_settle_as_each_would_alone(count, heads, width, ramp, seed):
    axis = axis_of(heads * width, heads * (width - 1), heads)
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-3, 4, (count, axis.size), generator=generator).float()
    together = settle(scores, axis, ramp)
    for row, alone in zip(together, scores, strict=True):
        assert torch.equal(row, settle(alone, axis, ramp))


def test_heads_of_unequal_widths_keep_one_column_each():
    axis = dataclasses.replace(axis_of(6, 3, 1), segments=((0, 2), (2, 5), (5, 6)))
    keep = settle(torch.tensor([1.0, 2.0, 9.0, 8.0, 7.0, 0.0]), axis)
    assert keep.tolist() == [False, True, True, False, False, True]


def test_axes_of_equal_shape_share_a_stack(tuned):
    axes = pruning_axes(tuned()[0], 0.3, 0.1)
    stacks = stack_axes(axes)
    # Of both layers each: columns of qkv (96), of o and ffn2 (32), of ffn1 (64); rows of 32 and of 64.
    assert sorted((stack.axes[0].kind, stack.size, len(stack.axes)) for stack in stacks) == [
        ("columns", 32, 4), ("columns", 64, 2), ("columns", 96, 2), ("rows", 32, 6), ("rows", 64, 2),
    ]  # fmt: skip
    assert {axis.name for stack in stacks for axis in stack.axes} == {axis.name for axis in axes}


@pytest.mark.parametrize("method", ["saliency", "magnitude-start", "gates"])
def test_the_start_opens_everything_measures_and_then_ranks(tuned, method):
    model, _ = tuned()
    axes = pruning_axes(model, 0.5, 0.0)
    config = PruneConfig(method=method, saliency_steps=2, gate_learning_rate=1e-9, multiplier_rate=0, quadratic=0)
    built = make_method(model, axes, config, steps=100)
    generator = torch.Generator().manual_seed(0)
    saliency = {stack.name: torch.zeros(len(stack.axes), stack.size) for stack in built.stacks}
    for _ in range(2):
        factors = built.factors(1.0)
        pull = {name: torch.randn(factor.shape, generator=generator) for name, factor in factors.items()}
        assert all(bool((factor == 1).all()) for factor in factors.values())
        sum((factors[name] * pull[name]).sum() for name in factors).backward()
        slope = torch.sigmoid(torch.tensor(METHODS["gates"].Settings().start)) if method == "gates" else 1.0
        for name in saliency:
            saliency[name] += (pull[name] * slope).square()
        built.update(1.0)
    for stack in built.stacks:
        if method == "magnitude-start":
            wanted = torch.stack([relative_norms(group_weights(model)[a.group.name].joined(), a) for a in stack.axes])
        else:
            wanted = saliency[stack.name]
        assert torch.equal(built.scores()[stack.name].argsort(dim=1), wanted.argsort(dim=1))
    if method != "gates":  # closed at once as far as the ramp says, by that order
        keep = built.factors(0.5)
        for stack in built.stacks:
            expected = settle(built.scores()[stack.name], stack, 0.5)
            assert torch.equal(keep[stack.name], expected.float())
            assert int((~expected).sum()) == len(stack.axes) * round(0.5 * stack.prune)


def test_schedules_are_the_published_ones(tuned):
    model, _ = tuned()
    axes = pruning_axes(model, 0.5, 0.0)
    gates = make_method(model, axes, PruneConfig(), steps=100)
    assert [gates.ramp(progress, 0.5) for progress in (0.25, 0.5, 1.0)] == [0.875, 1.0, 1.0]
    movement = make_method(model, axes, PruneConfig(method="movement"), steps=100)
    # Nothing in the first tenth; half of the way from 0.1 to 0.8 at 0.45; all of it at 0.8.
    values = [movement.ramp(progress, 0.5) for progress in (0.05, 0.1, 0.45, 0.8, 1.0)]
    assert values == pytest.approx([0, 0, 0.875, 1, 1])


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match=r"must be one of gates, admm"):
        PruneConfig(method="luck")


def test_nothing_is_pruned_or_trained_where_nothing_shall_be(tuned, tiny_task, tmp_path):
    model, tokenizer = tuned()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = prune(model, tokenizer, tiny_task, PruneConfig(method="none"), 0, tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(mask.rows.all() and mask.columns.all() for mask in result.masks.values())
    assert {row.column for row in result.sparsity} == {0.0}
