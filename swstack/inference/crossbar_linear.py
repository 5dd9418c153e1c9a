"""Exact evaluation of a mapped matrix on a faulty chip, at the price of one integer matrix product.

While no ADC clips, everything between inputs and the vote is linear: the column sum of a bit line is x @ d, with
d[k] in {-1, 0, 1} what the pair of cells on word line k reads as, and a stuck cell adds +-1 to one d[k]. So

* on a line without a vote, summed copies included, a fault changes the integer weight of its output by +-2^shift: it is
  folded into the matrix;
* on a term with r replicas, the median of x @ d + x @ e_i (e_i: the fault vector of replica i) is
  x @ d + median(x @ e_i), which is x @ d unless at least (r + 1) / 2 replicas have a fault: only those places need
  a correction, and it is sparse. With the vote in each crossbar pair, a place is one (term, row block).

Both parts take O(number of faults) to set up per chip. Integers stay below 2^31: K * 128 * 127 bounds them for 8 bits.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import GroupImage, MatrixImage
from crossvote.sim.common.errors import UserError
from crossvote.swstack.inference.autograd import through_the_chip
from crossvote.swstack.mapping.config import Activations
from crossvote.swstack.mapping.quantization import activation_scale, integer_type, round_activations

#: Places corrected at once, so that intermediate results stay in the processor's cache.
_PLACES = 512
#: Most 8-bit inputs whose products with 8-bit weights float32 adds up exactly: 1024 * 128 * 127 < 2^24.
_EXACT_INPUTS = 1024
#: Math libraries are up to twice as fast where a product has a multiple of so many columns.
_COLUMNS = 16
#: Largest number of elements of an intermediate result of the vote correction (64 MiB of float32).
_CORRECTION_ELEMENTS = 1 << 24


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
        cells, _ = faults.of_crossbars(2 * self.first_pair, self._stop)
        return len(cells) / ((self._stop - 2 * self.first_pair) * self.rows * self.columns)

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
    """

    line: NDArray[np.int64]
    k: NDArray[np.int64]
    value: NDArray[np.int64]


class PlacedGroup:
    """The integers of a word-line group and where each bit line puts them; turns fault maps into errors.

    Reading the image takes time linear in its cells, once. The cells themselves are kept (not copied) only when they
    cannot be told from the integers, which ``crossvote.swstack.mapping.mapping`` never writes.

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
        deviations: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
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
            k, at = np.nonzero(difference[:, others] != difference[:, self.lead[others]])
            value = difference[k, others[at]].astype(np.int64) - difference[k, self.lead[others[at]]]
            deviations.append((others[at], k + start, value))
            plain = plain and not ((cells[0] > 0) & (cells[1] > 0))[:, lines].any()
            plain = plain and bool(
                (difference[:, lines] == self._plane_values(part[self.output[lines]].T, self.plane[lines])).all()
            )
        line, k, value = (np.concatenate(parts) for parts in zip(*deviations, strict=True))
        self._deviations = Errors(line, k, value)
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
            return Errors(line, k, value)
        return Errors(*(np.concatenate(pair) for pair in ((own.line, line), (own.k, k), (own.value, value))))

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
        block = k // self.rows if self.vote == "crossbar" else np.zeros_like(k)
        place = self.term[line] * self.row_blocks + block
        made = []
        for count in np.unique(self.replicas[line]).tolist():
            of_count = self.replicas[line] == count
            needed, offsets, entries = _outvoted(place[of_count], self.replica[line[of_count]], count)
            lead = self._lead_of_term[needed // self.row_blocks]
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


class Correction(nn.Module):
    """Median of the replicas' errors at the places where it can differ from 0; all have the same r replicas.

    Args:
        inputs: K. replicas: r. k, value: int64[n], input and size of each error. offsets: int64[places * r + 1]:
            entries offsets[i * r + j] to offsets[i * r + j + 1] - 1 are the error vector of replica j at place i.
        output: int64[places], ascending, within the matrix. weight: int64[places], 2^shift.
    """

    k: torch.Tensor
    value: torch.Tensor
    offsets: torch.Tensor
    weight: torch.Tensor
    outputs: torch.Tensor
    output_offsets: torch.Tensor
    columns: torch.Tensor | None

    def __init__(
        self,
        inputs: int,
        replicas: int,
        k: NDArray[np.int64],
        value: NDArray[np.int64],
        offsets: NDArray[np.int64],
        output: NDArray[np.int64],
        weight: NDArray[np.int64],
    ) -> None:
        super().__init__()
        self.replicas = replicas
        self.places = len(output)
        columns, place_in_columns = np.unique(k, return_inverse=True)
        # Picking few columns is cheaper than transposing all of them; the two meet at about a third.
        few = 3 * len(columns) < inputs
        outputs, first_place = np.unique(output, return_index=True)
        # Largest sum an output can get from 8-bit inputs: float32 adds it up exactly below 2^24.
        reach = np.add.reduceat(np.append(np.abs(value), 0), offsets[:-1]) * (np.diff(offsets) > 0)
        bound = np.add.reduceat(reach.reshape(-1, replicas).max(axis=1) * weight * 128, first_place).max()
        self.exact = torch.float32 if bound < 1 << 24 else torch.float64
        for name, array in {
            "k": place_in_columns if few else k,
            "value": value.astype(np.float32),
            "offsets": offsets,
            "weight": weight.astype(np.float32),
            "outputs": outputs,
            "output_offsets": np.append(first_place, len(output)),
        }.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)
        self.register_buffer("columns", torch.from_numpy(columns) if few else None, persistent=False)

    def add_to(self, y: torch.Tensor, x: torch.Tensor, transposed: torch.Tensor | None) -> None:
        """y [V, N] += 2^shift * median over replicas.

        The inputs come as x float [V, K] that can hold the sums exactly and, if ``columns`` is None, also transposed.
        """
        if self.columns is not None:
            transposed = x.index_select(1, self.columns).T.contiguous()
        assert transposed is not None
        errors = _weighted_sums(self.k, transposed, self.offsets, self.value)
        total = median(errors.view(self.places, self.replicas, -1))
        total = total.to(torch.promote_types(total.dtype, self.exact))
        if len(self.outputs) < self.places:
            every = torch.arange(self.places, device=y.device)
            total = _weighted_sums(every, total, self.output_offsets, self.weight)
        else:
            total = total * self.weight[:, None]
        y.index_add_(1, self.outputs, total.T.to(y.dtype))


def _weighted_sums(
    index: torch.Tensor, rows: torch.Tensor, offsets: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Sparse times dense: row i is the sum of weights[j] * rows[index[j]] over offsets[i] <= j < offsets[i + 1]."""
    return functional.embedding_bag(
        index, rows, offsets, mode="sum", per_sample_weights=weights.to(rows.dtype), include_last_offset=True
    )


def median(x: torch.Tensor) -> torch.Tensor:
    """Median over the middle axis of three, r values, r odd: bubble passes of elementwise minima and maxima.

    O(r^2) operations on whole arrays, which for the few replicas in use is many times faster than ``torch.median``.
    """
    values = list(x.unbind(1))
    if len(values) == 3:  # one operation in three less
        low, high = torch.minimum(values[0], values[1]), torch.maximum(values[0], values[1])
        return torch.maximum(low, torch.minimum(high, values[2]))
    for last in range(len(values) - 1, len(values) // 2 - 1, -1):
        for i in range(last):
            low, high = torch.minimum(values[i], values[i + 1]), torch.maximum(values[i], values[i + 1])
            values[i], values[i + 1] = low, high
    return values[len(values) // 2]


@cache
def integer_matmul_is_exact(device_type: str) -> bool:
    """Whether ``torch._int_mm`` works on a kind of device, does not saturate inside (tried once, full scale), and has
    instructions behind it: without them an x86 processor is many times slower than with float32.
    """
    if device_type == "cpu" and platform.machine().lower() in ("x86_64", "amd64"):
        capabilities = torch.cpu.get_capabilities()
        if not any(capabilities.get(name) for name in ("avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8")):
            return False
    try:
        x = torch.full((32, 64), -128, dtype=torch.int8, device=device_type)
        w = torch.full((64, 32), -127, dtype=torch.int8, device=device_type)
        w[:, 1::2] = 127
        expected = torch.where(torch.arange(32) % 2 == 0, 128 * 127 * 64, -128 * 127 * 64).to(torch.int32)
        return bool((torch._int_mm(x, w).cpu() == expected).all())
    except (RuntimeError, NotImplementedError, AttributeError):
        return False


def _has_integer_product(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether x [V, K] times weight.T [K, N] is done in integers."""
    if x.dtype != torch.int8 or weight.dtype != torch.int8:
        return False
    if x.device.type == "cpu":
        tileable = x.shape[1] > 1  # torch 2.13 returns memory garbage for K = 1
    else:
        tileable = len(x) > 16 and not weight.shape[0] % 8 and not weight.shape[1] % 8
    return tileable and integer_matmul_is_exact(x.device.type)


def integer_matmul(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Exact x @ weight.T of integers x [V, K], weight [N, K]: int32 when both are int8 (K < 2^17), else int64."""
    if x.dtype != torch.int8 or weight.dtype != torch.int8:
        return (x.double() @ weight.double().T).long()  # exact below 2^53: 16 x 16 bits up to K = 2^23
    if _has_integer_product(x, weight):
        return torch._int_mm(x, weight.T)
    if x.device.type != "cpu":
        return (x.double() @ weight.double().T).int()
    y = torch.zeros((len(x), len(weight)), dtype=torch.int32, device=x.device)
    for start in range(0, x.shape[1], _EXACT_INPUTS):
        part = slice(start, start + _EXACT_INPUTS)
        y += (x[:, part].float() @ weight[:, part].float().T).int()
    return y


def integer_product(x: torch.Tensor, weight: torch.Tensor, floats: torch.Tensor | None) -> torch.Tensor:
    """``integer_matmul``, but float32 with the same integers where that spares a conversion there and back.

    Args:
        floats: x in floating point, or None.
    """
    small = floats is not None and floats.dtype == torch.float32 and x.shape[1] <= _EXACT_INPUTS
    if small and x.device.type == "cpu" and weight.dtype == torch.int8 and not _has_integer_product(x, weight):
        assert floats is not None
        return floats @ weight.float().T
    return integer_matmul(x, weight)


def whole_columns(columns: int) -> int:
    """``columns`` rounded up to what products are fast with."""
    return -(-columns // _COLUMNS) * _COLUMNS


class MappedLinear(nn.Module):
    """One matrix on crossbars in place of its ``nn.Linear`` or ``Conv1D``: inputs [..., K] to outputs [..., N].

    Quantizes the inputs, x_q = round(x / step), lets the subclass say which integers the chip makes of them, and
    returns step * scale * unit * integers + bias.

    Args:
        group, matrix: which outputs, scale and bias. input_bits: n_x.
        activations: how inputs are quantized. input_step: the calibrated step, for "static".
    """

    scale: torch.Tensor
    bias: torch.Tensor | None
    undriven: torch.Tensor | None

    #: Token vectors computed at once on a CPU, per thread.
    chunk = 256

    def __init__(
        self,
        matrix: MatrixImage,
        driven: NDArray[np.bool_],
        input_bits: int,
        activations: Activations,
        input_step: float | None,
        unit: float = 1.0,
    ) -> None:
        super().__init__()
        if (activations == "static") != (input_step is not None):
            raise UserError(f"matrix {matrix.name}: static activations need a calibrated step, others have none.")
        self.name = matrix.name
        self.first_output = matrix.first_output
        self.out_features, self.in_features = matrix.outputs, len(driven)
        self.input_bits = input_bits
        self.activations = activations
        self.input_step = input_step
        # Not persistent: what is programmed is in the image. A loader of the dense model's would take integers for
        # weights; without them, a state dict holds what learns around the chip, and goes into the dense model.
        for name, value in {
            "scale": torch.from_numpy(matrix.scale * np.float32(unit)),
            "bias": None if matrix.bias is None else torch.from_numpy(matrix.bias.copy()),
            "undriven": None if driven.all() else torch.from_numpy(~driven),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def extra_repr(self) -> str:
        return f"{self.name}, {self.in_features} -> {self.out_features}, activations={self.activations}"

    def integer_outputs(self, x: torch.Tensor) -> torch.Tensor:
        """y [V, N], int32 or int64, for integer inputs x [V, K] of ``input_bits`` bits: what the chip gives.

        Undriven inputs must be 0.
        """
        # float32 is exact below 2^24: sums of at most K < 2^16 values of 2 * 128 (K < 2^14 with two-bit cells)
        values = x.to(torch.float32 if self.input_bits <= 8 else torch.float64)
        y = self._sums(x.to(integer_type(self.input_bits)), values)
        return y.int() if y.is_floating_point() else y

    def _sums(self, x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """``integer_outputs`` for the same integers as an integer type and as float; may be float32 and whole."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] != self.in_features:
            raise UserError(f"matrix {self.name} takes {self.in_features} inputs, not {x.shape[-1]}.")
        if not x.is_floating_point():  # a model that casts to the type of a weight, as T5 does
            raise UserError(f"matrix {self.name} was handed {x.dtype}; it takes floating-point inputs.")
        outputs: torch.Tensor = through_the_chip(self, x)
        return outputs

    def effective_weight(self) -> torch.Tensor:
        """What the chip makes of single inputs, float32 [N, K]: the faulty weights, scaled; O(K^2 N)."""
        with torch.no_grad():
            single = torch.eye(self.in_features, dtype=torch.int32, device=self.scale.device)
            if self.undriven is not None:
                single = single.masked_fill(self.undriven, 0)
            return self.integer_outputs(single).float().mul_(self.scale).T

    def chip_outputs(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs [..., N] for inputs [..., K] of the chip as it is; no gradients."""
        vectors = x.reshape(-1, self.in_features).float()
        if self.undriven is not None:
            vectors = vectors.masked_fill(self.undriven, 0.0)
        y = torch.empty((len(vectors), self.out_features), dtype=torch.float32, device=x.device)
        with torch.autocast(x.device.type, enabled=False):
            tensor_step = self._tensor_step(vectors)
            chunk = self._chunk(len(vectors), x.device)
            for start in range(0, len(vectors), chunk):
                part = slice(start, start + chunk)
                if self.activations == "float":
                    self._float_outputs(vectors[part], y[part])
                else:
                    self._quantized_outputs(vectors[part], tensor_step, y[part])
                y[part].mul_(self.scale)
                if self.bias is not None:
                    y[part].add_(self.bias)
        return y.view(*x.shape[:-1], self.out_features).to(x.dtype)

    def _tensor_step(self, vectors: torch.Tensor) -> torch.Tensor | None:
        """The step [1, 1] of all inputs, where they share one."""
        if self.activations == "static":
            return torch.full((1, 1), self.input_step, device=vectors.device)  # type: ignore[arg-type]
        if self.activations == "tensor" and len(vectors):
            return activation_scale(vectors, self.input_bits, "tensor")
        return None

    def _quantized_outputs(self, vectors: torch.Tensor, step: torch.Tensor | None, y: torch.Tensor) -> None:
        if step is None:
            step = activation_scale(vectors, self.input_bits, "token")
        values = round_activations(vectors, step, self.input_bits)
        integers = values.to(integer_type(self.input_bits))
        torch.mul(self._sums(integers, values if self.input_bits <= 8 else values.double()), step, out=y)

    def _float_outputs(self, vectors: torch.Tensor, y: torch.Tensor) -> None:
        """Outputs for inputs that are not quantized, before scale and bias."""
        raise UserError(f"matrix {self.name}: float activations cannot be streamed bit by bit; quantize them.")

    def _chunk(self, vectors: int, device: torch.device) -> int:
        """Vectors computed at once."""
        return max(1, min(vectors, self.chunk * (torch.get_num_threads() if device.type == "cpu" else 16)))


class CrossbarLinear(MappedLinear):
    """A matrix on crossbars whose ADCs lose nothing: one integer product plus sparse vote corrections, exact.

    All faults that lines without a vote feel are in the integers. Where few cells are stuck the integers also hold what
    is voted on, and ``corrections`` the places that are outvoted; where many are, ``votes`` computes every vote.
    ``inference.convert`` sets all three from a fault map.

    Args:
        placed: the word-line group, shared by its matrices; ``weight`` is a view of its integers on the CPU.
        matrix, input_bits, activations, input_step: as in ``MappedLinear``.
    """

    weight: torch.Tensor
    mapped: torch.Tensor | None
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
        some = torch.from_numpy(mapped) if whole_columns(len(mapped)) < matrix.outputs else None
        self.register_buffer("mapped", some, persistent=False)
        self.corrections = nn.ModuleList()
        self.votes = nn.ModuleList()

    def _sums(self, x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        if self.mapped is None:
            y = integer_product(x, self.weight, values)
        else:
            own = integer_product(x, self._mapped_weight(), values)[:, : len(self.mapped)]
            y = own.new_zeros((len(x), self.out_features)).index_copy_(1, self.mapped, own)
        self._correct(y, values)
        for votes in self.votes:
            votes.add_to(y, x, values)  # type: ignore[operator]
        return y

    def _mapped_weight(self) -> torch.Tensor:
        """The integers of the outputs that have bit lines, and copies of the last one up to whole columns."""
        assert self.mapped is not None
        count = len(self.mapped)
        if not count:
            return self.weight[:0]
        return self.weight.index_select(
            0, torch.cat([self.mapped, self.mapped[-1:].expand(whole_columns(count) - count)])
        )

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
        widest = max((len(c.offsets) for c in self.corrections), default=1)  # type: ignore[arg-type]
        widest = max([widest, *(len(v.values) for v in self.votes)])  # type: ignore[arg-type]
        chunk = max(16, _CORRECTION_ELEMENTS // widest)
        if device.type == "cpu" and self.activations != "float":
            own = self.chunk if integer_matmul_is_exact("cpu") else 2 * self.chunk
            chunk = min(chunk, own * torch.get_num_threads())
        return max(1, min(chunk, vectors))
