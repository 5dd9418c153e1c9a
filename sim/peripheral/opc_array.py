"""The output peripherals (OPCs) of a word-line group, fed with the codes of its crossbars.

With ``vote = output`` an OPC serves all row blocks of its bit lines, because it adds them before the vote; otherwise
every row block has an OPC of its own and the partial sums are added behind it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.array.crossbar import driven_bits, read_cells
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Bundle, GroupImage
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral import OpcMap, Peripheral, PeripheralResult
from crossvote.sim.peripheral.support import pair_votes_refusal


class Worked(Protocol):
    """What an OPC or a tile says of its work."""

    @property
    def cycles(self) -> int: ...
    @property
    def disagreements(self) -> int: ...
    @property
    def mismatches(self) -> int | tuple[int, ...]: ...


@dataclass(frozen=True, eq=False)
class OpcRun:
    """What some token vectors gave.

    Attributes:
        outputs: int64[V, N], outputs of the group; 0 where no OPC makes them.
        code_pairs: (positive, negative) ADC code pairs that went through the OPCs. cycles: clock cycles of all OPCs
        together. disagreements: votes that were not unanimous. seconds: wall time inside the peripherals.
        checksum_mismatches: how often a checksum did not hold, vectors of all OPCs.
    """

    outputs: NDArray[np.int64]
    code_pairs: int
    cycles: int
    disagreements: int
    seconds: float
    checksum_mismatches: int = 0

    @classmethod
    def of(cls, outputs: NDArray[np.int64], results: Sequence[Worked], pairs: int, seconds: float) -> OpcRun:
        """The outputs, with what OPCs or tiles say of their work added up."""
        cycles = sum(result.cycles for result in results)
        mismatches = sum(int(np.sum(result.mismatches)) for result in results)
        return cls(outputs, pairs, cycles, sum(result.disagreements for result in results), seconds, mismatches)


def code_pairs(group: GroupImage, chip: ChipConfig, bundles: int) -> int:
    """ADC code pairs that go through the OPCs for a token vector."""
    return group.row_blocks * bundles * chip.opc.input_bits * chip.opc.columns


def check_votes(group: GroupImage) -> None:
    """Refuse an image whose replicas vote where the hardware does not.

    Raises:
        UserError: what it is.
    """
    if (why := pair_votes_refusal(group.vote)) is not None:
        raise UserError(f"group {group.name}: {why}.")


class OpcArray:
    """Crossbars, stuck cells included, and OPCs of a word-line group.

    A bundle of bit lines has one ``Peripheral`` object. Where every row block has an OPC of its own the object plays
    them in turn: they hold the same map, and nothing of a vector is left in an OPC when the next one comes.

    Args:
        group: what is programmed. faults: the chip's stuck cells. bundles: bit lines of the OPCs.
        make_peripheral: called once per bundle. threads: bundles that are simulated at the same time (a compiled OPC
            runs without Python's lock).

    Attributes:
        spans: the row blocks that an OPC adds before its vote, for each OPC of a bundle.

    Raises:
        UserError: an image the peripheral cannot serve, or a fault map for another chip.
    """

    def __init__(
        self,
        group: GroupImage,
        chip: ChipConfig,
        make_peripheral: Callable[[], Peripheral],
        faults: FaultMap | None,
        bundles: Sequence[Bundle],
        threads: int = 1,
    ) -> None:
        check_votes(group)
        self.group, self.chip, self.bundles, self.threads = group, chip, bundles, threads
        self.maps = [OpcMap.from_bundle(group.column_map, bundle, chip.opc.columns) for bundle in bundles]
        self.peripherals = []
        for opc_map in self.maps:
            self.peripherals.append(make_peripheral())
            self.peripherals[-1].load_map(opc_map)
        blocks = range(group.row_blocks)
        self.spans = [blocks] if group.vote == "output" else [blocks[g : g + 1] for g in blocks]
        self._cells = [read_cells(group, g, faults) for g in blocks]

    def __len__(self) -> int:
        """OPCs on the chip."""
        return len(self.spans) * len(self.bundles)

    @property
    def backend(self) -> str:
        """Name of the peripherals; "none" where there are none."""
        return self.peripherals[0].name if self.peripherals else "none"

    def measured_cycles(self) -> tuple[int, int]:
        """Clock cycles of the OPC with most bit lines for one vector and for two; there must be an OPC."""
        slowest = max(range(len(self.bundles)), key=lambda i: len(self.bundles[i].lines))
        opc = self.chip.opc
        vectors = np.zeros((2, len(self.spans[0]), opc.input_bits, opc.columns, 2), np.uint8)
        one, two = (self.peripherals[slowest].process(vectors[:count]).cycles for count in (1, 2))
        return one, two

    def process(self, x: NDArray[np.integer]) -> OpcRun:
        """Read the crossbars with x int[V, K], quantized activations, and let every OPC digest the codes."""
        outputs = np.zeros((len(x), self.group.outputs), np.int64)
        results: list[PeripheralResult] = []
        seconds = 0.0
        for span in self.spans:
            codes = self._codes(x, span)
            start = time.perf_counter()
            of_span = self._digest(codes)
            seconds += time.perf_counter() - start
            for bundle, result in zip(self.bundles, of_span, strict=True):
                outputs[:, bundle.outputs] += result.outputs
            results += of_span
        pairs = len(x) * code_pairs(self.group, self.chip, len(self.bundles))
        return OpcRun.of(outputs, results, pairs, seconds)

    def opc_codes(self, x: NDArray[np.integer], span: range, bundle: Bundle) -> NDArray[np.unsignedinteger]:
        """What the OPC of a bundle gets for row blocks ``span``, as ``Peripheral.process`` takes it."""
        return self._padded(self._codes(x, span), bundle)

    def _codes(self, x: NDArray[np.integer], span: range) -> NDArray[np.unsignedinteger]:
        """ADC codes of some row blocks, uint8 (uint16 for wider ADCs) [V, row blocks, n_x, lines, 2]."""
        width, last_code = self.chip.opc.input_bits, (1 << self.chip.adc.bits) - 1
        dtype = np.uint8 if last_code < 256 else np.uint16
        codes = np.empty((len(x), len(span), width, len(self.group.column_map), 2), dtype)
        clips = self.group.rows * self.group.last_level > last_code
        for at, g in enumerate(span):
            bits = driven_bits(self.group, g, x, width).astype(np.float32)
            for sign in (0, 1):
                # A few units per word line: exact in float32.
                sums = bits @ self._cells[g][sign].astype(np.float32)
                codes[:, at, :, :, sign] = np.minimum(sums, last_code) if clips else sums
        return codes

    def _padded(self, codes: NDArray[np.unsignedinteger], bundle: Bundle) -> NDArray[np.unsignedinteger]:
        padded = np.zeros((*codes.shape[:3], self.chip.opc.columns, 2), codes.dtype)
        padded[..., : len(bundle.lines), :] = codes[..., bundle.lines, :]
        return padded

    def _digest(self, codes: NDArray[np.unsignedinteger]) -> list[PeripheralResult]:
        """One result per bundle."""

        def one(peripheral: Peripheral, bundle: Bundle) -> PeripheralResult:
            return peripheral.process(self._padded(codes, bundle))

        if self.threads == 1:
            return list(map(one, self.peripherals, self.bundles))
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(one, self.peripherals, self.bundles))
