"""The tile finds its faulty cells: self-tests over the bus, against injected fault maps."""

from __future__ import annotations

from copy import deepcopy

import cocotb
import numpy as np
from cocotb.handle import HierarchyObject
from cocotb.triggers import RisingEdge

from crossvote.rtl.march_elements import SelfTest
from crossvote.rtl.registers import Register, Status
from crossvote.rtl.tile_registers import TileRegister, TileStatus, self_test_word, verdict_address_word
from crossvote.sim.peripheral.march import CellBank, Verdicts, self_test
from crossvote.sim.peripheral.tile import calibrated, requantised, tile_sums
from tb.array_model import WRITE_CLOCKS, ArrayModel
from tb.march_case import PARAMETERS, bank
from tb.stimulus import always, random_map
from tb.tile_bench import TileBench, expected_outputs


def of_block(cells: CellBank, block: int) -> CellBank:
    """Copies of the crossbars of a row block of all OPCs, as they are tested together."""
    p = PARAMETERS
    chosen = [2 * (opc * p.opc.row_blocks + block) + sign for opc in range(p.opcs) for sign in (0, 1)]
    return CellBank(*(getattr(cells, n)[chosen] for n in ("levels", "stuck", "no_set", "no_reset", "disturbed")))


async def begin(dut: HierarchyObject, cells: CellBank) -> TileBench:
    """A tile in front of these cells."""
    bench = TileBench(dut, PARAMETERS)
    await bench.start()
    cocotb.start_soon(ArrayModel(dut, PARAMETERS, cells).run())
    return bench


def same(found: Verdicts, expected: Verdicts) -> bool:
    return (
        np.array_equal(found.read_one, expected.read_one)
        and np.array_equal(found.read_zero, expected.read_zero)
        and (found.reads, found.writes) == (expected.reads, expected.writes)
    )


@cocotb.test()
@cocotb.parametrize(test=list(SelfTest), soft=[False, True])
async def verdicts_are_those_of_numpy(dut: HierarchyObject, test: SelfTest, soft: bool) -> None:
    """Every stuck cell is found, with its value, and no other one unless it has a soft fault."""
    p, cells = PARAMETERS, bank(soft)
    bench = await begin(dut, cells)
    for block in (1, 0):
        own = of_block(deepcopy(cells), block)
        found = await bench.self_test(test, block)
        assert same(found, self_test(test, own, p.opc.adc_bits))
        assert found.read_one[own.stuck == 1].all()
        assert found.read_zero[own.stuck == 0].all()
        wrong = found.read_one | found.read_zero
        alarms = int((wrong & (own.stuck < 0)).sum())
        assert alarms == int((wrong & (own.no_set | own.no_reset | own.disturbed)).sum())
        assert (alarms > 0) == soft
        dut._log.info("%s, row block %d: %d wrong cells, %d reads", test.name, block, int(wrong.sum()), found.reads)


@cocotb.test()
async def no_alarm_without_faults(dut: HierarchyObject) -> None:
    """Perfect cells: no verdict, and a search reads its first segments only; older verdicts are gone."""
    p, cells = PARAMETERS, bank()
    bench = await begin(dut, cells)
    await bench.self_test(SelfTest.MARCH, 0)
    cells.stuck[:] = -1
    found = await bench.self_test(SelfTest.SENSING, 0)
    assert not (found.read_one | found.read_zero).any()
    assert (found.reads, found.writes) == (2 * (p.rows // 8), 2 * p.rows)


@cocotb.test()
async def vectors_wait_for_the_end_of_a_test(dut: HierarchyObject) -> None:
    """They come while it runs, and meet cells as it leaves them. Disagreements are counted in all OPCs, to the end."""
    p, cells = PARAMETERS, bank()
    bench = await begin(dut, cells)
    rng = np.random.default_rng(8)
    opc_map, blocks = random_map(rng, p.opc, replicated=0.8), p.opc.row_blocks
    x = rng.integers(-4, 4, (3, p.opcs * blocks * p.rows))
    left = deepcopy(cells)
    for number in (0, 1, 2 * blocks, 2 * blocks + 1):  # of the first row block of either OPC
        left.levels[number] = 1
    seen = np.where(left.stuck < 0, left.levels, left.stuck).astype(np.uint8)
    sums, disagreements = tile_sums(p, opc_map, seen.reshape(p.opcs, blocks, 2, p.rows, p.opc.columns), x)
    scales, offsets = calibrated(p, sums)
    offsets = 100 * np.resize([-2, 1, 2], len(offsets))
    await bench.program(opc_map, blocks, scales, offsets)
    expected = expected_outputs(requantised(p, sums, scales, offsets))
    for counted in (3, 0xFFFFFFFE):
        assert await bench.write(Register.DISAGREEMENTS, counted)
        assert await bench.read(Register.DISAGREEMENTS) == counted
        assert await bench.write(TileRegister.SELF_TEST, self_test_word(SelfTest.SENSING, 0))
        outputs, at = await bench.stream(x, opc_map.outputs, always(), always())
        assert outputs == expected
        assert at[0] > 2 * p.rows * WRITE_CLOCKS
        total = counted + disagreements
        assert await bench.read(Register.DISAGREEMENTS) == min(total, 0xFFFFFFFF)
    assert disagreements > 10
    assert {-128, 127} < {value for _, value, *_ in expected}


@cocotb.test()
async def registers_of_the_self_test(dut: HierarchyObject) -> None:
    """What it does not take is refused, and while it runs settings are, and verdicts are not shown."""
    p = PARAMETERS
    bench = await begin(dut, bank())
    assert await bench.write(Register.INTERRUPTS, 1 << TileStatus.SELF_TEST)
    wrong = [
        (TileRegister.SELF_TEST, 2),
        (TileRegister.SELF_TEST, self_test_word(SelfTest.MARCH, p.opc.row_blocks)),
        (TileRegister.SELF_TEST, 1 << 16),
        (TileRegister.SELF_TEST_READS, 0),
        (TileRegister.VERDICT, 0),
        (TileRegister.VERDICT_ADDRESS, verdict_address_word(p, p.opcs, 0, 0)),
        (TileRegister.VERDICT_ADDRESS, verdict_address_word(p, 0, p.rows, 0)),
        (TileRegister.VERDICT_ADDRESS, verdict_address_word(p, 0, 0, p.opc.groups)),
    ]
    for register, word in wrong:
        assert not await bench.write(register, word), f"{word:#x} at {register}"
        assert await bench.read(Register.STATUS) >> Status.REFUSED & 1
        assert await bench.write(Register.STATUS, 1 << Status.REFUSED)
    address = verdict_address_word(p, 1, 23, 1, 1)
    assert await bench.write(TileRegister.VERDICT_ADDRESS, address)
    assert await bench.read(TileRegister.VERDICT_ADDRESS) == address
    started = self_test_word(SelfTest.SENSING, 1)
    assert await bench.write(TileRegister.SELF_TEST, started)
    for _ in range(5):
        await RisingEdge(dut.clk)
    assert await bench.read(TileRegister.SELF_TEST) == started | 1 << 31
    assert await bench.read(Register.STATUS) == 1 << Status.BUSY
    assert not await bench.write(TileRegister.SELF_TEST, started)
    assert not await bench.write(Register.ROW_BLOCKS, 1)
    dut.bus__address.value, dut.bus__read.value = TileRegister.VERDICT, 1
    await RisingEdge(dut.clk)
    dut.bus__read.value = 0
    await RisingEdge(dut.clk)
    assert (int(dut.bus__read_error.value), int(dut.bus__read_data.value)) == (1, 0)
    # Its end is an event, which interrupts until it is cleared.
    assert not dut.irq.value
    await RisingEdge(dut.irq)
    await RisingEdge(dut.clk)
    assert not await bench.read(TileRegister.SELF_TEST) >> 31
    told = 1 << TileStatus.SELF_TEST | 1 << Status.REFUSED
    assert await bench.read(Register.STATUS) == told
    assert await bench.read(Register.INTERRUPTS) == 1 << TileStatus.SELF_TEST
    assert await bench.write(Register.STATUS, told)
    assert not await bench.read(Register.STATUS)
    assert not dut.irq.value
