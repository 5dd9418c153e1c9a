"""A tile's settings bit by bit, what it says of itself, tags, sums at their ends, and crossbars full of faults."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import cocotb
import numpy as np
from cocotb.handle import HierarchyObject
from cocotb.triggers import RisingEdge

from crossvote.rtl.column_map import OPERATION_BITS
from crossvote.rtl.march_elements import SelfTest
from crossvote.rtl.parameters import SHIFT_BITS, TAG_BITS
from crossvote.rtl.registers import Register, Status, map_address, registers_of
from crossvote.rtl.tile_parameters import OFFSET_BITS
from crossvote.rtl.tile_registers import (
    VERDICT_ADDRESS_WORD,
    TileRegister,
    offset_address,
    self_test_word,
    tile_capability_words,
    tile_registers,
    tile_scale_address,
    tile_status_bits,
    verdict_address_word,
)
from crossvote.sim.peripheral.march import CellBank, self_test
from crossvote.sim.peripheral.scales import OpcScales
from crossvote.sim.peripheral.tile import activation_payloads, requantised, tile_sums
from tb.array_model import ArrayModel
from tb.march_case import PARAMETERS as P
from tb.march_case import bank
from tb.stimulus import always, random_map, sometimes
from tb.tile_bench import TileBench, expected_outputs

MOST_OFFSET = (1 << OFFSET_BITS - 1) - 1
WORD = 1 << 32


def settings() -> dict[int, tuple[tuple[int, ...], Callable[[int], bool]]]:
    """Of each setting, of tables the ends: some words that it takes, and whether it takes any other."""

    def entry(word: int) -> bool:
        return word & 0xFFF < P.opc.columns and word >> 13 + OPERATION_BITS == 0

    def scale(word: int) -> bool:
        return word & 0xFFFFFF < 1 << P.scale_bits and word >> 24 < 1 << SHIFT_BITS

    def offset(word: int) -> bool:
        return (word + MOST_OFFSET + 1) % WORD <= 2 * MOST_OFFSET + 1

    def place(word: int) -> bool:
        line, part = word >> 12 & 0xFFF, word >> 24
        return word & 0xFFF < P.opc.groups and line < P.rows and part < P.opcs * P.verdict_words

    bits = sum(1 << bit for bit in tile_status_bits(P))
    ends = P.opc.outputs - 1
    assert VERDICT_ADDRESS_WORD.size == 32
    return {
        Register.ROW_BLOCKS: ((1, P.opc.row_blocks), lambda word: 1 <= word <= P.opc.row_blocks),
        Register.STEPS: ((2, P.opc.columns), lambda word: 1 <= word <= P.opc.columns),
        Register.INTERRUPTS: ((0, bits), lambda word: not word & ~bits),
        TileRegister.VERDICT_ADDRESS: ((0, verdict_address_word(P, 1, P.rows - 1, 1, 1)), place),
        **{map_address(P.opc, step): ((2, P.opc.columns - 1), entry) for step in (0, P.opc.columns - 1)},
        **{tile_scale_address(P, output): ((5, 0x0F00000F), scale) for output in (0, ends)},
        **{offset_address(P, output): ((9, MOST_OFFSET, WORD - MOST_OFFSET - 1), offset) for output in (0, ends)},
    }


@cocotb.test()
async def every_bit_of_a_setting(dut: HierarchyObject) -> None:
    """Each bit of some words is turned: the new word is taken and reads back, or is refused. So are parts of words."""
    bench = TileBench(dut, P)
    await bench.start()
    for address, (words, takes) in settings().items():
        for start in words:
            for bit in range(32):
                assert await bench.write(address, start)
                word = start ^ 1 << bit
                taken = await bench.write(address, word)
                assert taken == takes(word), f"{word:#x} at {address:#x}"
                assert await bench.read(address) == (word if taken else start), f"{word:#x} at {address:#x}"
                assert await bench.read(Register.STATUS) == (not taken) << Status.REFUSED
                assert await bench.write(Register.STATUS, 1 << Status.REFUSED)
        for strobe in (0x7, 0xB, 0xD, 0xE):
            dut.bus__write_strobe.value = strobe
            assert not await bench.write(address, words[0])
            dut.bus__write_strobe.value = 0xF
            assert await bench.read(address) == start
        assert await bench.write(Register.STATUS, 1 << Status.REFUSED)
    for bit in range(16, 32):
        assert not await bench.write(TileRegister.SELF_TEST, self_test_word(SelfTest.MARCH, 0) | 1 << bit)
    for test in range(len(SelfTest), 256):
        assert not await bench.write(TileRegister.SELF_TEST, self_test_word(SelfTest.MARCH, 0) + test)
    for block in range(P.opc.row_blocks, 256):
        assert not await bench.write(TileRegister.SELF_TEST, self_test_word(SelfTest.MARCH, block))
    assert not await bench.read(TileRegister.SELF_TEST) >> 31


@cocotb.test()
async def what_a_tile_says_of_itself(dut: HierarchyObject) -> None:
    """Capabilities, every number of the counter of disagreements, and where there is nothing."""
    bench = TileBench(dut, P)
    await bench.start()
    for address, word in tile_capability_words(P).items():
        assert await bench.read(address) == word
        assert not await bench.write(address, word)
    for bit in range(32):
        assert await bench.write(Register.DISAGREEMENTS, 1 << bit)
        assert await bench.read(Register.DISAGREEMENTS) == 1 << bit
    known = {*map(int, tile_registers(P)), *map(int, registers_of(P.opc))}
    nothing = [*(set(range(32)) - known), *(tile_scale_address(P, n) for n in range(P.opc.outputs, 16))]
    nothing += [offset_address(P, n) for n in (P.opc.outputs, 31)]
    for address in nothing:
        dut.bus__address.value, dut.bus__read.value = address, 1
        await RisingEdge(dut.clk)
        dut.bus__read.value = 0
        await RisingEdge(dut.clk)
        assert (int(dut.bus__read_error.value), int(dut.bus__read_data.value)) == (1, 0), f"{address:#x}"
        assert not await bench.write(address, 0)
    assert await bench.read(Register.STATUS) == 1 << Status.REFUSED


@cocotb.test()
async def tags_and_settings_while_vectors_come(dut: HierarchyObject) -> None:
    """All tags, which later beats need not carry, and outputs that wait; a vector that has begun keeps settings."""
    rng, cells = np.random.default_rng(54), bank()
    bench = TileBench(dut, P)
    await bench.start()
    cocotb.start_soon(ArrayModel(dut, P, cells).run())
    opc_map, blocks = random_map(rng, P.opc, outputs=2, replicated=0.5), P.opc.row_blocks
    scales, offsets = OpcScales(np.full(2, 9), np.zeros(2, np.int64)), np.array([-3, 7])
    await bench.program(opc_map, blocks, scales, offsets)
    x = rng.integers(-4, 4, ((1 << TAG_BITS) + 3, P.opcs * blocks * P.rows))
    seen = np.where(cells.stuck < 0, cells.levels, cells.stuck).astype(np.uint8)
    sums, _ = tile_sums(P, opc_map, seen.reshape(P.opcs, blocks, 2, P.rows, P.opc.columns), x)
    expected = expected_outputs(requantised(P, sums, scales, offsets))
    tag = 2 << P.opc.input_bits * P.port
    per = P.input_beats(blocks)
    beats = [
        beat if number % per == 0 else beat ^ tag * int(rng.integers(1, 1 << TAG_BITS))
        for number, beat in enumerate(activation_payloads(P, x))
    ]

    # The first beat by itself, and a long pause.
    assert await bench.write(Register.INTERRUPTS, 1 << Status.BUSY)
    await RisingEdge(dut.clk)
    assert dut.irq.value
    dut.i__valid.value, dut.i__payload.value = 1, beats[0]
    await RisingEdge(dut.clk)
    assert dut.i__ready.value
    dut.i__valid.value = 0
    for _ in range(3 * P.opc.input_bits):
        await RisingEdge(dut.clk)
    assert not dut.irq.value
    for address, (words, _) in settings().items():
        if address not in (Register.INTERRUPTS, TileRegister.VERDICT_ADDRESS):
            assert not await bench.write(address, words[0]), f"{address:#x}"
    assert not await bench.write(TileRegister.SELF_TEST, self_test_word(SelfTest.MARCH, 0))
    assert await bench.read(Register.STATUS) == 1 << Status.BUSY | 1 << Status.REFUSED
    assert await bench.write(Register.STATUS, 1 << Status.REFUSED)

    found, _ = await bench.stream(x, 2, always(), sometimes(10, 0.02), iter(beats[1:]))
    assert found == expected
    await RisingEdge(dut.clk)
    assert await bench.read(Register.STATUS) == 0
    assert dut.irq.value


@cocotb.test()
async def sums_at_their_ends(dut: HierarchyObject) -> None:
    """Every shift, offsets that reach far, largest and smallest sums."""
    rng, cells = np.random.default_rng(55), bank(rate=0.0)
    cells.levels[:] = 0
    cells.levels[::2] = 1
    bench = TileBench(dut, P)
    await bench.start()
    cocotb.start_soon(ArrayModel(dut, P, cells).run())
    blocks, outputs = P.opc.row_blocks, P.opc.outputs
    opc_map = random_map(rng, P.opc, outputs=outputs, replicated=0.0, flipped=0.5)
    half = 1 << P.opc.input_bits - 1
    x = np.resize([-half, half - 1], (4, P.opcs * blocks * P.rows)[::-1]).T.copy()
    x[2:] = rng.integers(-half, half, x[2:].shape)
    shape = (P.opcs, blocks, 2, P.rows, P.opc.columns)
    sums, _ = tile_sums(P, opc_map, cells.levels.reshape(shape), x)
    assert np.abs(sums).max() == half * P.opcs * blocks * P.rows * ((1 << P.opc.planes) - 1)
    for shift in range(1 << SHIFT_BITS):
        scales = OpcScales(rng.integers(1, 1 << P.scale_bits, outputs), np.full(outputs, shift))
        scales.multiplier[: outputs // 2] = (1 << P.scale_bits) - 1
        reach = (8, 128, MOST_OFFSET)[shift % 3]
        offsets = rng.integers(-reach - 1, reach + 1, outputs)
        # So that differences of a step are seen.
        offsets[::2] = -(sums[0] * scales.multiplier >> P.scale_bits + scales.shift)[::2]
        offsets = np.clip(offsets, -MOST_OFFSET - 1, MOST_OFFSET)
        await bench.program(opc_map, blocks, scales, offsets)
        found, _ = await bench.stream(x, outputs, always(), always())
        assert found == expected_outputs(requantised(P, sums, scales, offsets)), f"shift {shift}"


@cocotb.test()
@cocotb.parametrize(test=list(SelfTest), rate=[0.2, 0.6])
async def crossbars_full_of_faults(dut: HierarchyObject, test: SelfTest, rate: float) -> None:
    """Many cells of a word are wrong, each for any reason."""
    rng, cells = np.random.default_rng(56), bank(rate=0.0)
    kind = np.where(rng.random(cells.levels.shape) < rate, rng.integers(0, 5, cells.levels.shape), 9)
    cells.stuck[kind == 0], cells.stuck[kind == 1] = 0, 1
    cells.no_set, cells.no_reset, cells.disturbed = kind == 2, kind == 3, kind == 4
    bench = TileBench(dut, P)
    await bench.start()
    cocotb.start_soon(ArrayModel(dut, P, cells).run())
    names = ("levels", "stuck", "no_set", "no_reset", "disturbed")
    for block in range(P.opc.row_blocks):
        chosen = [2 * (opc * P.opc.row_blocks + block) + sign for opc in range(P.opcs) for sign in (0, 1)]
        own = CellBank(*(deepcopy(getattr(cells, name)[chosen]) for name in names))
        found, expected = await bench.self_test(test, block), self_test(test, own, P.opc.adc_bits)
        assert np.array_equal(found.read_one, expected.read_one)
        assert np.array_equal(found.read_zero, expected.read_zero)
        assert (found.reads, found.writes) == (expected.reads, expected.writes)
