"""What the benches share: parameters, clock, register access, stream driver and monitor."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.handle import HierarchyObject
from cocotb.triggers import RisingEdge, Timer
from numpy.typing import NDArray

from crossvote.rtl.column_map import MAP_REFILL
from crossvote.rtl.parameters import TAG_BITS, OpcParameters
from crossvote.rtl.registers import Register, Status
from crossvote.sim.peripheral.base import OpcMap, PeripheralResult
from crossvote.sim.peripheral.numpy_backend import NumpyPeripheral
from crossvote.sim.peripheral.programming import beat_payloads, map_writes, scale_writes
from crossvote.sim.peripheral.scales import OpcScales
from tb.stimulus import always, random_scales

#: Clock cycles after which a bench gives up waiting.
PATIENCE = 5000
PARAMETERS = OpcParameters(**json.loads(os.environ["OPC_PARAMETERS"]))


async def settle() -> None:
    """Let combinational logic follow its inputs."""
    await Timer(1, unit="ns")


def corners(low: int, high: int) -> list[int]:
    """Values at and next to the ends of a range, and around zero."""
    return sorted({v for v in (low, low + 1, -1, 0, 1, high - 1, high) if low <= v <= high})


class OpcBench:
    """Drives and watches an OPC, one clock at a time.

    After a rising edge cocotb reads what was there before it and writes what comes after it; so a transfer is what
    valid and ready say right after the edge.
    """

    INPUTS: tuple[str, ...] = ("i__valid", "i__payload", "o__ready")
    INPUTS += ("bus__address", "bus__read", "bus__write", "bus__write_strobe", "bus__write_data")

    def __init__(self, dut: HierarchyObject) -> None:
        self.dut = dut
        self.scales: OpcScales | None = None
        self._draws = np.random.default_rng(99)
        self.outputs: list[tuple[int, int]] = []
        #: (last, tag, error) of every output.
        self.marks: list[tuple[int, int, int]] = []
        self.accepted_at: list[int] = []
        self.delivered_at: list[int] = []

    async def start(self, watch: bool = True) -> None:
        """Clock, reset, and the watcher unless ``watch`` is False."""
        cocotb.start_soon(Clock(self.dut.clk, 10, unit="ns").start())
        for name in self.INPUTS:
            getattr(self.dut, name).value = 0
        await self.reset()
        if watch:
            cocotb.start_soon(self._watch())

    async def reset(self) -> None:
        """One clock of reset."""
        self.dut.rst.value = 1
        await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    async def write(self, address: int, word: int, strobe: int = 0xF) -> bool:
        """Write a register; False when the OPC refuses it."""
        dut = self.dut
        dut.bus__address.value, dut.bus__write_data.value, dut.bus__write.value = address, word, 1
        dut.bus__write_strobe.value = strobe
        await RisingEdge(dut.clk)
        refused = bool(dut.bus__error.value)
        dut.bus__write.value = 0
        return not refused

    async def read(self, address: int) -> int:
        """Read a register; there must be one."""
        word = await self.look(address)
        assert word is not None, f"there is no register at {address:#x}"
        return word

    async def look(self, address: int) -> int | None:
        """Read a register, or find out that there is none."""
        self.dut.bus__address.value, self.dut.bus__read.value = address, 1
        await RisingEdge(self.dut.clk)
        self.dut.bus__read.value = 0
        await RisingEdge(self.dut.clk)
        word = int(self.dut.bus__read_data.value)
        if self.dut.bus__read_error.value:
            assert word == 0
            return None
        return word

    async def program(self, opc_map: OpcMap, row_blocks: int) -> None:
        """Load the column map, the number of row blocks and, where there is a scale stage, random scales."""
        for address, word in map_writes(PARAMETERS, opc_map):
            assert await self.write(address, word), f"the OPC refused {word:#x} at {address:#x}"
        assert await self.write(Register.ROW_BLOCKS, row_blocks)
        if PARAMETERS.scale_bits:
            await self.load_scales(random_scales(self._draws, PARAMETERS, opc_map.outputs))
        for _ in range(MAP_REFILL):
            await RisingEdge(self.dut.clk)

    async def load_scales(self, scales: OpcScales) -> None:
        """Load the scale stage."""
        for address, word in scale_writes(PARAMETERS, scales):
            assert await self.write(address, word), f"the OPC refused {word:#x} at {address:#x}"
        self.scales = scales

    def reference(self, opc_map: OpcMap) -> NumpyPeripheral:
        """What the OPC must equal: this map and the scales it has now."""
        reference = NumpyPeripheral(PARAMETERS)
        reference.load_map(opc_map)
        if self.scales is not None:
            reference.load_scales(self.scales)
        return reference

    async def send(self, beats: Iterable[int], offer: Iterator[bool]) -> None:
        """Send beats, offering one only in clocks where ``offer`` says so; an offered beat stays until accepted."""
        dut = self.dut
        for payload in beats:
            while not next(offer):
                await RisingEdge(dut.clk)
            dut.i__valid.value, dut.i__payload.value = 1, payload
            await RisingEdge(dut.clk)
            for _ in range(PATIENCE):
                if dut.i__ready.value:
                    break
                await RisingEdge(dut.clk)
            else:
                raise AssertionError("a beat is never accepted")
            dut.i__valid.value = 0

    async def receive(self, count: int, take: Iterator[bool], patience: int = PATIENCE) -> None:
        """Wait until ``count`` outputs were delivered, taking them only in clocks where ``take`` says so."""
        for _ in range(patience):
            self.dut.o__ready.value = next(take)
            await RisingEdge(self.dut.clk)
            if len(self.outputs) >= count:
                self.dut.o__ready.value = 0
                return
        raise AssertionError(f"only {len(self.outputs)} of {count} outputs came")

    async def check(
        self,
        opc_map: OpcMap,
        codes: NDArray[np.unsignedinteger],
        offer: Callable[[], Iterator[bool]] = always,
        take: Callable[[], Iterator[bool]] = always,
    ) -> PeripheralResult:
        """Send vectors back to back; outputs in order, values and disagreements must equal the reference, returned."""
        expected = self.reference(opc_map).process(codes)
        assert await self.write(Register.DISAGREEMENTS, 0)
        if PARAMETERS.checksum_bits:
            assert await self.write(Register.MISMATCHES, 0)
        self.outputs.clear()
        self.marks.clear()
        sender = cocotb.start_soon(self.send(beat_payloads(PARAMETERS, codes), offer()))
        await self.receive(expected.outputs.size, take())
        assert sender.done(), "outputs came before all beats were accepted"
        numbers = list(range(opc_map.outputs)) * len(codes)
        assert self.outputs == list(zip(numbers, expected.outputs.ravel().tolist(), strict=True))
        assert self.marks == self.whole_marks(opc_map, len(codes))
        assert await self.read(Register.DISAGREEMENTS) == expected.disagreements
        await self.idle()
        found = bool(expected.mismatches) << Status.CHECKSUM
        assert await self.read(Register.STATUS) == found
        if PARAMETERS.checksum_bits:
            assert await self.read(Register.MISMATCHES) == expected.mismatches
            assert await self.write(Register.STATUS, found)
        return expected

    @staticmethod
    def whole_marks(opc_map: OpcMap, vectors: int) -> list[tuple[int, int, int]]:
        """Marks of the outputs of vectors of which no beat was lost."""
        outputs = range(opc_map.outputs)
        return [(int(n == outputs[-1]), v % (1 << TAG_BITS), 0) for v in range(vectors) for n in outputs]

    async def idle(self) -> None:
        """Wait until the OPC is no longer busy (unused map entries are read after the last output)."""
        for _ in range(PARAMETERS.columns):
            if not await self.read(Register.STATUS) & 1 << Status.BUSY:
                return
        raise AssertionError("the OPC stays busy")

    async def _watch(self) -> None:
        """Collect outputs and the clocks of transfers, and check that a stalled output stays as it is."""
        dut, p, stalled, cycle = self.dut, PARAMETERS, None, 0
        while True:
            await RisingEdge(dut.clk)
            cycle += 1
            if dut.i__valid.value and dut.i__ready.value:
                self.accepted_at.append(cycle)
            valid, ready = bool(dut.o__valid.value), bool(dut.o__ready.value)
            if bool(dut.rst.value):
                stalled = None
                continue
            payload = int(dut.o__payload.value) if valid else None
            assert stalled is None or payload == stalled, "a stalled output changed"
            stalled = payload if valid and not ready else None
            if valid and ready:
                value = payload & ((1 << p.sum_bits) - 1)
                value -= (value >> (p.sum_bits - 1)) << p.sum_bits
                self.delivered_at.append(cycle)
                marks = payload >> (p.sum_bits + p.output_bits)
                self.outputs.append((payload >> p.sum_bits & (1 << p.output_bits) - 1, value))
                self.marks.append((marks & 1, marks >> 1 & (1 << TAG_BITS) - 1, marks >> (1 + TAG_BITS)))
