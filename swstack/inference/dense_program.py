"""Putting a chip with many faults under a matrix on a GPU: all cells at once instead of fault by fault.

The list of faults is spread over the cells of a word-line group, every bit line's d = a+ - a- is formed, and lines
that do not vote are added into the integer matrix. Time is linear in the cells, whatever the fault rate; the matrices
stay on the device of the layer. Equal, integer for integer, to the fault-by-fault path of
``crossvote.swstack.inference.convert``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from crossvote.sim.array.faults import FaultMap
from crossvote.swstack.inference.int8_product import VotedTerms
from crossvote.swstack.inference.placed_group import PlacedGroup
from crossvote.swstack.inference.products import integer_product, votes_are_compiled, whole_columns
from crossvote.swstack.inference.vote_correction import median

#: Share of a group's cells that are stuck from which on all cells at once are faster than one fault after the other.
DENSE_FROM = 0.002


@dataclass(frozen=True, eq=False)
class Lines:
    """Bit lines on a device: tensors with one entry per line, ``plane``, ``shift`` and ``flipped`` as a column."""

    line: torch.Tensor
    output: torch.Tensor
    plane: torch.Tensor
    shift: torch.Tensor
    flipped: torch.Tensor


class DenseProgram:
    """The bit lines of a word-line group, ready to be programmed on a device.

    Args:
        placed: the group; its integers must be what the cells hold (``placed.plain``).
    """

    def __init__(self, placed: PlacedGroup, device: torch.device) -> None:
        self.placed, self.device = placed, device
        # On a CPU the group's own array: faults that were written into it one by one are taken out before ``apply``.
        self.weight = torch.from_numpy(placed.weight).to(device)
        used = np.flatnonzero(placed.output >= 0)
        single = used[placed.replica[used] == 0]  # what votes counts as its first replica does, plus a correction
        single = single[np.argsort(placed.output[single], kind="stable")]
        within = np.arange(len(single)) - np.searchsorted(placed.output[single], placed.output[single])
        #: First lines of all terms, in rounds in which no output occurs twice.
        self.rounds = [self.lines(single[within == i]) for i in range(int(within.max(initial=-1)) + 1)]
        self.votes: list[tuple[int, Lines]] = []
        for count in np.unique(placed.replicas[used]).tolist():
            if count > 1:
                lines = used[placed.replicas[used] == count]
                lines = lines[np.lexsort((placed.term[lines], placed.replica[lines]))]  # replica by replica
                self.votes.append((count, self.lines(lines)))

    def lines(self, lines: NDArray[np.int64]) -> Lines:
        def put(array: NDArray[np.generic], dtype: torch.dtype) -> torch.Tensor:
            return torch.from_numpy(array[lines].astype(np.int64)).to(self.device, dtype)

        p = self.placed
        integer = self.weight.dtype
        return Lines(
            torch.from_numpy(lines).to(self.device),
            put(p.output, torch.int64),
            put(p.plane, integer)[:, None],
            put(p.shift, integer)[:, None],
            put(p.flipped, integer)[:, None],
        )

    def apply(self, faults: FaultMap) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """What the chip makes of the group.

        Returns:
            The integers of all outputs [N, K] with the first replica of the terms that vote, and for each replica
            count what its other lines hold beyond the first replica's, int8[lines, K], replica by replica; for each
            crossbar of the pairs where these vote alone.

        Raises:
            UserError: the fault map is for another chip.
        """
        weight = torch.empty_like(self.weight)
        inputs = self.placed.inputs
        each = 2 if self.placed.vote == "alone" else 1
        votes = [
            torch.empty((len(lines.line) - len(lines.line) // count, inputs), dtype=torch.int8, device=self.device)
            for count, lines in self.votes
            for _ in range(each)
        ]
        for span, stuck in self.blocks(faults):
            part = torch.zeros((len(weight), span.stop - span.start), dtype=weight.dtype, device=self.device)
            for lines in self.rounds:
                part[lines.output] += self._differences(lines, stuck, span) << lines.shift
            weight[:, span] = part
            for at, (count, lines) in enumerate(self.votes):
                read = self._read(lines, stuck, span)
                for values, own in zip(votes[each * at :], read if each == 2 else (read[0] + read[1],), strict=False):
                    held = own.to(torch.int8).view(count, len(own) // count, -1)
                    values[:, span] = (held[1:] - held[:1]).flatten(0, 1)
        return weight, votes

    def blocks(self, faults: FaultMap) -> Iterator[tuple[slice, torch.Tensor]]:
        """Spans of inputs and what the cells there are stuck at, int8[2, lines, word lines], -1 where they work.

        Raises:
            UserError: the fault map is for another chip.
        """
        p, g = self.placed, self.placed.geometry
        g.check_fits(faults)
        blocks = g.row_blocks if self.device.type != "cpu" else 1  # one at a time stays in a processor's cache
        for first in range(0, g.row_blocks, blocks):
            stop = min(first + blocks, g.row_blocks)
            span = slice(first * g.rows, min(stop * g.rows, p.inputs))
            yield span, self._stuck(faults, first, stop)[:, :, : span.stop - span.start]

    def votes_of(self, values: list[torch.Tensor], first_output: int, outputs: int) -> list[DenseVotes]:
        """The voted terms of ``outputs`` outputs from ``first_output`` on, from what ``apply`` gave."""
        lines = [(count, lines.line.cpu().numpy()) for count, lines in self.votes]
        voting = [(count, self.placed.output[own], self.placed.shift[own]) for count, own in lines]
        return votes_of(self.placed, voting, values, first_output, outputs)

    def _stuck(self, faults: FaultMap, first: int, stop: int) -> torch.Tensor:
        """int8[2, lines, word lines] of some row blocks: what a cell is stuck at (0 or 1), -1 where it works."""
        g = self.placed.geometry
        crossbars = [2 * (g.first_pair + block * g.column_blocks) for block in (first, stop)]
        planes = faults.planes(*crossbars)
        stuck, sa1 = (self._bits(plane) for plane in (planes.stuck, planes.sa1))
        state = torch.where(stuck.bool(), sa1, -1)
        state = state.view(stop - first, g.column_blocks, 2, g.columns, -1)[..., : g.rows]
        return state.permute(2, 1, 3, 0, 4).reshape(2, g.column_blocks * g.columns, (stop - first) * g.rows)

    def _bits(self, words: NDArray[np.uint64]) -> torch.Tensor:
        """Words [...] as single bits, int8[..., 64]."""
        packed = torch.from_numpy(words.astype("<u8", copy=False).view(np.uint8)).to(self.device)
        place = torch.arange(8, dtype=torch.uint8, device=self.device)
        return (packed[..., None] >> place & 1).to(torch.int8)

    def _differences(self, lines: Lines, stuck: torch.Tensor, span: slice) -> torch.Tensor:
        """d of some lines, [lines, word lines], in the type of the integers; negated on flipped lines."""
        positive, negative = self._read(lines, stuck, span)
        return positive + negative

    def _read(self, lines: Lines, stuck: torch.Tensor, span: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """What the positive and the negative cells add to d of some lines."""
        last = self.placed.last_level
        weight = self.weight[:, span][lines.output]
        read = []
        for sign, own in enumerate((weight, -weight)):
            level = (own.clamp_(min=0) if sign else own.clamp(min=0)) >> lines.plane & last
            level = torch.where(lines.flipped.bool(), last - level, level)
            state = stuck[sign][lines.line]
            read.append(torch.where(state < 0, level, state.to(level.dtype) * last))
        turn = 1 - 2 * lines.flipped
        return read[0] * turn, -read[1] * turn


def votes_of(
    placed: PlacedGroup,
    voting: Sequence[tuple[int, NDArray[np.integer], NDArray[np.integer]]],
    values: Sequence[torch.Tensor],
    first_output: int,
    outputs: int,
) -> list[DenseVotes]:
    """The voted terms of ``outputs`` outputs from ``first_output`` on.

    Args:
        voting: per replica count, that count, and output and shift of its lines. values: what those lines but the
            first replicas' hold beyond these, int8[lines, K] each, twice where crossbars vote alone. Lines lie replica
            by replica, the terms of each in ascending order of outputs.
    """
    made = []
    rows = placed.inputs if placed.vote == "output" else placed.rows
    each = 2 if placed.vote == "alone" else 1
    for own, (count, output, shift) in zip(values, [v for v in voting for _ in range(each)], strict=True):
        terms = len(output) // count
        first, stop = np.searchsorted(output[:terms], [first_output, first_output + outputs]).tolist()
        if stop > first:
            part = own.view(count - 1, terms, -1)[:, first:stop].reshape((count - 1) * (stop - first), -1)
            of, power = (
                torch.from_numpy(array[first:stop].astype(np.int64)).to(own.device)
                for array in (output - first_output, shift)
            )
            made.append(DenseVotes(part, count, of, power, rows))
    return made


class DenseVotes(nn.Module):
    """The voted terms of a matrix with a dense set of faults: what their medians are beyond the first replica's sums.

    Args:
        values: int8[(r - 1) * n, K], what the other lines of n terms hold beyond the first, replica by replica.
        replicas: r. outputs: int64[n], within the matrix, ascending. shift: int64[n]. rows: word lines of a crossbar
            if the crossbar pairs vote, K if the output does.
    """

    values: torch.Tensor
    outputs: torch.Tensor
    weight: torch.Tensor

    def __init__(
        self, values: torch.Tensor, replicas: int, outputs: torch.Tensor, shift: torch.Tensor, rows: int
    ) -> None:
        super().__init__()
        self.replicas, self.rows = replicas, rows
        self.terms = len(outputs)
        if not (values.device.type == "cpu" and votes_are_compiled()):
            # Lines of zeros fill up the columns of the products.
            padded = values.new_zeros((replicas - 1, whole_columns(self.terms), values.shape[1]))
            padded[:, : self.terms] = values.view(replicas - 1, self.terms, -1)
            values = padded.view(-1, values.shape[1])
        self.register_buffer("values", values, persistent=False)
        self.register_buffer("outputs", outputs, persistent=False)
        self.register_buffer("weight", torch.ones_like(shift) << shift, persistent=False)

    def voted_terms(self) -> VotedTerms:
        """The same for the compiled product."""
        return VotedTerms(self.replicas, self.outputs, self.weight.float(), held=(self.values, self.rows))

    def add_to(self, y: torch.Tensor, x: torch.Tensor, floats: torch.Tensor | None = None) -> None:
        """y [V, N] += 2^shift * median of the replicas' sums beyond the first one's; x [V, K] integers or floats.

        ``floats``: the same integers in floating point, where there are such already.
        """
        total: torch.Tensor | None = None
        for start in range(0, x.shape[1], self.rows):
            part, values = x[:, start : start + self.rows], self.values[:, start : start + self.rows]
            if x.is_floating_point():
                sums = part @ values.to(x.dtype).T
            else:
                own = None if floats is None else floats[:, start : start + self.rows]
                sums = integer_product(part.contiguous(), values.contiguous(), own)
            others = sums.view(len(x), self.replicas - 1, -1).unbind(1)
            voted = median([torch.zeros_like(others[0]), *others])
            total = voted if total is None else total.add_(voted)
        if total is not None:
            total = total[:, : self.terms]
            y.index_add_(1, self.outputs, (total * self.weight).to(y.dtype))
