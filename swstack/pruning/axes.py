"""What is pruned: the columns, and if asked the rows, of every word-line group, with the count to prune.

A method gives every row or column a score; `settle` turns scores into a mask with exactly the wanted count. All
groups, all methods, rows and columns go through the same two functions, so that methods are compared at equal
sparsity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from crossvote.sim.common.errors import UserError
from crossvote.swstack.models.layouts import WordLineGroup, matrix_weight, word_line_groups


@dataclass(frozen=True)
class Axis:
    """The columns or the rows of one word-line group.

    kind: 'columns' or 'rows'. Columns of the group's matrices are concatenated; rows are shared by its matrices.
    size: how many there are; prune: how many of them are to be pruned.
    segments: (first, stop) of each attention head, of which at least one column stays.
    """

    group: WordLineGroup
    kind: str
    size: int
    prune: int
    segments: tuple[tuple[int, int], ...]

    @property
    def name(self) -> str:
        """Group name and kind, unique in a model."""
        return f"{self.group.name}.{self.kind}"

    @property
    def target(self) -> float:
        """Share to prune."""
        return self.prune / self.size


def pruning_axes(model: nn.Module, column_sparsity: float, row_sparsity: float) -> tuple[Axis, ...]:
    """The axes to prune: ceil(share * size) columns and rows of every word-line group; none where a share is 0.

    Raises UserError naming the first group that cannot reach its share.
    """
    axes = []
    for group in word_line_groups(model):
        shapes = [tuple(matrix_weight(model, name).shape) for name in group.matrices]
        if column_sparsity > 0:
            segments, first = [], 0
            for (_, outputs), heads in zip(shapes, group.heads, strict=True):
                width = outputs // heads
                segments += [(first + i * width, first + (i + 1) * width) for i in range(heads)]
                first += outputs
            axes.append(_axis(group, "columns", first, column_sparsity, tuple(segments)))
        if row_sparsity > 0:
            axes.append(_axis(group, "rows", shapes[0][0], row_sparsity, ((0, shapes[0][0]),)))
    return tuple(axes)


def _axis(group: WordLineGroup, kind: str, size: int, share: float, segments: tuple[tuple[int, int], ...]) -> Axis:
    prune = math.ceil(share * size - 1e-9)  # 0.3 * 1000 must not become 301
    most = size - len(segments)
    if prune > most:
        why = f"one column of each of its {len(segments)} heads stays" if len(segments) > 1 else "one of them stays"
        raise UserError(
            f"prune.{kind.removesuffix('s')}_sparsity = {share:g}: {group.name} has {size} {kind} and {why}, "
            f"so at most {most / size:.4f} can be pruned."
        )
    return Axis(group, kind, size, prune, segments)


def keep_one_per_segment(scores: torch.Tensor, keep: torch.Tensor, axis: Axis) -> torch.Tensor:
    """`keep` bool[size], with the best-scored column of every head that would lose all of its columns added."""
    keep = keep.clone()
    for first, stop in axis.segments:
        if not keep[first:stop].any():
            keep[first + int(scores[first:stop].argmax())] = True
    return keep


def settle(scores: torch.Tensor, axis: Axis, ramp: float = 1.0) -> torch.Tensor:
    """Mask bool[size] that keeps all but exactly `axis.prune` entries: the best of every head, then the best overall.

    ramp: prune only this share of them, rounded. Ties are broken by position. O(size log size).
    """
    best = keep_one_per_segment(scores, torch.zeros(axis.size, dtype=torch.bool, device=scores.device), axis)
    ranked = torch.where(best, torch.full_like(scores, torch.inf), scores)
    order = torch.argsort(ranked, descending=True, stable=True)
    keep = torch.zeros(axis.size, dtype=torch.bool, device=scores.device)
    keep[order[: axis.size - round(ramp * axis.prune)]] = True
    return keep
