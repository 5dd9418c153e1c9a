"""Structured pruning that frees columns in every word-line group."""

from __future__ import annotations

from crossvote.swstack.models.masks import (
    Masks,
    MatrixMask,
    Sparsity,
    apply_masks,
    dense_masks,
    load_masks,
    save_masks,
    sparsity_table,
)
from crossvote.swstack.pruning.pruning import PruneConfig, PruneResult, prune

__all__ = [
    "Masks",
    "MatrixMask",
    "PruneConfig",
    "PruneResult",
    "Sparsity",
    "apply_masks",
    "dense_masks",
    "load_masks",
    "prune",
    "save_masks",
    "sparsity_table",
]
