"""Exact evaluation of a mapped matrix on a faulty chip, at the price of one integer matrix product.

While no ADC clips, everything between inputs and the vote is linear: the column sum of a bit line is x @ d, with
d[k] in {-1, 0, 1} what the pair of cells on word line k reads as, and a stuck cell adds +-1 to one d[k]. So

* on a line without a vote, summed copies included, a fault changes the integer weight of its output by +-2^shift: it is
  folded into the matrix;
* on a term with r replicas, the median of x @ d + x @ e_i (e_i: the fault vector of replica i) is
  x @ d + median(x @ e_i), which is x @ d unless at least (r + 1) / 2 replicas have a fault: only those places need
  a correction, and it is sparse. With the vote in each crossbar pair, a place is one (term, row block).

Both parts take O(number of faults) to set up per chip; the compiled product takes both at once. Integers stay below
2^31: K * 128 * 127 bounds them for 8 bits.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from crossvote.sim.array.image import MatrixImage
from crossvote.swstack.inference.int8_product import VOTING_INPUTS, PackedWeight
from crossvote.swstack.inference.mapped_linear import MappedLinear
from crossvote.swstack.inference.placed_group import PlacedGroup
from crossvote.swstack.inference.products import (
    Prepared,
    integer_matmul_is_exact,
    integer_product,
    packed_outputs,
    prepared,
    whole_columns,
)
from crossvote.swstack.mapping.config import Activations
from crossvote.swstack.mapping.quantization import activation_top

#: Vectors and outputs from which on packing the weights takes little time beside the product: they are packed anew in
#: each pass then, which spares the memory of one byte a weight.
_KEPT_BELOW = 64
#: Largest number of elements of an intermediate result of the vote correction (64 MiB of float32).
_CORRECTION_ELEMENTS = 1 << 24


class CrossbarLinear(MappedLinear):
    """A matrix on crossbars whose ADCs lose nothing: one integer product plus sparse vote corrections, exact.

    All faults that lines without a vote feel are in the integers. Where few cells are stuck the integers also hold what
    is voted on, and ``corrections`` the places that are outvoted; where many are, they hold what the first replicas
    are, and ``votes`` computes what every vote is beyond that. ``inference.convert`` sets all three from a fault map.

    Args:
        placed: the word-line group, shared by its matrices; ``weight`` is a view of its integers on the CPU.
        matrix, input_bits, activations, input_step: as in ``MappedLinear``.
    """

    weight: torch.Tensor
    mapped: torch.Tensor | None
    place: torch.Tensor | None
    corrections: nn.ModuleList
    votes: nn.ModuleList

    def __init__(
        self,
        placed: PlacedGroup,
        matrix: MatrixImage,
        input_bits: int,
        activations: Activations = "token",
        input_step: float | None = None,
    ) -> None:
        super().__init__(matrix, placed.driven, input_bits, activations, input_step)
        span = slice(matrix.first_output, matrix.first_output + matrix.outputs)
        self.register_buffer("weight", torch.from_numpy(placed.weight[span]), persistent=False)
        #: Outputs that have bit lines, if not all have: the others are 0 on every chip.
        mapped = np.unique(placed.output[placed.output >= 0].astype(np.int64)) - matrix.first_output
        mapped = mapped[(mapped >= 0) & (mapped < matrix.outputs)]
        some = whole_columns(len(mapped) + 1) < matrix.outputs
        self.register_buffer("mapped", torch.from_numpy(mapped) if some else None, persistent=False)
        # Where each output is among them; the others are at the first row of 0 behind them.
        place = np.full(matrix.outputs, len(mapped))
        place[mapped] = np.arange(len(mapped))
        self.register_buffer("place", torch.from_numpy(place) if some else None, persistent=False)
        self.corrections = nn.ModuleList()
        self.votes = nn.ModuleList()
        #: The integers as the compiled product takes them, from a pass with few inputs on; who changes them sets it to
        #: None.
        self.packed: PackedWeight | None = None
        #: What the inputs are multiplied by, while a batch is: made once for all of its chunks.
        self._multiplied: tuple[torch.Tensor, Prepared | None] | None = None

    def chip_outputs(self, x: torch.Tensor) -> torch.Tensor:
        try:
            self._multiplied = self._prepared() if self.activations != "float" else None
            if self._multiplied is not None and min(x.numel() // self.in_features, self.out_features) < _KEPT_BELOW:
                self._keep(self._multiplied[1])
            return super().chip_outputs(x)
        finally:
            self._multiplied = None

    def _prepared(self) -> tuple[torch.Tensor, Prepared | None]:
        on_cpu = self.weight.device.type == "cpu"
        packed = self.packed if self.packed is not None and on_cpu else packed_outputs(self.weight, self.mapped)
        if packed is not None:
            return self.weight, packed
        weight = self.weight if self.mapped is None else self._mapped_weight()
        return weight, prepared(weight)

    def _keep(self, ready: Prepared | None) -> None:
        if isinstance(ready, PackedWeight) and self.packed is None:
            self.packed = ready.trimmed()

    def _sums(self, x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        weight, ready = self._multiplied or self._prepared()
        y = integer_product(x, weight, values, ready)
        if self.place is not None and not isinstance(ready, PackedWeight):
            y = y.index_select(1, self.place)  # a fifth of the time of index_copy_ into zeros
        self._correct(y, values)
        for votes in self.votes:
            votes.add_to(y, x, values)  # type: ignore[operator]
        return y

    def _outputs(self, vectors: torch.Tensor, step: torch.Tensor | None, y: torch.Tensor) -> None:
        compiled = self._compiled
        if compiled is None:
            super()._outputs(vectors, step, y)
            return
        voted = [own.voted_terms() for own in (*self.corrections, *self.votes)]
        compiled.outputs_of(vectors, step, activation_top(self.input_bits), self.scale, self.bias, y, voted)

    @property
    def _compiled(self) -> PackedWeight | None:
        """What makes outputs of inputs in one go, while a batch is computed and where there is such."""
        ready = None if self._multiplied is None else self._multiplied[1]
        if not isinstance(ready, PackedWeight) or self.input_bits > 8:
            return None
        voting = bool(self.corrections) or bool(self.votes)
        return ready if not voting or self.in_features <= VOTING_INPUTS else None

    def _mapped_weight(self) -> torch.Tensor:
        """The integers of the outputs that have bit lines, and at least one row of 0, up to whole columns."""
        assert self.mapped is not None
        count = len(self.mapped)
        weight = self.weight.new_zeros((whole_columns(count + 1), self.in_features))
        torch.index_select(self.weight, 0, self.mapped, out=weight[:count])
        return weight

    def _float_outputs(self, vectors: torch.Tensor, y: torch.Tensor) -> None:
        torch.mm(vectors, self.weight.float().T, out=y)
        self._correct(y, vectors)
        for votes in self.votes:
            votes.add_to(y, vectors)  # type: ignore[operator]

    def _correct(self, y: torch.Tensor, values: torch.Tensor) -> None:
        transposed = values.T.contiguous() if any(c.columns is None for c in self.corrections) else None
        for correction in self.corrections:
            correction.add_to(y, values, transposed)  # type: ignore[operator]

    def _chunk(self, vectors: int, device: torch.device) -> int:
        """Few enough vectors for the cache on a CPU, and for the corrections' memory anywhere."""
        if self._compiled is not None:
            return max(1, vectors)
        widest = max((len(c.offsets) for c in self.corrections), default=1)  # type: ignore[arg-type]
        widest = max([widest, *(len(v.values) for v in self.votes)])  # type: ignore[arg-type]
        chunk = max(16, _CORRECTION_ELEMENTS // widest)
        if device.type == "cpu" and self.activations != "float":
            own = self.chunk if integer_matmul_is_exact("cpu") else 2 * self.chunk
            chunk = min(chunk, own * torch.get_num_threads())
        return max(1, min(chunk, vectors))
