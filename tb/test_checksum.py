"""The check of checksum bit lines: which vectors do not hold, against NumPy and against what wrong cells must do."""

from __future__ import annotations

import cocotb
import numpy as np
from cocotb.handle import HierarchyObject
from cocotb.triggers import RisingEdge
from numpy.typing import NDArray

from crossvote.rtl.column_map import MAP_REFILL, SKIP, operation
from crossvote.rtl.registers import OPTIONS_WORD, Register, Status, entry_word, map_address
from crossvote.sim.array import arithmetic
from crossvote.sim.array.checksum import checksum_cells
from crossvote.sim.peripheral.base import OpcMap
from crossvote.sim.peripheral.programming import beat_payloads
from tb.bench import PARAMETERS, OpcBench
from tb.stimulus import always, random_codes, random_map, sometimes

P = PARAMETERS
CHECKSUM = 1 << Status.CHECKSUM
#: Word lines of the crossbars below: no sum of a bit line clips.
ROWS = min(24, (1 << P.adc_bits) - 1)


def checked_map(rng: np.random.Generator, bits: int) -> OpcMap:
    """A map with votes and flips, a checksum of ``bits``, and bit lines that nothing reads."""
    most = min(P.outputs - 1, (P.columns - bits) // P.planes)
    while True:
        opc_map = random_map(rng, P, outputs=int(rng.integers(1, most + 1)))
        if np.count_nonzero(opc_map.output < 0) >= bits:
            return opc_map.with_checksum(bits)


def crossbars(rng: np.random.Generator, opc_map: OpcMap, blocks: int) -> NDArray[np.uint8]:
    """Cells uint8[row blocks, 2, ROWS, columns] of which the checksum lines hold what they shall."""
    cells = rng.integers(0, 2, (blocks, 2, ROWS, P.columns)).astype(np.uint8)
    lines = opc_map.checksum_lines
    for block in cells:
        block[..., lines[::-1]] = checksum_cells(block[..., opc_map.read_order], len(lines))
    return cells


def codes_of(cells: NDArray[np.uint8], x: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Codes [V, row blocks, n_x, columns, 2] of the cells for x int[V, row blocks * ROWS]."""
    blocks = len(cells)
    bits = arithmetic.input_bits(x, P.input_bits).reshape(len(x), P.input_bits, blocks, ROWS)
    codes = np.empty((len(x), blocks, P.input_bits, P.columns, 2), np.uint16)
    for block in range(blocks):
        for sign in (0, 1):
            codes[:, block, ..., sign] = arithmetic.adc_codes(bits[:, :, block], cells[block, sign], P.adc_bits)
    return codes


@cocotb.test()
@cocotb.parametrize(stalls=[False, True], bits=range(P.checksum_bits + 1))
async def mismatches_are_those_of_numpy(dut: HierarchyObject, stalls: bool, bits: int) -> None:
    """Codes of any values, half of them at the ends of their range; outputs and disagreements are not touched."""
    rng = np.random.default_rng([60, bits])
    bench = OpcBench(dut)
    await bench.start()
    pattern = (lambda: sometimes(bits, 0.8), lambda: sometimes(bits + 1, 0.5)) if stalls else (always, always)
    total = 0
    for run in range(4):
        opc_map = checked_map(rng, bits)
        blocks = 1 + run % P.row_blocks
        await bench.program(opc_map, blocks)
        total += (await bench.check(opc_map, random_codes(rng, P, 6, blocks), *pattern)).mismatches
    assert (total > 0) == (bits > 0)


@cocotb.test()
@cocotb.parametrize(seed=[61, 62, 63])
async def a_wrong_cell_is_seen_where_its_input_counts(dut: HierarchyObject, seed: int) -> None:
    """Crossbars as they were programmed are silent; one wrong cell on word line k shows where 2^b x[k] is no multiple
    of 2^m, b being its bit of the checksum or 0; one of a bit line that nothing reads never does.
    """
    rng = np.random.default_rng(seed)
    bench = OpcBench(dut)
    await bench.start()
    bits, blocks, half = P.checksum_bits, P.row_blocks, 1 << P.input_bits - 1
    opc_map = checked_map(rng, bits)
    await bench.program(opc_map, blocks)
    cells = crossbars(rng, opc_map, blocks)
    x = rng.integers(-half, half, (12, blocks * ROWS))
    assert (await bench.check(opc_map, codes_of(cells, x))).mismatches == 0
    idle = np.flatnonzero((opc_map.output < 0) & (opc_map.checksum < 0))
    for line in (*opc_map.checksum_lines, *rng.choice(opc_map.read_order, 3, replace=False), *idle[:1]):
        block, sign, row = rng.integers(blocks), rng.integers(2), rng.integers(ROWS)
        wrong = cells.copy()
        wrong[block, sign, row, line] ^= 1
        weight = 0 if line in idle else 1 << max(0, int(opc_map.checksum[line]))
        seen = np.count_nonzero(x[:, block * ROWS + row] * weight % (1 << bits))
        assert (await bench.check(opc_map, codes_of(wrong, x))).mismatches == seen, (line, block, sign, row)


@cocotb.test()
async def what_is_spoilt_is_not_judged(dut: HierarchyObject) -> None:
    """A vector whose beats were marked wrongly says nothing about cells; the ones around it do."""
    rng = np.random.default_rng(64)
    bench = OpcBench(dut)
    await bench.start()
    opc_map = checked_map(rng, P.checksum_bits)
    await bench.program(opc_map, 1)
    reference = bench.reference(opc_map)
    codes = random_codes(rng, P, 60, 1)
    codes = codes[np.flatnonzero(reference.residues(codes))[:3]]
    beats = list(beat_payloads(P, codes))
    beats[P.beats(1)] &= ~(1 << 2 * P.adc_bits * P.lanes)  # the middle one begins without its mark
    cocotb.start_soon(bench.send(beats, always()))
    await bench.receive(3 * opc_map.outputs, always())
    await bench.idle()
    assert {error for _, _, error in bench.marks[opc_map.outputs : 2 * opc_map.outputs]} == {1}
    assert await bench.read(Register.MISMATCHES) == 2
    assert await bench.read(Register.STATUS) == CHECKSUM | 1 << Status.MISFRAMED


@cocotb.test()
async def registers_of_the_check(dut: HierarchyObject) -> None:
    """It says its bits, counts up to the largest value, and interrupts; there is a bit that is a tile's."""
    rng = np.random.default_rng(65)
    bench = OpcBench(dut)
    await bench.start()
    assert await bench.read(Register.OPTIONS) >> OPTIONS_WORD["checksum_bits"].offset == P.checksum_bits
    assert not await bench.write(Register.INTERRUPTS, 1 << 4)
    assert not await bench.write(Register.INTERRUPTS, 1 << 6)
    assert await bench.write(Register.STATUS, 1 << Status.REFUSED)
    assert await bench.write(Register.INTERRUPTS, CHECKSUM)
    assert await bench.read(Register.INTERRUPTS) == CHECKSUM
    opc_map = checked_map(rng, P.checksum_bits)
    await bench.program(opc_map, 1)
    codes = random_codes(rng, P, 60, 1)
    codes = codes[np.flatnonzero(bench.reference(opc_map).residues(codes))[:2]]
    for begun, counted in ((0, 2), (0xFFFFFFFE, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0xFFFF, 0x10001)):
        assert await bench.write(Register.MISMATCHES, begun)
        assert await bench.read(Register.MISMATCHES) == begun
        assert not dut.irq.value
        bench.outputs.clear()
        cocotb.start_soon(bench.send(beat_payloads(P, codes), always()))
        await bench.receive(2 * opc_map.outputs, always())
        await bench.idle()
        assert dut.irq.value
        assert await bench.read(Register.MISMATCHES) == counted
        assert await bench.read(Register.STATUS) == CHECKSUM
        assert await bench.write(Register.STATUS, CHECKSUM)
    await bench.reset()
    assert await bench.read(Register.MISMATCHES) == 0
    assert await bench.read(Register.INTERRUPTS) == 0


@cocotb.test()
@cocotb.parametrize(place=["first", "behind a skip", "behind a value", "last"])
async def checksum_lines_come_first(dut: HierarchyObject, place: str) -> None:
    """Anywhere else the map is said to be out of order; outputs are right all the same, and the OPC comes to rest.

    A skip is passed, whatever its bit line is.
    """
    rng = np.random.default_rng(66)
    bench = OpcBench(dut)
    await bench.start()
    check = entry_word(line=0, operation=SKIP, flip=True)
    go = entry_word(line=1, operation=operation(vote=False, end=False, advance=1), flip=False)
    end = entry_word(line=2, operation=operation(vote=False, end=True, advance=0), flip=False)
    skip = entry_word(line=3, operation=SKIP, flip=False)
    entries = {
        "first": [check, go, end],
        "behind a skip": [skip, check, skip, go, skip, end],
        "behind a value": [go, check, end],
        "last": [go, end, check],
    }[place]
    assert await bench.write(Register.STEPS, len(entries))
    for step, word in enumerate(entries):
        assert await bench.write(map_address(P, step), word)
        assert await bench.read(map_address(P, step)) == word
    for _ in range(MAP_REFILL):
        await RisingEdge(dut.clk)
    codes = random_codes(rng, P, 20, 1)
    sums = arithmetic.column_sums(arithmetic.differences(codes[:, 0, ..., 0], codes[:, 0, ..., 1], np.bool_(False)))
    cocotb.start_soon(bench.send(beat_payloads(P, codes), always()))
    await bench.receive(len(codes), always())
    await bench.idle()
    assert bench.outputs == [(0, value) for value in (2 * sums[:, 1] + sums[:, 2]).tolist()]
    illegal = await bench.read(Register.STATUS) & 1 << Status.ILLEGAL_MAP
    assert bool(illegal) == (place in ("behind a value", "last"))
    if not illegal:
        odd = np.count_nonzero((sums[:, 1] + sums[:, 2] - sums[:, 0]) % 2)
        assert 0 < odd < len(codes)
        assert await bench.read(Register.MISMATCHES) == odd
    opc_map = checked_map(rng, P.checksum_bits)
    assert await bench.write(Register.STATUS, CHECKSUM | 1 << Status.ILLEGAL_MAP)
    await bench.program(opc_map, 1)
    await bench.check(opc_map, random_codes(rng, P, 4, 1))
