"""What the benches of a tile share: clock, registers, streams, and what must come out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.handle import HierarchyObject
from cocotb.triggers import RisingEdge, Timer
from numpy.typing import NDArray

from crossvote.rtl.column_map import MAP_REFILL
from crossvote.rtl.march_elements import SelfTest
from crossvote.rtl.parameters import TAG_BITS
from crossvote.rtl.registers import Register, Status
from crossvote.rtl.tile_parameters import VALUE_BITS, TileParameters
from crossvote.rtl.tile_registers import TileRegister, self_test_word, verdict_address_word
from crossvote.sim.peripheral.base import OpcMap
from crossvote.sim.peripheral.march import Verdicts, bus_verdicts
from crossvote.sim.peripheral.scales import OpcScales
from crossvote.sim.peripheral.tile import activation_payloads, tile_writes

#: Number, value, last, tag, error.
Output = tuple[int, int, int, int, int]


class TileBench:
    """Drives a tile, one clock at a time; transfers are as in ``tb.bench``."""

    INPUTS: tuple[str, ...] = (
        "i__valid",
        "i__payload",
        "o__ready",
        "bus__address",
        "bus__read",
        "bus__write",
        "bus__write_data",
    )

    def __init__(self, dut: HierarchyObject, parameters: TileParameters) -> None:
        self.dut, self.parameters = dut, parameters

    async def start(self) -> None:
        """Clock and reset."""
        dut = self.dut
        cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
        for name in self.INPUTS:
            getattr(dut, name).value = 0
        if "bus__write" in self.INPUTS:
            dut.bus__write_strobe.value = 0xF
        dut.rst.value = 1
        await RisingEdge(dut.clk)
        dut.rst.value = 0
        await RisingEdge(dut.clk)

    async def write(self, address: int, word: int) -> bool:
        """Write a register; False when the tile refuses it."""
        dut = self.dut
        dut.bus__address.value, dut.bus__write_data.value, dut.bus__write.value = address, word & 0xFFFFFFFF, 1
        await RisingEdge(dut.clk)
        dut.bus__write.value = 0
        return not dut.bus__error.value

    async def read(self, address: int) -> int:
        """Read a register; there must be one."""
        dut = self.dut
        dut.bus__address.value, dut.bus__read.value = address, 1
        await RisingEdge(dut.clk)
        dut.bus__read.value = 0
        await RisingEdge(dut.clk)
        assert not dut.bus__read_error.value, f"there is no register at {address:#x}"
        return int(dut.bus__read_data.value)

    async def program(self, opc_map: OpcMap, blocks: int, scales: OpcScales, offsets: NDArray[np.integer]) -> None:
        """Write map, row blocks, scales, offsets."""
        for address, word in tile_writes(self.parameters, opc_map, blocks, scales, offsets):
            assert await self.write(address, word), f"the tile refused {word:#x} at {address:#x}"
        for _ in range(MAP_REFILL):
            await RisingEdge(self.dut.clk)

    async def stream(
        self,
        x: NDArray[np.integer],
        outputs: int,
        offer: Iterator[bool],
        take: Iterator[bool],
        beats: Iterator[int] | None = None,
    ) -> tuple[list[Output], list[int]]:
        """Vectors in, what comes out of them, and in which clocks; ends when all of it came, or long after.

        ``beats``: what is sent in the place of those of the vectors.
        """
        dut, p = self.dut, self.parameters
        beats = beats or activation_payloads(p, x)
        beat, offered = next(beats, None), False
        found: list[Output] = []
        at: list[int] = []
        patience = 2 * (len(x) + 2) * p.interval(p.opc.row_blocks, p.opc.columns) + 10_000
        for clock in range(patience):
            offered = beat is not None and (offered or next(offer))
            ready = next(take)
            dut.i__valid.value, dut.i__payload.value, dut.o__ready.value = offered, beat or 0, ready
            await RisingEdge(dut.clk)
            if offered and dut.i__ready.value:
                beat, offered = next(beats, None), False
            if ready and dut.o__valid.value:
                found.append(self._output(int(dut.o__payload.value)))
                at.append(clock)
                if len(found) == len(x) * outputs:
                    break
        dut.o__ready.value, dut.i__valid.value = 0, 0
        return found, at

    async def self_test(self, test: SelfTest, block: int, patience: int = 500_000) -> Verdicts:
        """Run a self-test on the crossbars of a row block and read its verdicts over the bus."""
        p = self.parameters
        assert await self.write(TileRegister.SELF_TEST, self_test_word(test, block))
        for _ in range(patience // 50):
            await Timer(500, unit="ns")
            await RisingEdge(self.dut.clk)
            if not await self.read(TileRegister.SELF_TEST) >> 31:
                break
        words = {}
        for opc, line, group, part in product(
            range(p.opcs), range(p.rows), range(p.opc.groups), range(p.verdict_words)
        ):
            address = verdict_address_word(p, opc, line, group, part)
            assert await self.write(TileRegister.VERDICT_ADDRESS, address)
            words[opc, line, group, part] = await self.read(TileRegister.VERDICT)
        reads, writes = [await self.read(r) for r in (TileRegister.SELF_TEST_READS, TileRegister.SELF_TEST_WRITES)]
        return bus_verdicts(p, lambda *at: words[at], reads, writes)

    def _output(self, payload: int) -> Output:
        value = payload & (1 << VALUE_BITS) - 1
        value -= (value >> (VALUE_BITS - 1)) << VALUE_BITS
        bits = self.parameters.opc.output_bits
        marks = payload >> (VALUE_BITS + bits)
        number = payload >> VALUE_BITS & (1 << bits) - 1
        return number, value, marks & 1, marks >> 1 & (1 << TAG_BITS) - 1, marks >> (1 + TAG_BITS)

    async def check_status(self) -> None:
        """Nothing was refused, misframed, or illegal."""
        assert not await self.read(Register.STATUS) & ~(1 << Status.BUSY)


def expected_outputs(values: NDArray[np.int8]) -> list[Output]:
    """What a tile gives for quantized activations int8[V, outputs]."""
    last = values.shape[1] - 1
    return [
        (n, value, int(n == last), v % (1 << TAG_BITS), 0)
        for v, vector in enumerate(values.tolist())
        for n, value in enumerate(vector)
    ]
