"""The scale stage of the OPC: corners of sums and scales, ties, new scales between vectors, refused writes, reset."""

from __future__ import annotations

import dataclasses

import cocotb
import numpy as np
from cocotb.handle import HierarchyObject

from crossvote.rtl.parameters import SHIFT_BITS
from crossvote.rtl.registers import Register, Status, scale_address, scale_word
from crossvote.sim.peripheral.numpy_backend import NumpyPeripheral
from crossvote.sim.peripheral.programming import beat_payloads, scale_writes
from crossvote.sim.peripheral.scales import OpcScales
from tb.bench import PARAMETERS, OpcBench
from tb.stimulus import always, extreme_codes, random_codes, random_map, random_scales, sometimes

P = PARAMETERS
LARGEST = (1 << P.scale_bits) - 1


@cocotb.test()
async def corners(dut: HierarchyObject) -> None:
    """Largest, smallest and random sums, each shift, corners of multipliers; halves occur above and below zero."""
    rng = np.random.default_rng(30)
    bench = OpcBench(dut)
    await bench.start()
    opc_map = random_map(rng, P, outputs=P.outputs)
    await bench.program(opc_map, P.row_blocks)
    unscaled = NumpyPeripheral(dataclasses.replace(P, scale_bits=0))
    unscaled.load_map(opc_map)
    halves: set[int] = set()
    for shift in range(1 << SHIFT_BITS):
        for multipliers in ((LARGEST, (LARGEST + 1) // 2), (1, 0)):
            scales = OpcScales(np.resize(multipliers, P.outputs), np.full(P.outputs, shift))
            await bench.load_scales(scales)
            codes = np.concatenate([extreme_codes(P, opc_map, P.row_blocks), random_codes(rng, P, 2, P.row_blocks)])
            await bench.check(opc_map, codes, take=lambda shift=shift: sometimes(shift, 0.7))
            products = unscaled.process(codes).outputs * scales.multiplier
            divisor = 1 << (P.scale_bits + shift)
            halves |= set(np.sign(products[products % divisor == divisor // 2]).tolist())
    assert halves == {-1, 1}


@cocotb.test()
async def new_scales_between_vectors(dut: HierarchyObject) -> None:
    """The map stays, the scales change; they read back as written, and there is none behind the last output."""
    rng = np.random.default_rng(31)
    bench = OpcBench(dut)
    await bench.start()
    opc_map = random_map(rng, P, outputs=P.outputs)
    await bench.program(opc_map, 1)
    for _ in range(6):
        scales = random_scales(rng, P, P.outputs)
        await bench.load_scales(scales)
        for address, word in scale_writes(P, scales):
            assert await bench.read(address) == word
        assert await bench.look(scale_address(P, P.outputs)) is None
        await bench.check(opc_map, random_codes(rng, P, 2, 1))


@cocotb.test()
async def refused_scales(dut: HierarchyObject) -> None:
    """Values out of range, scales of no output and writes while busy change nothing but a status bit."""
    rng = np.random.default_rng(32)
    bench = OpcBench(dut)
    await bench.start()
    opc_map = random_map(rng, P, outputs=1)
    await bench.program(opc_map, 1)
    first = scale_address(P, 0)
    before = await bench.read(first)
    for address, word in (
        (first, scale_word(multiplier=LARGEST + 1, shift=0)),
        (first, scale_word(multiplier=1, shift=1 << SHIFT_BITS)),
        (first + P.outputs, scale_word(multiplier=1, shift=0)),
    ):
        assert not await bench.write(address, word)
        assert await bench.read(Register.STATUS) == 1 << Status.REFUSED
        assert await bench.write(Register.STATUS, 1 << Status.REFUSED)
    assert await bench.read(first) == before

    codes = random_codes(rng, P, 1, 1)
    beats = list(beat_payloads(P, codes))
    expected = bench.reference(opc_map).process(codes).outputs.ravel().tolist()
    bench.outputs.clear()
    await bench.send(beats, always())
    # The only output is not taken, so it waits in the scale stage and keeps the OPC busy.
    for _ in range(2 * P.columns):
        assert not await bench.write(first, 0)
    await bench.receive(len(expected), always())
    assert [value for _, value in bench.outputs] == expected
    assert await bench.read(first) == before


@cocotb.test()
async def scales_survive_a_reset(dut: HierarchyObject) -> None:
    """Reset with outputs in the scale stage drops them and leaves the table as it is."""
    rng = np.random.default_rng(33)
    bench = OpcBench(dut)
    await bench.start()
    opc_map = random_map(rng, P, outputs=P.outputs)
    await bench.program(opc_map, 1)
    await bench.send(beat_payloads(P, random_codes(rng, P, 1, 1)), always())
    for _ in range(2 * P.columns):
        await bench.read(Register.STATUS)
    assert dut.o__valid.value
    await bench.reset()
    assert not dut.o__valid.value
    await bench.check(opc_map, random_codes(rng, P, 2, 1))
