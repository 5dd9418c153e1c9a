"""What every backend of the output peripheral component (OPC) takes and returns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.parameters import MOST_ADVANCE, MOST_TAIL, OpcParameters
from crossvote.sim.array.column_map import ColumnMap, set_left_out
from crossvote.sim.array.image import Bundle
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral.scales import OpcScales


@dataclass(frozen=True, eq=False)
class OpcMap:
    """What each bit line of one OPC holds; arrays with one entry per bit line, fields as in ``ColumnMap``.

    Each output is the sum of its terms, 2^shift times a column sum or times the median of three. Which plane a line
    holds does not matter to the OPC; it only tells terms of equal shift apart, as the copy does.

    Attributes:
        output: int32, output of the OPC (0, 1, 2, ... without gaps), or -1 where the bit line is unused.
        plane: int8, bit plane. replica: int8, 0 for a line alone, 0 to 2 for three that vote.
        flipped: bool, the bit line stores 1-bit. shift: int8, left out it equals plane. copy: int8, left out it is 0.
        checksum: int8, bit b of the checksum that the bit line holds (``crossvote.sim.array.checksum``), or -1; left
            out there is none.

    Raises:
        UserError: two bit lines for the same (output, plane, shift, copy, replica), a number of replicas other than one
            or three, a gap in the output numbers, no output at all, checksum bits other than 0, 1, 2, ... once each, or
            on a bit line that is used.
    """

    output: NDArray[np.int32]
    plane: NDArray[np.int8]
    replica: NDArray[np.int8]
    flipped: NDArray[np.bool_]
    shift: NDArray[np.int8] = None  # type: ignore[assignment]
    copy: NDArray[np.int8] = None  # type: ignore[assignment]
    checksum: NDArray[np.int8] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        set_left_out(self)
        arrays = (self.output, self.plane, self.replica, self.flipped, self.shift, self.copy, self.checksum)
        if {array.shape for array in arrays} != {(len(self.output),)}:
            raise UserError(
                "an OPC map needs output, plane, replica, flipped, shift, copy and checksum for every bit line."
            )
        lines = self.read_order
        if not len(lines):
            raise UserError("an OPC map needs at least one used bit line.")
        for name, array in (("plane", self.plane), ("shift", self.shift)):
            if array[lines].min() < 0:
                line = lines[array[lines].argmin()]
                raise UserError(f"bit line {line} has {name} {array[line]}; {name}s count from 0.")
        starts = np.flatnonzero(self._begins)
        counts = np.diff(starts, append=len(lines))
        replica = self.replica[lines].astype(np.int64)
        same = np.flatnonzero(~self._begins[1:] & (np.diff(replica) == 0))
        if same.size:
            first, second = sorted(lines[same[0] : same[0] + 2].tolist())
            raise UserError(
                f"bit lines {first} and {second} both hold {self._name(first)}, replica {replica[same[0]]}."
            )
        if not np.array_equal(np.unique(self.output[lines]), np.arange(self.output.max() + 1)):
            raise UserError(f"the outputs of an OPC must be 0 to {self.output.max()} without gaps.")
        held = self.checksum[self.checksum >= 0]
        if sorted(held.tolist()) != list(range(len(held))):
            raise UserError(f"the checksum bits of an OPC must be 0 to {max(held)}, each on one bit line.")
        both = np.flatnonzero((self.checksum >= 0) & (self.output >= 0))
        if both.size:
            raise UserError(f"bit line {both[0]} holds both a checksum and {self._name(int(both[0]))}.")
        for start, count in zip(starts, counts, strict=True):
            if count not in (1, 3) or (replica[start : start + count] != np.arange(count)).any():
                found = ", ".join(map(str, replica[start : start + count]))
                raise UserError(
                    f"{self._name(lines[start])} has the replicas {found}; "
                    "an OPC takes one line (replica 0) or three (replicas 0, 1 and 2)."
                )

    @classmethod
    def from_bundle(cls, column_map: ColumnMap, bundle: Bundle, columns: int) -> OpcMap:
        """The part of a word-line group's map that one OPC of ``columns`` bit lines serves.

        Bit line i of the OPC is ``bundle.lines[i]``; output j of the OPC is ``bundle.outputs[j]``.
        """
        missing = columns - len(bundle.lines)
        if missing < 0:
            raise UserError(f"a bundle of {len(bundle.lines)} bit lines does not fit into an OPC of {columns}.")
        pad = (0, missing)
        places = np.searchsorted(bundle.outputs, column_map.output[bundle.lines])
        return cls(
            np.pad(
                np.where(column_map.used[bundle.lines], places, -1).astype(np.int32),
                pad,
                constant_values=-1,
            ),
            np.pad(column_map.plane[bundle.lines], pad),
            np.pad(column_map.replica[bundle.lines], pad),
            np.pad(column_map.flipped[bundle.lines], pad),
            np.pad(column_map.shift[bundle.lines], pad),
            np.pad(column_map.copy[bundle.lines], pad),
            np.pad(column_map.checksum[bundle.lines], pad, constant_values=-1),
        )

    def __len__(self) -> int:
        return len(self.output)

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return int(self.output.max()) + 1

    @cached_property
    def read_order(self) -> NDArray[np.int64]:
        """Used bit lines in the order the OPC reads them: by output, largest shift first, then plane, copy, replica."""
        lines = np.flatnonzero(self.output >= 0)
        down = (-self.plane.astype(np.int64), -self.shift.astype(np.int64))
        keys = (self.replica, self.copy, *down, self.output)
        return lines[np.lexsort([key[lines] for key in keys])]

    @cached_property
    def checksum_lines(self) -> NDArray[np.int64]:
        """Bit lines of the checksum in the order the OPC reads them: largest weight first, before all others."""
        lines = np.flatnonzero(self.checksum >= 0)
        return lines[np.argsort(-self.checksum[lines].astype(np.int64))]

    @property
    def steps(self) -> int:
        """Entries of the map as the OPC reads it."""
        return len(self.checksum_lines) + len(self.read_order)

    def with_checksum(self, bits: int) -> OpcMap:
        """The map with a checksum on its last ``bits`` unused bit lines, bit 0 on the first of these.

        Raises:
            UserError: fewer are unused.
        """
        unused = np.flatnonzero(self.output < 0)
        if len(unused) < bits:
            raise UserError(f"a checksum of {bits} bits needs as many unused bit lines; the map has {len(unused)}.")
        checksum = np.full(len(self), -1, np.int8)
        checksum[unused[len(unused) - bits :]] = np.arange(bits)
        return replace(self, checksum=checksum)

    @cached_property
    def _begins(self) -> NDArray[np.bool_]:
        """Where in read order a term begins."""
        lines = self.read_order
        begins = np.ones(len(lines), np.bool_)
        keys = (self.output, self.shift, self.plane, self.copy)
        begins[1:] = np.any([np.diff(key[lines]) != 0 for key in keys], axis=0)
        return begins

    @cached_property
    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Bit lines of the terms with one line, int64[n, 1], and of those with three, int64[m, 3]."""
        lines = self.read_order
        third = np.flatnonzero(self.replica[lines] == 2)
        voted = third[:, None] + np.arange(-2, 1)
        single = np.setdiff1d(np.arange(len(lines)), voted)
        return lines[single][:, None], lines[voted]

    def _name(self, line: int) -> str:
        name = f"output {self.output[line]}, plane {self.plane[line]}"
        if self.shift[line] == self.plane[line]:
            return name
        return f"{name}, shift {self.shift[line]}, copy {self.copy[line]}"

    @cached_property
    def advances(self) -> NDArray[np.int64]:
        """int64[used lines] in read order: places between a term's shift and the next one's, or 0 behind the last.

        0 where a replica waits for the vote: the third carries the advance of its term.
        """
        lines, begins = self.read_order, np.flatnonzero(self._begins)
        output, shift = self.output[lines[begins]], self.shift[lines[begins]].astype(np.int64)
        advances = np.zeros(len(lines), np.int64)
        following = np.where(np.append(np.diff(output) == 0, False), np.append(shift[1:], 0), 0)
        advances[np.append(begins[1:], len(lines)) - 1] = shift - following
        return advances

    @cached_property
    def ends(self) -> NDArray[np.bool_]:
        """bool[used lines] in read order: the line completes its output."""
        return np.append(np.diff(self.output[self.read_order]) != 0, True)

    def _check_weights(self, parameters: OpcParameters) -> None:
        """Refuse terms whose shifts lie too far apart, or whose weights are more than an output's width holds."""
        most = np.where(self.ends, MOST_TAIL, MOST_ADVANCE)
        wide = np.flatnonzero(self.advances > most)
        if wide.size:
            at = wide[0]
            line = self.read_order[at]
            raise UserError(
                f"output {self.output[line]} has a term of shift {self.shift[line]} and its next lower one at shift "
                f"{self.shift[line] - self.advances[at]}; the OPC goes down by {MOST_ADVANCE} at most between terms."
                if not self.ends[at]
                else f"output {self.output[line]} has {self.shift[line]} as its lowest shift; the OPC takes "
                f"{MOST_TAIL} at most."
            )
        terms = self.read_order[self._begins]
        weights = np.bincount(self.output[terms], weights=2.0 ** self.shift[terms])
        if weights.max() >= 1 << parameters.planes:
            output = int(weights.argmax())
            raise UserError(
                f"the terms of output {output} weigh {int(weights[output])} together; the OPC, built for "
                f"{parameters.planes} planes, adds {(1 << parameters.planes) - 1} at most."
            )

    def check_fits(self, parameters: OpcParameters) -> None:
        """Refuse a map that this OPC cannot hold.

        Raises:
            UserError: another number of bit lines, too high a plane or shift, too many outputs, replicas for an OPC
                without voter or flipped in part, shifts too far apart, too much weight in an output, or more checksum
                lines than the OPC's check has bits.
        """
        if not parameters.column_map:
            raise UserError("the OPC was built with column_map = False, so it has no writable column map.")
        if len(self) != parameters.columns:
            raise UserError(f"the map describes {len(self)} bit lines, but the OPC serves {parameters.columns}.")
        used = self.output >= 0
        for name, array in (("plane", self.plane), ("shift", self.shift)):
            if array[used].max() >= parameters.planes:
                line = int(np.flatnonzero(used & (array >= parameters.planes))[0])
                raise UserError(
                    f"bit line {line} has {name} {array[line]}, but the OPC has {name}s 0 to {parameters.planes - 1}."
                )
        if self.outputs > parameters.outputs:
            raise UserError(
                f"the map makes {self.outputs} outputs, but the OPC, built for {parameters.planes} planes on "
                f"{parameters.columns} bit lines, numbers {parameters.outputs} at most."
            )
        if not parameters.voter and self.replica[used].any():
            raise UserError("the map has replicas, but the OPC was built without a voter.")
        third = np.flatnonzero(self.replica[self.read_order] == 2)
        voted = self.flipped[self.read_order[third[:, None] + np.arange(-2, 1)]]
        if (voted != voted[:, :1]).any():
            raise UserError("the replicas of a term must be all flipped or all plain; the OPC changes a median's sign.")
        self._check_weights(parameters)
        if (lines := len(self.checksum_lines)) > parameters.checksum_bits:
            raise UserError(
                f"the map has a checksum of {lines} bits, but the OPC was built with checksum_bits = "
                f"{parameters.checksum_bits}."
            )


@dataclass(frozen=True, eq=False)
class PeripheralResult:
    """What one run of an OPC gives.

    Attributes:
        outputs: int64[V, outputs], in the order of the map's output numbers; scaled by an OPC with a scale stage.
        disagreements: votes whose three replicas were not equal. cycles: clock cycles, first beat to last output.
        mismatches: vectors whose checksum did not hold; 0 where the map has none.
    """

    outputs: NDArray[np.int64]
    disagreements: int
    cycles: int
    mismatches: int = 0


class Peripheral(Protocol):
    """An OPC: every backend gives the same outputs, disagreements and cycles.

    Row blocks of one run are added before the vote (vote = "output"). For vote = "crossbar" every row block is a run
    of its own, with a row-block axis of length 1, and the caller adds the partial outputs.
    """

    name: str
    parameters: OpcParameters

    def load_map(self, opc_map: OpcMap) -> None:
        """Program the column map; needed before the first run.

        Raises:
            UserError: the map does not fit this OPC.
        """
        ...

    def load_scales(self, scales: OpcScales) -> None:
        """Program the scale stage; an OPC that has one needs it before the first run, one scale per output of the map.

        Raises:
            UserError: there is no scale stage, or the scales do not fit it.
        """
        ...

    def process(self, codes: NDArray[np.unsignedinteger]) -> PeripheralResult:
        """Run vectors back to back.

        Args:
            codes: uint8 or uint16[V, row blocks, n_x, columns, 2], ADC codes of (positive, negative); index 0 of the
                n_x axis is the least significant input bit.

        Raises:
            UserError: no map, no scales for its outputs, another shape or type, or a code wider than the ADC.
        """
        ...


class LoadedOpc:
    """What an OPC was loaded with, once checked; for backends that program the hardware when it runs."""

    def __init__(self, parameters: OpcParameters) -> None:
        self.parameters = parameters
        self._map: OpcMap | None = None
        self._scales: OpcScales | None = None

    def load_map(self, opc_map: OpcMap) -> None:
        """See ``Peripheral.load_map``."""
        opc_map.check_fits(self.parameters)
        self._map = opc_map

    def load_scales(self, scales: OpcScales) -> None:
        """See ``Peripheral.load_scales``."""
        scales.check_fits(self.parameters)
        self._scales = scales


def check_loaded(parameters: OpcParameters, opc_map: OpcMap | None, scales: OpcScales | None) -> OpcMap:
    """The map, if everything that a run needs was loaded.

    Raises:
        UserError: no map, or with a scale stage another number of scales than of outputs.
    """
    if opc_map is None:
        raise UserError("the OPC has no column map; load one first.")
    if parameters.scale_bits and scales is None:
        raise UserError("the OPC has a scale stage but no scales; load them first.")
    if scales is not None and len(scales) != opc_map.outputs:
        raise UserError(f"the map has {opc_map.outputs} outputs, but {len(scales)} scales were loaded.")
    return opc_map


def check_codes(parameters: OpcParameters, codes: NDArray[np.unsignedinteger]) -> None:
    """Refuse codes that cannot come from the ADCs in front of an OPC.

    Raises:
        UserError: another shape or type, too many row blocks, or a code wider than the ADC.
    """
    p = parameters
    if codes.dtype not in (np.uint8, np.uint16):
        raise UserError(f"ADC codes must be uint8 or uint16, not {codes.dtype}.")
    if codes.ndim != 5 or codes.shape[2:] != (p.input_bits, p.columns, 2):
        raise UserError(
            f"ADC codes must have the shape (vectors, row blocks, {p.input_bits}, {p.columns}, 2), not {codes.shape}."
        )
    if not 1 <= codes.shape[1] <= p.row_blocks:
        raise UserError(f"{codes.shape[1]} row blocks were given, but the OPC adds 1 to {p.row_blocks}.")
    if codes.size and codes.max() >= 1 << p.adc_bits:
        raise UserError(f"ADC code {codes.max()} does not fit into {p.adc_bits} bits.")
