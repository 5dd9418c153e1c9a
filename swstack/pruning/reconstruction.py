"""Solving what pruning leaves by least squares, layer after layer, so that it gives what the dense model gives.

Every matrix is solved again on the inputs that it has in the pruned model, errors of what came before included:

    query, key, value, first feed-forward   what the dense model's columns give
    attention output, second feed-forward   what is missing to the dense model's residual sum

so that the columns that stay in a residual sum take back what columns lost before it. A pruned column gives the mean
of what it should give, by its bias. In a residual sum every token counts by the inverse variance of that sum, which is
the error that the norm after it lets through: a few tokens of trained encoders are far larger than all others,
and would decide everything otherwise. A ridge pulls the solution to the dense weights where inputs say little.

Layer-wise least squares for pruned transformers: Kwon et al. 2022 (section 3.3), ZipLM (Kurtic et al. 2023).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.swstack.models.layouts import encoder_groups, family_name, layers, matrix_bias, matrix_weight
from crossvote.swstack.pruning.brain_surgeon import keep_rows
from crossvote.swstack.pruning.layer_runs import LayerCalls, LayerModule, block_of, capture, watched
from crossvote.swstack.pruning.rotation import HeadMoments, rotate_heads
from crossvote.swstack.tasks.encoded import Batch


@dataclass(frozen=True, eq=False)
class KeptLines:
    """Columns bool[N] and rows bool[K] of a word-line group to keep."""

    columns: torch.Tensor
    rows: torch.Tensor


def check_reconstructible(model: nn.Module) -> None:
    """Refuse a model whose layers cannot be solved one after the other.

    Raises:
        UserError: the message says what it lacks.
    """
    found = layers(model)
    groups = encoder_groups(model)
    inside = sum(len(layer.groups) for layer in found)
    why = ""
    if not found or inside != len(groups) or any(set(one.groups) != {"qkv", "o", "ffn1", "ffn2"} for one in found):
        why = "its layers do not all have the four groups qkv, o, ffn1 and ffn2"
    elif any(len(one.groups["qkv"].matrices) != 3 or len(set(one.groups["qkv"].heads)) != 1 for one in found):
        why = "query, key and value are not three matrices with as many heads each"
    elif any(matrix_bias(model, name) is None for group in groups for name in group.matrices):
        why = "some of its matrices have no bias, which a pruned column needs to give its mean"
    elif len(found) != int(getattr(model.config, "num_hidden_layers", len(found))):
        why = "its layers share their weights"
    if why:
        raise UserError(f"prune.method = 'least-squares': not for {family_name(model)}: {why}; take another method.")


@torch.no_grad()
def rotate(model: PreTrainedModel, batches: Sequence[Batch], progress: Progress = no_progress) -> None:
    """Turn the heads of all layers into the bases in which columns are worth least or most on ``batches``.

    What the model computes stays the same up to rounding.
    """
    calls = capture(model, batches)
    hidden, found = calls.inputs(), layers(model)
    for number, layer in enumerate(found):
        progress(f"prune (bases of layer {number + 1} of {len(found)})", number, len(found))
        block = LayerModule(model, layer, {})
        query, key, _ = layer.groups["qkv"].matrices
        queries, keys, contexts = _Moment(), _Moment(), _Moment()
        after = []
        for at, (one, tokens) in enumerate(zip(hidden, calls.tokens, strict=True)):
            with watched(block.model, outputs=(query, key), inputs=(block.matrix("o"),)) as seen:
                after.append(calls.run(block, at, one))
            queries.add(seen[f"{query} out"][tokens])
            keys.add(seen[f"{key} out"][tokens])
            contexts.add(seen[block.matrix("o")][tokens])
        rotate_heads(model, layer, HeadMoments(queries.about_zero(), keys.about_mean(), contexts.about_mean()))
        hidden = after


@torch.no_grad()
def reconstruct(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    kept: Mapping[str, KeptLines],
    ridge: float,
    choose: Mapping[str, int] | None = None,
    progress: Progress = no_progress,
) -> dict[str, KeptLines]:
    """Prune ``model`` in place to the rows and columns of ``kept`` (by group), and solve what is left.

    ridge: pull towards the dense weights, in units of the mean square of a matrix' inputs.
    choose: number of columns to prune of groups (first feed-forward ones) whose columns are chosen here and not by
        ``kept``: those that the matrix behind them can best do without.

    Returns what was kept. O(batches) in memory for the hidden states of one layer; each layer is run about three times.
    """
    dense_model = copy.deepcopy(model)
    calls = capture(model, batches)
    wanted, given = calls.inputs(), calls.inputs()
    result = dict(kept)
    found = layers(model)
    for number, layer in enumerate(found):
        progress(f"prune (solving layer {number + 1} of {len(found)})", number, len(found))
        block = block_of(model, layer, calls, wanted[0])
        dense = _Dense.of(block_of(dense_model, layer, calls, wanted[0]), calls, wanted)
        groups = layer.groups
        if choose and groups["ffn1"].name in choose:
            # Values in, of all columns, as the second matrix sees them.
            moment = dense.inner_moment()
            rows = keep_rows(moment, matrix_weight(dense_model, block.matrix("ffn2")), choose[groups["ffn1"].name])
            result[groups["ffn1"].name] = KeptLines(rows, result[groups["ffn1"].name].rows)
        values = result[groups["qkv"].name].columns[-len(matrix_weight(model, block.matrix("o"))) :]
        inner = result[groups["ffn1"].name].columns
        solver = _Solver(block, dense, calls, given, ridge)
        solver.columns("qkv", result[groups["qkv"].name])
        solver.residual("o", _without(result[groups["o"].name], values))
        solver.columns("ffn1", result[groups["ffn1"].name])
        solver.residual("ffn2", _without(result[groups["ffn2"].name], inner))
        given = [calls.run(block, at, hidden) for at, hidden in enumerate(given)]
        wanted = dense.after
    progress("prune (all layers solved)", len(found), len(found))
    return result


def _without(kept: KeptLines, carrying: torch.Tensor) -> KeptLines:
    """Rows that carry nothing but a constant are solved by the bias."""
    return KeptLines(kept.columns, kept.rows & carrying)


class _Moment:
    """Sum of x^T x over tokens, with a last input that is always one."""

    def __init__(self) -> None:
        self.sum: torch.Tensor | None = None

    def add(self, values: torch.Tensor, weight: torch.Tensor | None = None) -> None:
        """values: [tokens, N]; weight: of every token."""
        ones = _with_one(values)
        scaled = ones if weight is None else ones * weight[:, None]
        part = (scaled.T @ ones).double()
        self.sum = part if self.sum is None else self.sum + part

    def about_zero(self) -> torch.Tensor:
        """Mean of x^T x, float64[N, N]."""
        assert self.sum is not None
        return self.sum[:-1, :-1] / self.sum[-1, -1]

    def about_mean(self) -> torch.Tensor:
        """Covariance, float64[N, N]."""
        assert self.sum is not None
        mean = self.sum[-1, :-1] / self.sum[-1, -1]
        return self.about_zero() - torch.outer(mean, mean)


def _with_one(values: torch.Tensor) -> torch.Tensor:
    return torch.cat([values, torch.ones(len(values), 1, dtype=values.dtype, device=values.device)], dim=1)


@dataclass(frozen=True, eq=False)
class _Dense:
    """What one dense layer gives, batch by batch, tokens that are no padding only.

    columns: by matrix name, of qkv and ffn1. sums: the residual sums by role. inner: what the second feed-forward
    matrix gets. after: the hidden states behind the layer, padding included.
    """

    block: LayerModule
    columns: list[dict[str, torch.Tensor]]
    sums: list[dict[str, torch.Tensor]]
    inner: list[torch.Tensor]
    after: list[torch.Tensor]

    @staticmethod
    def of(block: LayerModule, calls: LayerCalls, hidden: Sequence[torch.Tensor]) -> _Dense:
        """Run the layer on all batches."""
        result = _Dense(block, [], [], [], [])
        outputs = (*block.layer.groups["qkv"].matrices, block.matrix("ffn1"))
        for at, (one, tokens) in enumerate(zip(hidden, calls.tokens, strict=True)):
            with watched(
                block.model, outputs=outputs, inputs=(block.matrix("ffn2"),), before=tuple(block.norms.items())
            ) as seen:
                after = calls.run(block, at, one)
            result.columns.append({name: seen[f"{name} out"][tokens] for name in outputs})
            result.inner.append(seen[block.matrix("ffn2")][tokens])
            result.sums.append({role: seen.get(role, after)[tokens] for role in block.norms})
            result.after.append(after)
        return result

    def inner_moment(self) -> torch.Tensor:
        """Of the second feed-forward matrix' inputs, every token with its weight."""
        moment = _Moment()
        for inner, sums in zip(self.inner, self.sums, strict=True):
            moment.add(inner, _token_weight(sums["ffn2"]))
        assert moment.sum is not None
        return moment.sum


def _token_weight(sums: torch.Tensor) -> torch.Tensor:
    """What an error counts in residual sums [tokens, N]: the inverse of each token's variance."""
    return 1 / sums.var(dim=1).clamp_min(torch.finfo(sums.dtype).tiny ** 0.5)


@dataclass(frozen=True, eq=False)
class _Solver:
    """Solves the groups of one layer, in the order in which they are computed."""

    block: LayerModule
    dense: _Dense
    calls: LayerCalls
    given: Sequence[torch.Tensor]
    ridge: float

    def columns(self, role: str, kept: KeptLines) -> None:
        """Solve a group for the dense model's columns."""
        names = self.block.layer.groups[role].matrices

        def part(at: int, seen: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            inputs = seen[names[0]][self.calls.tokens[at]]
            wanted = torch.cat([self.dense.columns[at][name] for name in names], dim=1)
            return inputs, wanted, torch.ones(len(inputs), dtype=inputs.dtype, device=inputs.device)

        self._solve(names, kept, part, stop=names[0])

    def residual(self, role: str, kept: KeptLines) -> None:
        """Solve a group for what its residual sum lacks."""
        name = self.block.matrix(role)

        def part(at: int, seen: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            tokens, wanted = self.calls.tokens[at], self.dense.sums[at][role]
            own = seen[role][tokens] - seen[f"{name} out"][tokens]
            return seen[name][tokens], wanted - own, _token_weight(wanted)

        self._solve((name,), kept, part, stop=role)

    def _solve(
        self,
        names: Sequence[str],
        kept: KeptLines,
        part: Callable[[int, Mapping[str, torch.Tensor]], tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
        stop: str,
    ) -> None:
        square = product = torch.zeros(())
        residual = stop in self.block.norms
        for at, hidden in enumerate(self.given):
            with watched(
                self.block.model,
                inputs=(names[0],),
                outputs=names if residual else (),
                before=((stop, self.block.norms[stop]),) if residual else (),
                stop=stop,
            ) as seen:
                seen[stop] = self.calls.run(self.block, at, hidden)
            inputs, wanted, weight = part(at, seen)
            inputs = _with_one(inputs)
            scaled = (inputs * weight[:, None]).T
            square, product = square + (scaled @ inputs).double(), product + (scaled @ wanted).double()
        self._put(names, kept, square, product)

    def _put(self, names: Sequence[str], kept: KeptLines, square: torch.Tensor, product: torch.Tensor) -> None:
        """Ridge regression on the rows that are kept, towards the dense weights; the bias is free."""
        dense = self.dense.block.model
        biases = torch.cat([_bias(dense, name) for name in names])
        before = torch.cat([torch.cat([matrix_weight(dense, name) for name in names], dim=1), biases[None]]).double()
        rows = torch.cat([kept.rows, torch.ones(1, dtype=torch.bool, device=kept.rows.device)]).nonzero()[:, 0]
        pull = (self.ridge * square.diagonal()[:-1].mean()).repeat(len(rows))
        pull[-1] = 0.0
        system = square[rows][:, rows] + torch.diag(pull)
        solved = torch.zeros_like(before)
        solved[rows] = torch.linalg.solve(system, product[rows] + pull[:, None] * before[rows])
        solved[:-1, ~kept.columns] = 0.0
        solved[-1, ~kept.columns] = (product[-1] / square[-1, -1])[~kept.columns]
        first = 0
        for name in names:
            weight, bias = matrix_weight(self.block.model, name), _bias(self.block.model, name)
            part = solved[:, first : first + len(bias)].to(weight.dtype)
            weight.copy_(part[:-1])
            bias.copy_(part[-1])
            first += len(bias)


def _bias(model: nn.Module, name: str) -> torch.Tensor:
    bias = matrix_bias(model, name)
    assert bias is not None
    return bias
