"""Least squares: bases change nothing, nothing pruned changes nothing, what others can replace costs nothing."""

from __future__ import annotations

import copy
import dataclasses
import itertools

import pytest
import torch
from interruption import killed_and_resumed, same_weights
from test_groups import BERT_SIZES, FAMILIES
from transformers import AlbertConfig, AlbertForSequenceClassification, ViTConfig, ViTForImageClassification

from crossvote.sim.common.errors import UserError
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import encoder_groups, layers, matrix_bias, matrix_names, matrix_weight
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.pruning.axes import pruning_axes
from crossvote.swstack.pruning.brain_surgeon import keep_rows
from crossvote.swstack.pruning.config import PruneConfig
from crossvote.swstack.pruning.method import group_weights
from crossvote.swstack.pruning.methods import least_squares
from crossvote.swstack.pruning.pruning import prune
from crossvote.swstack.pruning.reconstruction import KeptLines, check_reconstructible, reconstruct, rotate
from crossvote.swstack.pruning.saliency import gradient_saliency
from crossvote.swstack.tasks.encoded import Batch
from crossvote.swstack.training.loop import forward, task_loss

ENCODERS = [name for name in FAMILIES if name != "gpt2"]


def vit():
    return ViTForImageClassification(ViTConfig(image_size=8, patch_size=2, **BERT_SIZES))


@pytest.fixture(params=[*ENCODERS, "vit"])
def model(request):
    """A random model in double precision, whose biases and positions matter, of each family."""
    torch.manual_seed(0)
    built = (vit() if request.param == "vit" else FAMILIES[request.param]()).eval().double()
    built.config.pad_token_id = 0
    for name in matrix_names(built):
        matrix_weight(built, name).normal_(std=0.4)
        matrix_bias(built, name).normal_(std=0.5)
    if request.param == "mpnet":
        torch.nn.init.normal_(built.mpnet.encoder.relative_attention_bias.weight, std=2.0)
    return built


def batches(model, count=12, seed=0):
    """Batches as training sees them; sentences with padding."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        if model.config.model_type == "vit":
            inputs = {"pixel_values": torch.randn(6, 3, 8, 8, generator=generator, dtype=torch.float64)}
        else:
            ids = torch.randint(2, 20, (6, 12), generator=generator)
            mask = torch.ones_like(ids)
            mask[1, 7:] = 0
            inputs = {"input_ids": ids * mask, "attention_mask": mask}
        labels = torch.randint(0, 2, (6,), generator=generator)
        found.append(Batch(torch.arange(6).numpy(), inputs, labels, torch.ones(6, dtype=torch.bool)))
    return found


def logits(model, seed=99):
    with torch.no_grad():
        return model(**batches(model, 1, seed)[0].inputs).logits


def everything(model):
    """All columns and rows of all groups."""
    kept = {}
    for group in encoder_groups(model):
        shapes = [matrix_weight(model, name).shape for name in group.matrices]
        columns = torch.ones(sum(n for _, n in shapes), dtype=torch.bool)
        kept[group.name] = KeptLines(columns, torch.ones(shapes[0][0], dtype=torch.bool))
    return kept


def test_other_bases_of_the_heads_change_no_logit(model):
    before = logits(model)
    weights = {name: matrix_weight(model, name).clone() for name in matrix_names(model)}
    rotate(model, batches(model))
    torch.testing.assert_close(logits(model), before, rtol=1e-7, atol=1e-7)
    for layer in layers(model):
        for name in (*layer.groups["qkv"].matrices, *layer.groups["o"].matrices):
            assert not torch.allclose(matrix_weight(model, name), weights[name])


def test_the_last_columns_of_a_head_are_worth_least():
    torch.manual_seed(1)
    built = FAMILIES["bert"]().eval().double()
    for name in matrix_names(built):
        matrix_weight(built, name).normal_(std=0.4)
    rotate(built, batches(built))
    first = next(iter(layers(built)))
    query, key = (built.get_submodule(name) for name in first.groups["qkv"].matrices[:2])
    seen = {}
    for name, module in (("q", query), ("k", key)):
        module.register_forward_hook(lambda module, args, output, name=name: seen.setdefault(name, []).append(output))
    used = batches(built)
    for batch in used:
        with torch.no_grad():
            built(**batch.inputs)
    tokens = torch.cat([batch.inputs["attention_mask"].bool().flatten() for batch in used])
    q, k = (torch.cat([output.flatten(0, 1) for output in seen[name]])[tokens] for name in ("q", "k"))
    for columns in (slice(4 * i, 4 * i + 4) for i in range(4)):
        of_queries = q[:, columns].T @ q[:, columns] / len(q)
        of_keys = torch.cov(k[:, columns].T, correction=0)
        torch.testing.assert_close(of_queries, torch.diag(of_queries.diagonal()))
        torch.testing.assert_close(of_queries, of_keys)
        assert bool((of_queries.diagonal().diff() <= 0).all())


def test_where_nothing_is_pruned_nothing_changes(model):
    before = logits(model)
    reconstruct(model, batches(model), everything(model), ridge=1e-3)
    torch.testing.assert_close(logits(model), before, rtol=1e-6, atol=1e-6)


def test_what_others_can_replace_costs_nothing(model):
    """Each second column of the first feed-forward matrix is a copy, each second value column a multiple."""
    for layer in layers(model):
        for name, factor in ((layer.groups["ffn1"].matrices[0], 1.0), (layer.groups["qkv"].matrices[2], -2.0)):
            weight, bias = matrix_weight(model, name), matrix_bias(model, name)
            weight[:, 1::2], bias[1::2] = factor * weight[:, ::2], factor * bias[::2]
    before, kept, chosen = logits(model), everything(model), {}
    for layer in layers(model):
        qkv, ffn1 = layer.groups["qkv"].name, layer.groups["ffn1"].name
        kept[qkv].columns[33::2] = False
        chosen[ffn1] = 16
    result = reconstruct(model, batches(model, 30), kept, ridge=1e-9, choose=chosen)
    for layer in layers(model):
        columns = result[layer.groups["ffn1"].name].columns
        assert int(columns.sum()) == 16
        weight = matrix_weight(model, layer.groups["ffn1"].matrices[0])
        assert not weight[:, ~columns].any()
        assert not matrix_weight(model, layer.groups["ffn2"].matrices[0])[~columns].any()
    assert (logits(model) - before).norm() < 0.02 * before.norm()


def test_solving_costs_less_than_leaving_out():
    torch.manual_seed(2)
    built = FAMILIES["bert"]().eval().double()
    for name in matrix_names(built):
        matrix_weight(built, name).normal_(std=0.3)
    before, kept = logits(built), everything(built)
    for group in kept.values():
        group.columns[::3] = False
    cut = copy.deepcopy(built)
    for group in encoder_groups(cut):
        first = 0
        for name in group.matrices:
            weight = matrix_weight(cut, name)
            weight[:, ~kept[group.name].columns[first : first + weight.shape[1]]] = 0
            first += weight.shape[1]
    reconstruct(built, batches(built, 30), kept, ridge=0.01)
    assert (logits(built) - before).norm() < 0.7 * (logits(cut) - before).norm()


def test_the_first_row_to_go_is_the_one_that_least_squares_misses_least():
    generator = torch.Generator().manual_seed(3)
    inputs = (
        torch.randn(400, 6, generator=generator, dtype=torch.float64) @ torch.randn(6, 6, generator=generator).double()
    )
    weight = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    ones = torch.cat([inputs, torch.ones(400, 1, dtype=torch.float64)], dim=1)
    wanted = inputs @ weight

    def error(rows):
        part = ones[:, [*rows, 6]]
        return float((part @ torch.linalg.lstsq(part, wanted).solution - wanted).square().sum())

    best = min(itertools.combinations(range(6), 5), key=error)
    assert keep_rows(ones.T @ ones, weight, 1).nonzero()[:, 0].tolist() == list(best)
    assert keep_rows(ones.T @ ones, weight, 4).sum() == 2
    # Greedily, one at a time, nothing is far from the best pair.
    pair = keep_rows(ones.T @ ones, weight, 4).nonzero()[:, 0].tolist()
    assert error(pair) <= 2 * min(error(rows) for rows in itertools.combinations(range(6), 2))


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (FAMILIES["gpt2"], "three matrices"),
        (lambda: AlbertForSequenceClassification(AlbertConfig(embedding_size=8, **BERT_SIZES)), "share their weights"),
    ],
)
def test_other_models_are_refused_in_a_sentence(build, why):
    with pytest.raises(UserError, match=f"least-squares': not for .*{why}"):
        check_reconstructible(build())


def test_columns_count_by_what_they_give_besides_their_mean(model):
    """The saliency equals the mean square, over batches, of the derivative along a factor of that part alone."""
    model.eval()
    axes = [axis for axis in pruning_axes(model, 0.3, 0.3) if axis.group.name == layers(model)[0].groups["o"].name]
    used = batches(model, 3)
    found = gradient_saliency(model, group_weights(model), axes, used)
    (name,) = axes[0].group.matrices
    module = model.get_submodule(name)
    given = []
    handle = module.register_forward_hook(lambda module, args, output: given.append(output))
    expected = torch.zeros(module.bias.shape, dtype=torch.float64)
    for batch in used:
        model(**batch.inputs)
    masks = [
        batch.inputs.get("attention_mask", torch.ones(out.shape[:2])).bool()
        for batch, out in zip(used, given, strict=True)
    ]
    mean = torch.cat([out[mask] for out, mask in zip(given, masks, strict=True)]).mean(dim=0).detach()
    handle.remove()
    for batch in used:
        factor = torch.ones(mean.shape, dtype=torch.float64, requires_grad=True)
        handle = module.register_forward_hook(lambda module, args, output, f=factor: mean + f * (output - mean))
        task_loss(forward(model, batch), batch).backward()
        handle.remove()
        expected += factor.grad.square()
    by_kind = {axis.kind: found[axis.name] for axis in axes}
    torch.testing.assert_close(by_kind["columns"].double(), expected, rtol=1e-4, atol=1e-9)
    assert len(by_kind["rows"]) == module.weight.numel() // len(mean)


@pytest.mark.parametrize("final_epochs", [0, 2])
def test_only_the_final_epochs_train(tiny_directory, tiny_task, tmp_path, final_epochs):
    config = PruneConfig(
        method="least-squares", batch_size=8, gate_epochs=9, final_epochs=final_epochs, precision="float32"
    )
    model, tokenizer = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)
    result = prune(model, tokenizer, tiny_task, config, 0, tmp_path)
    assert result.completed == {}
    assert len(result.history) == final_epochs
    for group in (row for row in result.sparsity if row.kind == "group"):
        assert group.column >= 0.3
    for name in matrix_names(model):
        assert not matrix_weight(model, name)[:, ~torch.from_numpy(result.masks[name].columns)].any()


def test_an_interrupted_run_does_not_solve_again(tiny_directory, tiny_task, tmp_path, monkeypatch):
    """Nor would it find its checkpoint if it did with other threads: the last bits differ."""
    config = PruneConfig(
        method="least-squares", batch_size=8, final_epochs=2, precision="float32", checkpoint_steps=2, ramp_share=0.0
    )

    def fresh():
        return load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)

    straight, tokenizer = fresh()
    expected = prune(straight, tokenizer, tiny_task, config, 0, tmp_path / "straight")
    solved = []
    real = least_squares.reconstruct
    monkeypatch.setattr(least_squares, "reconstruct", lambda *args: solved.append(1) or real(*args))
    steps = []

    def run(model, progress):
        return prune(model, tokenizer, tiny_task, config, 0, tmp_path / "killed", progress)

    def count(description, done, total):
        if "epoch" in description:
            steps.append(done)

    resumed, result = killed_and_resumed(5, fresh, run, count)
    assert solved == [1]
    assert steps[0] == 5  # behind the checkpoint of step 4
    assert same_weights(straight, resumed)
    assert result.sparsity == expected.sparsity
    # Another ridge is another model.
    other = dataclasses.replace(config, methods={"least-squares": {"ridge": 0.5}})
    prune(fresh()[0], tokenizer, tiny_task, other, 0, tmp_path / "killed")
    assert solved == [1, 1]


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="calibration_tokens"):
        PruneConfig(method="least-squares", methods={"least-squares": {"calibration_tokens": 0}})
