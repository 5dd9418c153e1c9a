"""The log of the OPC: which bit lines are not the median of their votes, and how often."""

from __future__ import annotations

import cocotb
import numpy as np
from cocotb.handle import HierarchyObject
from cocotb.triggers import RisingEdge

from crossvote.rtl.registers import Register, Status
from crossvote.sim.peripheral.programming import beat_payloads
from tb.bench import PARAMETERS, OpcBench
from tb.stimulus import agreeing_codes, always, random_codes, random_map, sometimes

P = PARAMETERS
LARGEST = (1 << P.log_bits) - 1


async def clear(bench: OpcBench) -> None:
    """Every count 0, as after power-up of a memory that has no reset."""
    for line in range(P.columns):
        assert await bench.write(Register.LOG_LINE, line)
        assert await bench.write(Register.LOG_COUNT, 0)


async def counts(bench: OpcBench) -> list[int]:
    """The count of every bit line."""
    found = []
    for line in range(P.columns):
        assert await bench.write(Register.LOG_LINE, line)
        assert await bench.read(Register.LOG_LINE) == line
        found.append(await bench.read(Register.LOG_COUNT))
    return found


@cocotb.test()
@cocotb.parametrize(stalls=[False, True], seed=[40, 41, 42])
async def counts_are_those_of_numpy(dut: HierarchyObject, stalls: bool, seed: int) -> None:
    """Votes in which one or two bit lines are not the median, or none is; counts stay at the largest."""
    rng = np.random.default_rng(seed)
    bench = OpcBench(dut)
    await bench.start()
    opc_map = random_map(rng, P, replicated=1.0)
    await bench.program(opc_map, 1)
    await clear(bench)
    expected = np.zeros(P.columns, np.int64)
    take = (lambda: sometimes(5, 0.4)) if stalls else always
    for run in range(6):
        codes = agreeing_codes(rng, P, opc_map, 2, 1, 0.2) if run % 2 else random_codes(rng, P, 2, 1)
        await bench.check(opc_map, codes, take=take)
        expected += bench.reference(opc_map).line_disagreements(codes)
        assert await counts(bench) == np.minimum(expected, LARGEST).tolist()
    assert expected.max() > LARGEST, "no count came to its end"
    assert expected.min() < LARGEST, "every count came to its end"


@cocotb.test()
async def reads_under_way_lose_nothing(dut: HierarchyObject) -> None:
    """The registers look at counts, once in three clocks, while votes are counted."""
    rng = np.random.default_rng(43)
    bench = OpcBench(dut)
    await bench.start()
    opc_map = random_map(rng, P, replicated=1.0)
    await bench.program(opc_map, 1)
    await clear(bench)
    assert await bench.write(Register.LOG_LINE, int(opc_map.read_order[0]))
    looks, done = 0, False

    async def look() -> None:
        nonlocal looks
        while not done:
            dut.bus__address.value, dut.bus__read.value = Register.LOG_COUNT, 1
            await RisingEdge(dut.clk)
            dut.bus__read.value = 0
            await RisingEdge(dut.clk)
            await RisingEdge(dut.clk)
            looks += 1

    codes = random_codes(rng, P, 3, 1)
    expected = bench.reference(opc_map).process(codes)
    bench.outputs.clear()
    looking = cocotb.start_soon(look())
    cocotb.start_soon(bench.send(beat_payloads(P, codes), always()))
    await bench.receive(expected.outputs.size, always())
    done = True
    await looking
    await bench.idle()
    assert looks > 10
    assert await counts(bench) == np.minimum(bench.reference(opc_map).line_disagreements(codes), LARGEST).tolist()


@cocotb.test()
async def refused_writes_of_the_log(dut: HierarchyObject) -> None:
    """A bit line that is not there, a count that is too large, any count while a vector is in flight."""
    rng = np.random.default_rng(44)
    bench = OpcBench(dut)
    await bench.start()
    opc_map = random_map(rng, P)
    await bench.program(opc_map, 1)
    assert await bench.write(Register.LOG_LINE, P.columns - 1)
    assert await bench.write(Register.LOG_COUNT, LARGEST)
    assert not await bench.write(Register.LOG_LINE, P.columns)
    assert not await bench.write(Register.LOG_COUNT, LARGEST + 1)
    assert await bench.read(Register.STATUS) == 1 << Status.REFUSED
    assert await bench.write(Register.STATUS, 1 << Status.REFUSED)
    first = next(iter(beat_payloads(P, random_codes(rng, P, 1, 1))))
    dut.i__valid.value, dut.i__payload.value = 1, first
    await RisingEdge(dut.clk)
    dut.i__valid.value = 0
    assert not await bench.write(Register.LOG_COUNT, 0)
    assert await bench.read(Register.LOG_LINE) == P.columns - 1
    assert await bench.read(Register.LOG_COUNT) == LARGEST
    await bench.reset()
    assert await bench.read(Register.LOG_LINE) == 0
    assert await bench.write(Register.LOG_LINE, P.columns - 1)
    assert await bench.read(Register.LOG_COUNT) == LARGEST, "a reset changes no count"
