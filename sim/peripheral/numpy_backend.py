"""The OPC in NumPy: the reference for the hardware, and the backend where there is no compiler."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.array import arithmetic
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral.base import LoadedOpc, PeripheralResult, check_codes, check_loaded


class NumpyPeripheral(LoadedOpc):
    """Peripheral in plain array arithmetic; cycles come from the OPC's latency formula."""

    name = "numpy"

    def column_sums(self, codes: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
        """Column sums over all reads and row blocks, int64[V, columns], for codes as in ``process``.

        Raises:
            UserError: there is no map.
        """
        if self._map is None:
            raise UserError("the OPC has no column map; load one first.")
        flipped = self._map.flipped
        sums = np.zeros((len(codes), len(flipped)), np.int64)
        for block in range(codes.shape[1]):
            pair = codes[:, block]
            sums += arithmetic.column_sums(arithmetic.differences(pair[..., 0], pair[..., 1], flipped))
        return sums

    def line_disagreements(self, codes: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
        """Votes in which a bit line's column sum was not the median, int64[columns]: what the log adds in a run.

        Raises:
            UserError: there is no map.
        """
        sums = self.column_sums(codes)
        counts = np.zeros(sums.shape[1], np.int64)
        assert self._map is not None
        for lines in self._map.places:
            if lines.shape[1] == 3:
                median, _ = arithmetic.vote(sums[:, lines])
                np.add.at(counts, lines, (sums[:, lines] != median[..., None]).sum(axis=0))
        return counts

    def residues(self, codes: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
        """What the checksum finds in each vector, int64[V]: 0 where it holds or the map has none, else below 2^m.

        The same as ``crossvote.sim.array.checksum.residues``, from codes: column sums as they are, without flips.

        Raises:
            UserError: there is no map.
        """
        sums = self.column_sums(codes)
        assert self._map is not None
        lines = self._map.checksum_lines
        sums[:, self._map.flipped] *= -1  # back to what the codes say
        held = sums[:, lines] << self._map.checksum[lines].astype(np.int64)
        difference = sums[:, self._map.read_order].sum(axis=1) - held.sum(axis=1)
        found: NDArray[np.int64] = difference & ((1 << len(lines)) - 1)
        return found

    def process(self, codes: NDArray[np.unsignedinteger]) -> PeripheralResult:
        """See ``Peripheral.process``."""
        check_codes(self.parameters, codes)
        opc_map = check_loaded(self.parameters, self._map, self._scales)
        sums = self.column_sums(codes)
        disagreements = 0
        outputs = np.zeros((opc_map.outputs, len(codes)), np.int64)
        for lines in opc_map.places:
            value = sums[:, lines[:, 0]]
            if lines.shape[1] == 3:
                value, disagree = arithmetic.vote(sums[:, lines])
                disagreements += int(disagree.sum())
            shift = opc_map.shift[lines[:, 0]].astype(np.int64)
            np.add.at(outputs, opc_map.output[lines[:, 0]], (value << shift).T)
        if self._scales is not None:
            shift = self.parameters.scale_bits + self._scales.shift
            outputs = arithmetic.scale(outputs, self._scales.multiplier[:, None], shift[:, None])
        cycles = self.parameters.cycles(len(codes), codes.shape[1], opc_map.steps)
        mismatches = int(np.count_nonzero(self.residues(codes))) if len(opc_map.checksum_lines) else 0
        return PeripheralResult(outputs.T, disagreements, cycles, mismatches)
