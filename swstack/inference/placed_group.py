"""The integers of a word-line group, where on the chip they lie, and what a fault map does to them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import GroupImage
from crossvote.swstack.inference.vote_correction import Correction

#: Places corrected at once, so that intermediate results stay in the processor's cache.
_PLACES = 512


@dataclass(frozen=True)
class Geometry:
    """Where on the chip a word-line group lies; see ``GroupImage`` for the fields."""

    rows: int
    columns: int
    row_blocks: int
    column_blocks: int
    first_pair: int

    @classmethod
    def of(cls, group: GroupImage) -> Geometry:
        return cls(group.rows, group.columns, group.row_blocks, group.column_blocks, group.first_pair)

    @property
    def _stop(self) -> int:
        """One past the last crossbar."""
        return 2 * (self.first_pair + self.row_blocks * self.column_blocks)

    def check_fits(self, faults: FaultMap) -> None:
        """Refuse a fault map of another chip.

        Raises:
            UserError: other crossbars, or too few.
        """
        faults.check_fits(self.rows, self.columns, self._stop)

    def share(self, faults: FaultMap) -> float:
        """Share of the group's cells that are stuck."""
        crossbars = self._stop - 2 * self.first_pair
        return faults.count(2 * self.first_pair, self._stop) / (crossbars * self.rows * self.columns)

    def locate(self, faults: FaultMap) -> FaultPlaces:
        """The faults of the group's crossbars, in its own coordinates; O(log of all faults + own ones).

        Raises:
            UserError: the fault map is for another chip.
        """
        self.check_fits(faults)
        cells, stuck = faults.of_crossbars(2 * self.first_pair, self._stop)
        crossbar, word_line, bit_line = faults.coordinates(cells)
        row_block, column_block = np.divmod(crossbar // 2 - self.first_pair, self.column_blocks)
        return FaultPlaces(crossbar & 1, row_block, word_line, column_block * self.columns + bit_line, stuck)


@dataclass(frozen=True, eq=False)
class FaultPlaces:
    """Stuck cells of a group: sign (0 positive, 1 negative), row block, word line in it, bit line of the group."""

    sign: NDArray[np.int64]
    row_block: NDArray[np.int64]
    word_line: NDArray[np.int64]
    line: NDArray[np.int64]
    stuck_at: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Errors:
    """What a chip does to the bit lines of a group: column sum of ``line`` += value * x[k].

    Attributes:
        line: int64[n]. k: int64[n], input. value: int64[n], never 0. A (line, k) with a wrong cell on both sides, or
            where replicas were programmed differently, occurs several times.
        sign: int64[n], which crossbar of the pair is wrong; counts where each votes alone.
    """

    line: NDArray[np.int64]
    k: NDArray[np.int64]
    value: NDArray[np.int64]
    sign: NDArray[np.int64]


class PlacedGroup:
    """The integers of a word-line group and where each bit line puts them; turns fault maps into errors.

    Reading the image takes time linear in its cells, once. The cells themselves are kept (not copied) only when they
    cannot be told from the integers, which ``crossvote.swstack.mapping.programming`` never writes.

    Attributes:
        weight: int8 or wider [N, K], the integers that are programmed (pruned inputs 0), without faults; the type
            holds whatever faults can make of them.
    """

    def __init__(self, group: GroupImage) -> None:
        self.geometry = Geometry.of(group)
        self.inputs = group.inputs
        self.rows, self.row_blocks = group.rows, group.row_blocks
        self.vote = group.vote
        self.cell_bits, self.last_level = group.cell_bits, group.last_level
        self.driven = group.kept_inputs
        #: What an integer of each output counts, float32[N].
        self.scale = np.concatenate([np.broadcast_to(matrix.scale, matrix.outputs) for matrix in group.matrices])
        #: Word lines that do something, those beyond the last input included.
        self._feels = np.zeros(group.row_blocks * group.rows, np.bool_)
        self._feels[: group.inputs] = group.kept_inputs
        column_map = group.column_map
        self.output = column_map.output
        self.plane = column_map.plane
        self.shift = column_map.shift
        self.term = column_map.term
        self.replica = column_map.replica
        self.flipped = column_map.flipped
        self.replicas = np.zeros(len(column_map), np.int16)
        #: First line of each line's term.
        self.lead = np.full(len(column_map), -1, np.int64)
        for terms in column_map.vote_groups:
            self.replicas[terms.lines] = terms.lines.shape[1]
            self.lead[terms.lines] = terms.lines[:, :1]
        self._lead_of_term = np.zeros(int(self.term.max(initial=-1)) + 1, np.int64)
        self._lead_of_term[self.term[self.output >= 0]] = self.lead[self.output >= 0]
        #: Programmed levels of a row block, uint8[2, rows, lines].
        self.block_cells = group.block_cells
        self._decode(group)

    def _decode(self, group: GroupImage) -> None:
        """Weights from the cells of replica 0, and where other replicas deviate from it."""
        # Faults can bring every cell of a weight to its last level.
        reach = sum(self.last_level << plane for plane in range(0, group.planes, self.cell_bits))
        dtype = np.int8 if reach <= 127 else np.int16 if reach <= 32767 else np.int32
        self.weight = np.zeros((group.outputs, group.inputs), dtype)
        lines = np.flatnonzero(self.output >= 0)
        # Rounds in which no output occurs twice, so that a round adds by plain indexing.
        leads = lines[self.replica[lines] == 0]
        leads = leads[np.argsort(self.output[leads], kind="stable")]
        first = np.searchsorted(self.output[leads], self.output[leads])
        rounds = [
            leads[np.arange(len(leads)) - first == i]
            for i in range(int((np.arange(len(leads)) - first).max(initial=-1)) + 1)
        ]
        others = lines[self.replica[lines] > 0]
        plain = True
        deviations: list[tuple[NDArray[np.int64], ...]] = []
        for block in range(group.row_blocks):
            start = block * group.rows
            span = slice(start, min(start + group.rows, group.inputs))
            cells = group.block_cells(block)[:, : span.stop - start]
            cells = np.where(self.flipped, self.last_level - cells, cells)
            difference = cells[0].astype(np.int8) - cells[1].astype(np.int8)
            difference[~self.driven[span]] = 0
            part = np.zeros((group.outputs, span.stop - start), dtype)
            for own in rounds:
                part[self.output[own]] += difference[:, own].T.astype(dtype) << self.shift[own, None].astype(dtype)
            self.weight[:, span] = part
            sides = [difference]
            if self.vote == "alone":
                sides = [cells[0].astype(np.int8), -cells[1].astype(np.int8)]
                for side in sides:
                    side[~self.driven[span]] = 0
            for sign, side in enumerate(sides):
                k, at = np.nonzero(side[:, others] != side[:, self.lead[others]])
                value = side[k, others[at]].astype(np.int64) - side[k, self.lead[others[at]]]
                deviations.append((others[at], k + start, value, np.full(len(k), sign)))
            plain = plain and not ((cells[0] > 0) & (cells[1] > 0))[:, lines].any()
            plain = plain and bool(
                (difference[:, lines] == self._plane_values(part[self.output[lines]].T, self.plane[lines])).all()
            )
        self._deviations = Errors(*(np.concatenate(parts) for parts in zip(*deviations, strict=True)))
        self._cells = None if plain else group.cells

    @cached_property
    def voting(self) -> bool:
        """Whether any term has replicas."""
        return bool((self.replicas > 1).any())

    @property
    def plain(self) -> bool:
        """Whether the cells can be told from the integers."""
        return self._cells is None

    def _plane_values(self, weights: NDArray[Any], plane: NDArray[np.int8]) -> NDArray[np.int8]:
        """Signed level of each weight in the given plane (broadcast); one-bit cells: -1, 0 or 1."""
        magnitude = np.abs(weights.astype(np.int32))
        values: NDArray[np.int8] = (((magnitude >> plane) & self.last_level) * np.sign(weights)).astype(np.int8)
        return values

    def _programmed(self, line: NDArray[np.int64], k: NDArray[np.int64], sign: NDArray[np.int64]) -> NDArray[np.int64]:
        """Programmed levels of single cells for sign 0 (positive crossbar) or 1."""
        if self._cells is not None:
            first = line * self.cell_bits
            bits = [
                (self._cells[sign, k, at >> 3].astype(np.int64) >> (7 - (at & 7)) & 1) << bit
                for bit, at in enumerate(first + bit for bit in range(self.cell_bits))
            ]
            programmed: NDArray[np.int64] = np.sum(bits, axis=0)
            return programmed
        weight = self.weight[self.output[line], k].astype(np.int64)
        magnitude = np.maximum(np.where(sign == 0, weight, -weight), 0)
        level = (magnitude >> self.plane[line]) & self.last_level
        return np.where(self.flipped[line], self.last_level - level, level)

    def errors(self, faults: FaultMap | None) -> Errors:
        """Errors of the group on a chip; O(f) for the f faults of the group's crossbars.

        ``weight`` must hold the programmed integers.

        Raises:
            UserError: the fault map is for another chip.
        """
        if faults is None:
            return self._deviations
        places = self.geometry.locate(faults)
        k = places.row_block * self.rows + places.word_line
        felt = np.flatnonzero(self._feels[k] & (self.output >= 0)[places.line])
        k, line, sign = k[felt], places.line[felt], places.sign[felt]
        value = places.stuck_at[felt] * self.last_level - self._programmed(line, k, sign)
        wrong = np.flatnonzero(value)
        k, line, sign, value = k[wrong], line[wrong], sign[wrong], value[wrong]
        value = np.where((sign == 1) ^ self.flipped[line], -value, value)
        own = self._deviations
        if not len(own.line):
            return Errors(line, k, value, sign)
        pairs = ((own.line, line), (own.k, k), (own.value, value), (own.sign, sign))
        return Errors(*(np.concatenate(pair) for pair in pairs))

    def weight_changes(self, errors: Errors) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Errors of lines that do not vote: flat indices into ``weight``, and what is added there; some occur twice."""
        single = self.replicas[errors.line] == 1
        line, k, value = errors.line[single], errors.k[single], errors.value[single]
        return self.output[line].astype(np.int64) * self.inputs + k, value << self.shift[line]

    def corrections(self, errors: Errors, first_output: int, outputs: int) -> tuple[Correction, ...]:
        """Vote corrections of the outputs ``first_output`` to ``first_output + outputs`` - 1, per replica count."""
        output = self.output[errors.line]
        voted = (self.replicas[errors.line] > 1) & (output >= first_output) & (output < first_output + outputs)
        line, k, value = errors.line[voted], errors.k[voted], errors.value[voted]
        block = k // self.rows if self.vote != "output" else np.zeros_like(k)
        votes = self.row_blocks
        if self.vote == "alone":
            block, votes = 2 * block + errors.sign[voted], 2 * votes
        place = self.term[line] * votes + block
        made = []
        for count in np.unique(self.replicas[line]).tolist():
            of_count = self.replicas[line] == count
            needed, offsets, entries = _outvoted(place[of_count], self.replica[line[of_count]], count)
            lead = self._lead_of_term[needed // votes]
            of_place, shift = self.output[lead], self.shift[lead]
            for first in range(0, len(needed), _PLACES):
                part = slice(first, first + _PLACES)
                own_offsets = offsets[first * count : (first + len(needed[part])) * count + 1]
                own = entries[own_offsets[0] : own_offsets[-1]]
                made.append(
                    Correction(
                        self.inputs,
                        count,
                        k[of_count][own],
                        value[of_count][own],
                        own_offsets - own_offsets[0],
                        of_place[part].astype(np.int64) - first_output,
                        np.left_shift(np.int64(1), shift[part].astype(np.int64)),
                    )
                )
        return tuple(made)


def _outvoted(
    place: NDArray[np.int64], replica: NDArray[np.int8], replicas: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Places where more than half of the replicas have errors, from the place and replica of each error.

    Returns:
        places int64[p], ascending; offsets int64[p * replicas + 1] and entries int64[n]: the errors of replica j at
        the i-th place are entries[offsets[i * replicas + j] : offsets[i * replicas + j + 1]].
    """
    row, row_of, sizes = np.unique(place * replicas + replica, return_inverse=True, return_counts=True)
    places, wrong = np.unique(row // replicas, return_counts=True)
    needed = places[wrong > replicas // 2]
    row_needed = np.isin(row // replicas, needed)
    lengths = np.zeros((len(needed), replicas), np.int64)
    lengths[np.searchsorted(needed, row[row_needed] // replicas), row[row_needed] % replicas] = sizes[row_needed]
    order = np.argsort(row_of, kind="stable")
    return needed, np.concatenate([[0], np.cumsum(lengths)]), order[row_needed[row_of[order]]]
