"""Evaluation of a mapped matrix code by code, for chips whose ADCs or cells lose information.

Every ADC code of every read is computed, clipped and combined as the periphery does: n_x * 2 * lines codes per token
vector and row block, against K * N multiplications of the plain layer. On ideal cells sums are integer matrix products.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from crossvote.sim.array.arithmetic import bit_weights
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import GroupImage, MatrixImage
from crossvote.sim.array.imperfect_reads import conductance_factors
from crossvote.sim.array.read_model import ReadModel
from crossvote.sim.array.silicon import conductance_stream
from crossvote.sim.common.errors import UserError
from crossvote.swstack.inference.mapped_linear import MappedLinear
from crossvote.swstack.inference.placed_group import Geometry
from crossvote.swstack.inference.products import integer_matmul
from crossvote.swstack.inference.vote_correction import median
from crossvote.swstack.mapping.config import Activations


class ExplicitLinear(MappedLinear):
    """One matrix on crossbars with a ``ReadModel``; outputs are integers in units of the ADC's step.

    ``cells`` int8 [row blocks, 2 * lines, rows] holds what each cell of the matrix reads as, in tiles of bit lines:
    the positive cells of a tile's lines, then the negative ones (exchanged for a flipped line, which negates it).
    ``factors`` float64 of the same shape is its conductance variation, if there is any. Memory: two bytes per bit of a
    weight.

    Raises:
        UserError: float activations, which cannot be streamed bit by bit.
    """

    cells: torch.Tensor
    factors: torch.Tensor | None

    #: Codes of so many vectors (8 reads each) and bit lines are computed at once: they stay in the processor's cache.
    chunk = 64
    _TILE = 512

    def __init__(
        self,
        group: GroupImage,
        matrix: MatrixImage,
        input_bits: int,
        adc_bits: int,
        read_model: ReadModel,
        activations: Activations = "token",
        input_step: float | None = None,
    ) -> None:
        if activations == "float":
            raise UserError("float activations cannot be streamed bit by bit; the explicit path needs quantized ones.")
        super().__init__(matrix, group.kept_inputs, input_bits, activations, input_step, read_model.step(adc_bits))
        self.read_model = read_model
        self.last_code = read_model.last_code(adc_bits)
        self.step = read_model.step(adc_bits)
        self.geometry, self.last_level = Geometry.of(group), group.last_level
        self.rows, self.row_blocks, self.vote = group.rows, group.row_blocks, group.vote
        last = matrix.first_output + matrix.outputs

        # Lines of the matrix, vote group by vote group, replica by replica within one.
        self.places: list[tuple[int, int, torch.Tensor, torch.Tensor]] = []  # first line, replicas, output, shift
        lines: list[NDArray[np.int64]] = []
        taken = 0
        for groups in group.column_map.vote_groups:
            own = (groups.output >= matrix.first_output) & (groups.output < last)
            if own.any():
                output = torch.from_numpy(groups.output[own] - matrix.first_output)
                shift = torch.from_numpy(groups.shift[own]).int()
                self.places.append((taken, groups.lines.shape[1], output, shift))
                lines.append(groups.lines[own].T.ravel())
                taken += lines[-1].size
        self.lines = np.concatenate(lines) if lines else np.zeros(0, np.int64)
        edges = [*range(0, len(self.lines), self._TILE), len(self.lines)]
        self.tiles = list(pairwise(edges))
        # Index of the positive and the negative cells of every bit line along the second axis of ``cells``.
        self.position = np.full((2, len(group.column_map)), -1)
        for first, stop in self.tiles:
            own_lines = self.lines[first:stop]
            self.position[0, own_lines] = first + np.arange(first, stop)
            self.position[1, own_lines] = stop + np.arange(first, stop)
        self.flipped = group.column_map.flipped

        cells = np.stack([self._ordered(group.block_cells(block)) for block in range(self.row_blocks)])
        self.register_buffer("cells", torch.from_numpy(cells.view(np.int8)), persistent=False)
        self.varying = group if read_model.variation else None
        self.register_buffer("factors", None, persistent=False)
        self.changed = torch.zeros(0, dtype=torch.int64)
        self.original = torch.zeros(0, dtype=torch.int8)
        self.random = torch.Generator()

    def _ordered(self, block: NDArray[np.generic]) -> NDArray[np.generic]:
        """[2, rows, lines of the group] of a row block in the order of ``cells``."""
        own = block[:, :, self.lines]
        exchanged = np.where(self.flipped[self.lines], own[::-1], own).transpose(0, 2, 1)
        tiles = [exchanged[:, first:stop].reshape(-1, self.rows) for first, stop in self.tiles]
        return np.concatenate(tiles) if tiles else np.zeros((0, self.rows), block.dtype)

    def program(self, faults: FaultMap | None) -> None:
        """Put a chip's faults under the matrix in place of the last chip's; O(faults of the group).

        With conductance variation all cells of the matrix are drawn anew, which takes time linear in their number.
        """
        if self.varying is not None:
            blocks = [
                self._ordered(conductance_factors(self.read_model, self.varying, block, faults))
                for block in range(self.row_blocks)
            ]
            self.factors = torch.from_numpy(np.stack(blocks)).to(self.cells.device)
        flat = self.cells.view(-1)
        flat[self.changed.to(flat.device)] = self.original.to(flat.device)
        self.changed, self.original = self.changed[:0], self.original[:0]
        if self.read_model.disturbed:
            stream = conductance_stream(self.read_model.seed, faults, "disturb", self.name)
            self.random.manual_seed(int(stream.generate_state(1, np.uint64)[0] >> 1))
        if faults is None:
            return
        places = self.geometry.locate(faults)
        own = self.position[0, places.line] >= 0
        line = places.line[own]
        half = places.sign[own] ^ self.flipped[line].astype(np.int64)
        at = places.row_block[own] * 2 * len(self.lines) + self.position[half, line]
        self.changed = torch.from_numpy(at * self.rows + places.word_line[own])
        index = self.changed.to(flat.device)
        self.original = flat[index]
        flat[index] = torch.from_numpy(places.stuck_at[own].astype(np.int8) * np.int8(self.last_level)).to(flat.device)

    def _sums(self, x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        vectors, count = len(x), len(self.lines)
        padded = torch.zeros((vectors, self.row_blocks * self.rows), dtype=x.dtype, device=x.device)
        padded[:, : self.in_features] = x
        reads = torch.arange(self.input_bits, dtype=x.dtype, device=x.device)[:, None, None]
        bits = ((padded >> reads) & 1).to(torch.int8)
        weights = bit_weights(self.input_bits).tolist()
        y = torch.zeros((vectors, self.out_features), dtype=torch.int64, device=x.device)
        # What the lines add up to; the two crossbars of the pairs apart where they vote alone.
        sides = 2 if self.vote == "alone" else 1
        totals = [torch.zeros((vectors, count), dtype=torch.int32, device=x.device) for _ in range(sides)]
        for block in range(self.row_blocks):
            part = bits[:, :, block * self.rows : (block + 1) * self.rows].reshape(-1, self.rows)
            for first, stop in self.tiles:
                codes = self._codes(part, block, slice(2 * first, 2 * stop)).view(self.input_bits, vectors, 2, -1)
                for read, weight in enumerate(weights):
                    totals[0][:, first:stop].add_(codes[read, :, 0], alpha=weight)
                    totals[-1][:, first:stop].sub_(codes[read, :, 1], alpha=weight)
            if self.vote != "output" or block == self.row_blocks - 1:
                for total in totals:
                    self._combine(total, y)
                    total.zero_()
        return y

    def _codes(self, bits: torch.Tensor, block: int, tile: slice) -> torch.Tensor:
        """ADC codes int32 [reads, 2 * lines] of a tile in a row block for driven word lines int8 [reads, rows]."""
        cells = self.cells[block, tile]
        model = self.read_model
        if self.factors is not None:
            high = model.high_resistance
            conductance = (cells + (self.last_level - cells) * high) * self.factors[block, tile]
            if model.disturbed:
                raise UserError("conductance variation and disturbed reads cannot be simulated together.")
            return self._converted(bits.double() @ conductance.T)
        ones = integer_matmul(bits, cells)
        if model.disturbed:
            driven = bits.sum(dim=1, keepdim=True, dtype=torch.int32)
            lost = self._binomial(ones, model.one_disturb)
            ones += self._binomial(driven - ones, model.zero_disturb) - lost
        if model.on_off_ratio is None and self.step == 1.0:
            return ones.clamp_(max=self.last_code)
        sums = ones.float()
        if model.on_off_ratio is not None:
            most = bits.sum(dim=1, keepdim=True, dtype=torch.float32) * self.last_level
            sums += (most - sums) * model.high_resistance
        return self._converted(sums)

    def _converted(self, sums: torch.Tensor) -> torch.Tensor:
        return sums.mul_(1 / self.step).round_().clamp_(0, self.last_code).int()

    def _binomial(self, count: torch.Tensor, chance: float) -> torch.Tensor:
        """How many of ``count`` cells are disturbed; drawn on the CPU so that every device sees the same."""
        if chance == 0.0:
            return torch.zeros_like(count)
        drawn = torch.binomial(count.cpu().float(), torch.full(count.shape, chance), generator=self.random)
        return drawn.to(count.device, count.dtype)

    def _combine(self, sums: torch.Tensor, y: torch.Tensor) -> None:
        """Vote on column sums [V, lines] and add the terms into y [V, N]."""
        for first, replicas, output, shift in self.places:
            own = sums[:, first : first + replicas * len(output)].view(len(sums), replicas, len(output))
            voted = median(own.unbind(1))
            y.index_add_(1, output.to(y.device), voted.long() << shift.to(y.device))
