"""The token embedding table kept in ReRAM as plain memory, with stuck cells.

A value takes ``weight_bits`` one-bit cells, its magnitude from bit 0 upwards and then its sign, row after row of the
table, and is read bit by bit without an ADC: a stuck cell replaces one bit of one value.
"""

from __future__ import annotations

import copy
import math
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.common.errors import UserError
from crossvote.swstack.mapping.quantization import quantize_weights
from crossvote.swstack.mapping.scheme import Scale

ModelT = TypeVar("ModelT", bound=nn.Module)


def _table(model: nn.Module) -> nn.Embedding:
    find = getattr(model, "get_input_embeddings", None)
    table = find() if find is not None else None
    if not isinstance(table, nn.Embedding):
        pictures = getattr(model, "main_input_name", "") == "pixel_values"
        raise UserError(
            f"faults.embeddings: {type(model).__name__} has no token embedding table that could be faulty"
            f"{'; what projects patches of pictures is digital' if pictures else ''}."
        )
    return table


def embedding_crossbars(model: nn.Module, rows: int, columns: int, weight_bits: int = 8) -> int:
    """Crossbars of ``rows`` x ``columns`` cells that the token embedding table of ``model`` fills.

    Raises:
        UserError: the model has no token embedding table.
    """
    return math.ceil(_table(model).weight.numel() * weight_bits / (rows * columns))


class FaultyEmbedding:
    """The quantized token embedding table of a model, and what a chip makes of it.

    Args:
        model: its table is replaced by a quantized copy of its own; other users of the old table keep it.
        first_crossbar: where the table starts on the chip. rows, columns: cells of a crossbar.

    Raises:
        UserError: the model has no token embedding table.
    """

    def __init__(
        self,
        model: nn.Module,
        first_crossbar: int,
        rows: int,
        columns: int,
        weight_bits: int = 8,
        scale: Scale = "tensor",
    ) -> None:
        old = _table(model)
        self.first_crossbar, self.rows, self.columns, self.weight_bits = first_crossbar, rows, columns, weight_bits
        self.crossbars = embedding_crossbars(model, rows, columns, weight_bits)
        self.integers, self.step = quantize_weights(old.weight.detach().cpu().numpy(), weight_bits, scale)
        table = copy.copy(old)  # the same module but for its parameters
        table._parameters = {}
        table.weight = nn.Parameter(
            torch.from_numpy(self.integers.astype(np.float32) * self.step).to(old.weight.device), requires_grad=False
        )
        model.set_input_embeddings(table)  # type: ignore[operator]
        self.table = table
        self._changed = np.zeros(0, np.int64)

    def program(self, faults: FaultMap | None) -> None:
        """Put a chip's faults under the table in place of the last chip's; O(f log f) for f faults of its cells.

        Raises:
            UserError: the fault map is for another chip.
        """
        self._write(self._changed, self.integers.ravel()[self._changed])
        self._changed = self._changed[:0]
        if faults is None:
            return
        faults.check_fits(self.rows, self.columns, self.first_crossbar + self.crossbars)
        cells, stuck = faults.of_crossbars(self.first_crossbar, self.first_crossbar + self.crossbars)
        cells = cells - self.first_crossbar * self.rows * self.columns
        value, bit = np.divmod(cells, self.weight_bits)
        used = value < self.integers.size
        value, bit, stuck = value[used], bit[used], stuck[used]
        changed, index = np.unique(value, return_inverse=True)
        # All faults of one value at once: bits that read 1, and bits that read 0, whatever was written.
        ones, zeros = np.zeros(len(changed), np.int64), np.zeros(len(changed), np.int64)
        np.add.at(ones, index[stuck], 1 << bit[stuck])
        np.add.at(zeros, index[~stuck], 1 << bit[~stuck])
        sign = 1 << (self.weight_bits - 1)
        written = self.integers.ravel()[changed].astype(np.int64)
        read = ((np.abs(written) | np.where(written < 0, sign, 0)) | ones) & ~zeros
        self._write(changed, np.where(read & sign, -1, 1) * (read & (sign - 1)))
        self._changed = changed

    def _write(self, index: np.ndarray, integers: np.ndarray) -> None:
        step = self.step if self.step.size == 1 else self.step[index % self.integers.shape[1]]
        values = torch.from_numpy(integers.astype(np.float32) * step).to(self.table.weight.device)
        with torch.no_grad():
            self.table.weight.view(-1)[torch.from_numpy(index).to(values.device)] = values
