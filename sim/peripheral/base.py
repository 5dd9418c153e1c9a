"""What every backend of the output peripheral component (OPC) takes and returns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crossvote.rtl.parameters import OpcParameters
from crossvote.sim.array.image import Bundle, ColumnMap
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral.scales import OpcScales


@dataclass(frozen=True, eq=False)
class OpcMap:
    """What each bit line of one OPC holds; arrays with one entry per bit line.

    Attributes:
        output: int32, output of the OPC (0, 1, 2, ... without gaps), or -1 where the bit line is unused.
        plane: int8, bit plane. replica: int8, 0 for the only copy, 0 to 2 for three copies.
        flipped: bool, the bit line stores 1-bit.

    Raises:
        UserError: two bit lines for the same (output, plane, replica), a number of copies other than one or three,
            a plane missing below an output's top plane, a gap in the output numbers, or no output at all.
    """

    output: NDArray[np.int32]
    plane: NDArray[np.int8]
    replica: NDArray[np.int8]
    flipped: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if len({self.output.shape, self.plane.shape, self.replica.shape, self.flipped.shape, (len(self.output),)}) != 1:
            raise UserError("an OPC map needs output, plane, replica and flipped for every bit line.")
        lines = self.read_order
        if not len(lines):
            raise UserError("an OPC map needs at least one used bit line.")
        output, plane, replica = (a[lines].astype(np.int64) for a in (self.output, self.plane, self.replica))
        if plane.min() < 0:
            raise UserError(f"bit line {lines[plane.argmin()]} has plane {plane.min()}; planes count from 0.")
        same = np.flatnonzero((np.diff(output) == 0) & (np.diff(plane) == 0) & (np.diff(replica) == 0))
        if same.size:
            first, second = sorted(lines[same[0] : same[0] + 2].tolist())
            raise UserError(f"bit lines {first} and {second} both hold {self._place(first)}.")
        if not np.array_equal(np.unique(output), np.arange(output.max() + 1)):
            raise UserError(f"the outputs of an OPC must be 0 to {output.max()} without gaps.")
        place_starts = np.flatnonzero(np.diff(output, prepend=-1) | np.diff(plane, prepend=-1))
        copies = np.diff(place_starts, append=len(lines))
        for start, count in zip(place_starts, copies, strict=True):
            if count not in (1, 3) or (replica[start : start + count] != np.arange(count)).any():
                found = ", ".join(map(str, replica[start : start + count]))
                raise UserError(
                    f"output {output[start]}, plane {plane[start]} has the replicas {found}; "
                    "an OPC takes one copy (replica 0) or three (replicas 0, 1 and 2)."
                )
        # In read order planes fall by one from place to place until plane 0 completes the output.
        place_output, place_plane = output[place_starts], plane[place_starts]
        last = np.append(np.diff(place_output) != 0, True)
        following = np.append(place_plane[1:], 0)
        broken = np.flatnonzero(np.where(last, place_plane != 0, following != place_plane - 1))
        if broken.size:
            at = broken[0]
            raise UserError(
                f"output {place_output[at]} has plane {place_plane[at]} but no plane {place_plane[at] - 1}."
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
        return cls(
            np.pad(
                np.searchsorted(bundle.outputs, column_map.output[bundle.lines]).astype(np.int32),
                pad,
                constant_values=-1,
            ),
            np.pad(column_map.plane[bundle.lines], pad),
            np.pad(column_map.replica[bundle.lines], pad),
            np.pad(column_map.flipped[bundle.lines], pad),
        )

    def __len__(self) -> int:
        return len(self.output)

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return int(self.output.max()) + 1

    @cached_property
    def read_order(self) -> NDArray[np.int64]:
        """Used bit lines in the order the OPC reads them: by output, top plane first, by replica."""
        lines = np.flatnonzero(self.output >= 0)
        return lines[np.lexsort((self.replica[lines], -self.plane[lines].astype(np.int64), self.output[lines]))]

    @cached_property
    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Bit lines of the places with one copy, int64[n, 1], and of those with three, int64[m, 3]."""
        lines = self.read_order
        third = np.flatnonzero(self.replica[lines] == 2)
        voted = third[:, None] + np.arange(-2, 1)
        single = np.setdiff1d(np.arange(len(lines)), voted)
        return lines[single][:, None], lines[voted]

    def _place(self, line: int) -> str:
        return f"output {self.output[line]}, plane {self.plane[line]}, replica {self.replica[line]}"

    def check_fits(self, parameters: OpcParameters) -> None:
        """Refuse a map that this OPC cannot hold.

        Raises:
            UserError: another number of bit lines, too high a plane, too many outputs, or replicas for an OPC without
                voter.
        """
        if not parameters.column_map:
            raise UserError("the OPC was built with column_map = False, so it has no writable column map.")
        if len(self) != parameters.columns:
            raise UserError(f"the map describes {len(self)} bit lines, but the OPC serves {parameters.columns}.")
        used = self.output >= 0
        if self.plane[used].max() >= parameters.planes:
            line = int(np.flatnonzero(used & (self.plane >= parameters.planes))[0])
            raise UserError(
                f"bit line {line} has plane {self.plane[line]}, but the OPC has planes 0 to {parameters.planes - 1}."
            )
        if self.outputs > parameters.outputs:
            raise UserError(
                f"the map makes {self.outputs} outputs, but the OPC, built for {parameters.planes} planes on "
                f"{parameters.columns} bit lines, numbers {parameters.outputs} at most."
            )
        if not parameters.voter and self.replica[used].any():
            raise UserError("the map has replicas, but the OPC was built without a voter.")


@dataclass(frozen=True, eq=False)
class PeripheralResult:
    """What one run of an OPC gives.

    Attributes:
        outputs: int64[V, outputs], in the order of the map's output numbers; scaled by an OPC with a scale stage.
        disagreements: votes whose three replicas were not equal. cycles: clock cycles, first beat to last output.
    """

    outputs: NDArray[np.int64]
    disagreements: int
    cycles: int


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
