"""What is pruned: the columns, and if asked the rows, of every word-line group, with the count to prune.

A method gives every row or column a score; ``settle`` turns scores into a mask with exactly the wanted count. All
groups, all methods, rows and columns go through the same two functions, so that methods are compared at equal
sparsity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from crossvote.sim.common.errors import UserError
from crossvote.swstack.models.layouts import WordLineGroup, encoder_groups, matrix_weight


@dataclass(frozen=True)
class Axis:
    """The columns or the rows of one word-line group.

    kind: 'columns' or 'rows'. Columns of the group's matrices are concatenated; rows are shared by its matrices.
    size: how many there are; prune: how many of them are to be pruned.
    segments: (first, stop) of each attention head, of which at least one column stays.
    widths: how many of them belong to each matrix of the group.
    """

    group: WordLineGroup
    kind: str
    size: int
    prune: int
    segments: tuple[tuple[int, int], ...]
    widths: tuple[int, ...]

    @property
    def name(self) -> str:
        """Group name and kind, unique in a model."""
        return f"{self.group.name}.{self.kind}"

    @property
    def target(self) -> float:
        """Share to prune."""
        return self.prune / self.size


@dataclass(frozen=True)
class AxisStack:
    """Axes of equal shape, one below the other, so that a step costs one operation and not one for every layer."""

    axes: tuple[Axis, ...]

    @property
    def name(self) -> str:
        """The first axis' name."""
        return self.axes[0].name

    @property
    def size(self) -> int:
        """Rows or columns of each axis."""
        return self.axes[0].size

    @property
    def prune(self) -> int:
        """How many of them are to be pruned."""
        return self.axes[0].prune

    @property
    def target(self) -> float:
        """Share to prune."""
        return self.axes[0].target

    @property
    def segments(self) -> tuple[tuple[int, int], ...]:
        """As in ``Axis``."""
        return self.axes[0].segments


def stack_axes(axes: Sequence[Axis]) -> tuple[AxisStack, ...]:
    """The axes by shape, in the order in which the shapes come first."""
    shapes: dict[tuple[object, ...], list[Axis]] = {}
    for axis in axes:
        shapes.setdefault((axis.kind, axis.size, axis.prune, axis.segments, axis.widths), []).append(axis)
    return tuple(AxisStack(tuple(alike)) for alike in shapes.values())


def pruning_axes(model: nn.Module, column_sparsity: float, row_sparsity: float) -> tuple[Axis, ...]:
    """The axes to prune: ceil(share * size) columns and rows of every word-line group; none where a share is 0.

    Raises:
        UserError: the message names the first group that cannot reach its share.
    """
    axes = []
    for group in encoder_groups(model):
        shapes = [tuple(matrix_weight(model, name).shape) for name in group.matrices]
        if column_sparsity > 0:
            segments, first = [], 0
            for (_, outputs), heads in zip(shapes, group.heads, strict=True):
                width = outputs // heads
                segments += [(first + i * width, first + (i + 1) * width) for i in range(heads)]
                first += outputs
            widths = tuple(outputs for _, outputs in shapes)
            if len(widths) == 1 and len(segments) > 1 and len(segments) % 3 == 0:
                widths = (first // 3,) * 3  # one fused matrix holds query, key and value
            axes.append(_axis(group, "columns", column_sparsity, tuple(segments), widths))
        if row_sparsity > 0:
            rows = shapes[0][0]
            axes.append(_axis(group, "rows", row_sparsity, ((0, rows),), (rows,)))
    return tuple(axes)


def _axis(
    group: WordLineGroup, kind: str, share: float, segments: tuple[tuple[int, int], ...], widths: tuple[int, ...]
) -> Axis:
    size = sum(widths)
    prune = math.ceil(share * size - 1e-9)  # 0.3 * 1000 must not become 301
    most = size - len(segments)
    if prune > most:
        why = f"one column of each of its {len(segments)} heads stays" if len(segments) > 1 else "one of them stays"
        raise UserError(
            f"prune.{kind.removesuffix('s')}_sparsity = {share:g}: {group.name} has {size} {kind} and {why}, "
            f"so at most {most / size:.4f} can be pruned."
        )
    return Axis(group, kind, size, prune, segments, widths)


def keep_one_per_segment(scores: torch.Tensor, keep: torch.Tensor, axis: Axis | AxisStack) -> torch.Tensor:
    """``keep`` bool[..., size], with the best-scored column of every head that would lose all of its columns added."""
    widths = {stop - first for first, stop in axis.segments}
    if len(widths) == 1:
        split = (*scores.shape[:-1], len(axis.segments), widths.pop())
        return _keep_best(scores.reshape(split), keep.reshape(split)).reshape(keep.shape)
    return torch.cat([_keep_best(scores[..., a:b], keep[..., a:b]) for a, b in axis.segments], dim=-1)


def _keep_best(scores: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """``keep`` with the best of the last dimension added where nothing is kept there; the first of equals."""
    best = torch.zeros_like(keep).scatter(-1, scores.argmax(dim=-1, keepdim=True), True)
    return keep | (best & ~keep.any(dim=-1, keepdim=True))


def settle(scores: torch.Tensor, axis: Axis | AxisStack, ramp: float = 1.0) -> torch.Tensor:
    """Mask bool[..., size] that keeps all but exactly ``axis.prune`` entries of each axis: the best of every head, then
    the best overall.

    ramp: prune only this share of them, rounded. Ties are broken by position. O(size log size).
    """
    nothing = torch.zeros_like(scores, dtype=torch.bool)
    ranked = torch.where(keep_one_per_segment(scores, nothing, axis), torch.inf, scores)
    order = torch.argsort(ranked, dim=-1, descending=True, stable=True)
    return nothing.scatter(-1, order[..., : axis.size - round(ramp * axis.prune)], True)
