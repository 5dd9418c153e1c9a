"""Which rows and columns of every encoder matrix are kept, and how sparse that makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load, save
from torch import nn

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import reading, write_bytes_atomic
from crossvote.swstack.models.layouts import matrix_weight, word_line_groups


@dataclass(frozen=True, eq=False)
class MatrixMask:
    """Kept inputs and outputs of a K x N matrix: rows bool[K], columns bool[N], True = kept."""

    rows: np.ndarray
    columns: np.ndarray

    @property
    def element_sparsity(self) -> float:
        """Share of weights that are zero because their row or their column is pruned."""
        return 1.0 - float(self.rows.mean() * self.columns.mean())


#: Matrix name -> mask.
Masks = dict[str, MatrixMask]


@dataclass(frozen=True)
class Sparsity:
    """Shares of weights, rows and columns pruned in one matrix, one word-line group or the whole encoder.

    kind: 'matrix', 'group' or 'encoder'. Rows and columns of groups are counted over their matrices.
    """

    name: str
    kind: str
    inputs: int
    outputs: int
    element: float
    row: float
    column: float


def dense_masks(model: nn.Module) -> Masks:
    """Masks that keep everything."""
    masks = {}
    for group in word_line_groups(model):
        for name in group.matrices:
            inputs, outputs = matrix_weight(model, name).shape
            masks[name] = MatrixMask(np.ones(inputs, dtype=bool), np.ones(outputs, dtype=bool))
    return masks


def apply_masks(model: nn.Module, masks: Mapping[str, MatrixMask]) -> None:
    """Set the weights of pruned rows and columns to zero, in place; biases stay.

    Raises:
        UserError: a mask names no matrix of the model or has another shape.
    """
    for name, mask in masks.items():
        weight = matrix_weight(model, name)
        shape = (len(mask.rows), len(mask.columns))
        if tuple(weight.shape) != shape:
            raise UserError(f"mask of {name} is {shape[0]} x {shape[1]}, the matrix {tuple(weight.shape)}.")
        weight[torch.from_numpy(~mask.rows), :] = 0.0
        weight[:, torch.from_numpy(~mask.columns)] = 0.0


def save_masks(masks: Mapping[str, MatrixMask], path: Path) -> None:
    """Write masks as one safetensors file, atomically."""
    tensors = {}
    for name, mask in masks.items():
        tensors[f"{name}.rows"] = np.ascontiguousarray(mask.rows)
        tensors[f"{name}.columns"] = np.ascontiguousarray(mask.columns)
    write_bytes_atomic(Path(path), save(tensors))


def load_masks(path: Path) -> Masks:
    """Masks written by ``save_masks``.

    Raises:
        UserError: the file is absent or something else.
    """
    with reading(path, "pruning masks"):
        tensors = load(Path(path).read_bytes())
        names = [key.removesuffix(".rows") for key in tensors if key.endswith(".rows")]
        return {name: MatrixMask(tensors[f"{name}.rows"], tensors[f"{name}.columns"]) for name in names}


def sparsity_table(model: nn.Module, masks: Mapping[str, MatrixMask]) -> tuple[Sparsity, ...]:
    """One entry per matrix, then per word-line group, then for the whole encoder."""
    groups = word_line_groups(model)
    matrices = [_summary(name, "matrix", [masks[name]]) for group in groups for name in group.matrices]
    by_group = [_summary(group.name, "group", [masks[name] for name in group.matrices]) for group in groups]
    everything = [masks[name] for group in groups for name in group.matrices]
    return (*matrices, *by_group, _summary("encoder", "encoder", everything))


def _summary(name: str, kind: str, masks: list[MatrixMask]) -> Sparsity:
    weights = sum(mask.rows.size * mask.columns.size for mask in masks)
    kept = sum(int(mask.rows.sum()) * int(mask.columns.sum()) for mask in masks)
    rows = np.concatenate([mask.rows for mask in masks])
    columns = np.concatenate([mask.columns for mask in masks])
    inputs = masks[0].rows.size if kind != "encoder" else rows.size
    return Sparsity(
        name=name,
        kind=kind,
        inputs=inputs,
        outputs=columns.size,
        element=1.0 - kept / weights,
        row=1.0 - float(rows.mean()),
        column=1.0 - float(columns.mean()),
    )
