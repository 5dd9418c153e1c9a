"""The whole OPC against the NumPy reference: streams, stalls, maps, row blocks, registers, reset."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cocotb
import numpy as np
from cocotb.handle import HierarchyObject

from crossvote.rtl.column_map import ONLY, SECOND, THIRD
from crossvote.rtl.registers import Register, Status, entry_word, map_address
from crossvote.sim.array import arithmetic
from crossvote.sim.peripheral.programming import beat_payloads, map_writes
from tb.bench import PARAMETERS, OpcBench, always, sometimes
from tb.stimulus import agreeing_codes, extreme_codes, random_codes, random_map

P = PARAMETERS


STALLS: dict[str, tuple[Callable[[], Iterator[bool]], Callable[[], Iterator[bool]]]] = {
    "none": (always, always),
    "input": (lambda: sometimes(1, 0.6), always),
    "output": (always, lambda: sometimes(2, 0.1)),
    "both": (lambda: sometimes(3, 0.7), lambda: sometimes(4, 0.3)),
}


@cocotb.test()
@cocotb.parametrize(stalls=list(STALLS), seed=[10, 11])
async def random_vectors(dut: HierarchyObject, stalls: str, seed: int) -> None:
    """Random maps with scattered replicas, random and extreme codes, every stall pattern."""
    rng = np.random.default_rng(seed)
    bench = OpcBench(dut)
    await bench.start()
    opc_map = random_map(rng, P)
    blocks = min(P.row_blocks, 1 + seed % 2)
    await bench.program(opc_map, blocks)
    offer, take = STALLS[stalls]
    await bench.check(opc_map, random_codes(rng, P, 3, blocks), offer, take)
    await bench.check(opc_map, agreeing_codes(rng, P, opc_map, 2, blocks, 0.3), offer, take)


@cocotb.test()
async def extremes(dut: HierarchyObject) -> None:
    """The largest and the smallest output, with all row blocks (or as many as simulate quickly)."""
    rng = np.random.default_rng(20)
    bench = OpcBench(dut)
    await bench.start()
    blocks = min(P.row_blocks, 4)
    for flipped in (0.0, 1.0):
        opc_map = random_map(rng, P, flipped=flipped)
        await bench.program(opc_map, blocks)
        await bench.check(opc_map, extreme_codes(P, opc_map, blocks))


@cocotb.test()
async def unprotected_layout(dut: HierarchyObject) -> None:
    """Outputs side by side without replicas or flips, as many as fit."""
    rng = np.random.default_rng(21)
    bench = OpcBench(dut)
    await bench.start()
    opc_map = random_map(rng, P, outputs=P.outputs, replicated=0.0, flipped=0.0, scattered=False)
    await bench.program(opc_map, 1)
    await bench.check(opc_map, random_codes(rng, P, 2, 1))


@cocotb.test()
async def one_beat_per_clock(dut: HierarchyObject) -> None:
    """The run takes exactly the clock cycles of the formula; vectors of at least `columns` beats are never held up."""
    rng = np.random.default_rng(22)
    bench = OpcBench(dut)
    await bench.start()
    opc_map = random_map(rng, P)
    await bench.program(opc_map, 1)
    vectors = 4
    codes = random_codes(rng, P, vectors, 1)
    bench.outputs.clear()
    cocotb.start_soon(bench.send(beat_payloads(P, codes), always()))
    await bench.receive(vectors * opc_map.outputs, always())
    assert bench.delivered_at[-1] - bench.accepted_at[0] + 1 == P.cycles(vectors, 1, len(opc_map.read_order))


@cocotb.test()
async def reconfiguration(dut: HierarchyObject) -> None:
    """Map and row blocks change between runs; the map reads back as written."""
    rng = np.random.default_rng(23)
    bench = OpcBench(dut)
    await bench.start()
    for blocks in dict.fromkeys((1, P.row_blocks if P.row_blocks < 4 else 2, 1)):
        opc_map = random_map(rng, P)
        await bench.program(opc_map, blocks)
        for address, word in map_writes(P, opc_map):
            assert await bench.read(address) == word
        assert await bench.read(Register.ROW_BLOCKS) == blocks
        await bench.check(opc_map, random_codes(rng, P, 2, blocks))


@cocotb.test()
async def reset_in_mid_vector(dut: HierarchyObject) -> None:
    """After a reset in mid-vector and in mid-read-out the next vector is complete and right; the map survives."""
    rng = np.random.default_rng(24)
    bench = OpcBench(dut)
    await bench.start()
    opc_map = random_map(rng, P)
    await bench.program(opc_map, 1)
    beats = list(beat_payloads(P, random_codes(rng, P, 2, 1)))
    for stop in (P.beats(1) // 2, P.beats(1) + P.beats(1) // 3):
        await bench.send(beats[:stop], always())
        assert await bench.read(Register.STATUS) == 1 << Status.BUSY
        await bench.reset()
        assert await bench.read(Register.STATUS) == 0
        await bench.check(opc_map, random_codes(rng, P, 1, 1))


@cocotb.test()
async def wrong_marks(dut: HierarchyObject) -> None:
    """A beat marked `first` always begins a vector; wrong marks set the status bit until it is cleared."""
    rng = np.random.default_rng(25)
    bench = OpcBench(dut)
    await bench.start()
    opc_map = random_map(rng, P)
    await bench.program(opc_map, 1)
    await bench.send(list(beat_payloads(P, random_codes(rng, P, 1, 1)))[: P.beats(1) // 2], always())
    codes = random_codes(rng, P, 1, 1)
    expected = bench.reference(opc_map).process(codes).outputs.ravel().tolist()
    await bench.send(beat_payloads(P, codes), always())
    await bench.receive(len(expected), always())
    assert [value for _, value in bench.outputs] == expected
    await bench.idle()
    assert await bench.read(Register.STATUS) == 1 << Status.MISFRAMED
    assert await bench.write(Register.STATUS, 1 << Status.MISFRAMED)
    assert await bench.read(Register.STATUS) == 0
    await bench.check(opc_map, codes)
    unmarked = list(beat_payloads(P, codes))
    unmarked[-1] &= (1 << 2 * P.adc_bits * P.lanes) - 1
    bench.outputs.clear()
    await bench.send(unmarked, always())
    await bench.receive(len(expected), always())
    assert [value for _, value in bench.outputs] == expected
    await bench.idle()
    assert await bench.read(Register.STATUS) == 1 << Status.MISFRAMED


@cocotb.test()
async def illegal_maps(dut: HierarchyObject) -> None:
    """A map out of order sets the status bit, the OPC comes to rest, and a legal map works right afterwards."""
    bench = OpcBench(dut)
    await bench.start()
    top = P.planes - 1
    whole = [(0, plane, 0) for plane in reversed(range(P.planes))]  # (output, plane, replica field)
    triple = [(0, 0, 1), (0, 0, 2), (0, 0, 3)]
    above = whole[:-1]
    broken = {
        "no plane 0": above,
        "a plane twice": [*above, above[-1], (0, 0, 0)],
        "an output twice": [*whole, *whole],
        "replicas before the first": [*above, *triple[1:], *triple[:1]],
        "two replicas": [*above, *triple[:2]],
        "four replicas": [*above, *triple[:2], *triple[1:]],
        "a copy beside replicas": [*above, (0, 0, 0), *triple],
        "replicas of two planes": [*above[:-1], (0, 1, 1), (0, 0, 2), (0, 0, 3)],
    }
    if P.outputs > 1:
        broken["outputs fall"] = [(1, plane, 0) for _, plane, _ in whole] + whole
        broken["another output's plane"] = [*above, (1, 0, 0)]
        broken["another output's replica"] = [*above, *triple[:2], (1, 0, 3)]
    if top > 1:
        broken["a plane missing"] = [whole[0], *whole[2:]]
    rng = np.random.default_rng(27)
    for name, entries in broken.items():
        entries = entries[: P.columns]
        words = [
            entry_word(line=line, output=o, plane=b, replica=r, flip=False) for line, (o, b, r) in enumerate(entries)
        ]
        for step in range(P.columns):
            assert await bench.write(map_address(P, step), words[step] if step < len(words) else 0)
        dut.o__ready.value = 1
        await bench.send(beat_payloads(P, random_codes(rng, P, 1, 1)), always())
        await bench.idle()
        assert await bench.read(Register.STATUS) == 1 << Status.ILLEGAL_MAP, name
        assert await bench.write(Register.STATUS, 1 << Status.ILLEGAL_MAP)
        dut.o__ready.value = 0
        opc_map = random_map(rng, P)
        await bench.program(opc_map, 1)
        await bench.check(opc_map, random_codes(rng, P, 1, 1))


@cocotb.test()
async def votes_of_an_illegal_map(dut: HierarchyObject) -> None:
    """A third copy votes over the last three entries, whatever they were; the vote counts once, however long it stalls.

    An output waits right when the vote is two entries behind it, which no legal map can make.
    """
    rng = np.random.default_rng(28)
    bench = OpcBench(dut)
    await bench.start()
    plain = random_map(rng, P, outputs=2, flipped=0.0)
    await bench.program(plain, 1)
    entries = [(0, 0, ONLY), (1, 0, SECOND), (1, 0, THIRD)]
    for step in range(P.columns):
        word = 0
        if step < len(entries):
            output, plane, replica = entries[step]
            word = entry_word(line=step, output=output, plane=plane, replica=replica, flip=False)
        assert await bench.write(map_address(P, step), word)
    codes = random_codes(rng, P, 4, 1)
    codes[1] = codes[1, :, :, :1]
    sums = bench.reference(plain).column_sums(codes)[:, : len(entries)]
    medians, split = arithmetic.vote(sums)
    assert 0 < split.sum() < len(codes)
    expected = np.stack([sums[:, 0], medians], axis=1)
    if bench.scales is not None:
        expected = arithmetic.scale(expected, bench.scales.multiplier, P.scale_bits + bench.scales.shift)
    assert await bench.write(Register.DISAGREEMENTS, 0)
    cocotb.start_soon(bench.send(beat_payloads(P, codes), always()))
    await bench.receive(expected.size, sometimes(5, 0.1))
    assert bench.outputs == [(number, value) for vector in expected.tolist() for number, value in enumerate(vector)]
    await bench.idle()
    assert await bench.read(Register.DISAGREEMENTS) == split.sum()
    assert await bench.read(Register.STATUS) == 1 << Status.ILLEGAL_MAP


@cocotb.test()
async def refused_writes(dut: HierarchyObject) -> None:
    """Values out of range, unknown addresses and writes while busy are refused and change nothing but a status bit."""
    rng = np.random.default_rng(26)
    bench = OpcBench(dut)
    await bench.start()
    opc_map = random_map(rng, P)
    await bench.program(opc_map, 1)
    good = {"line": 0, "output": 0, "plane": 0, "replica": 0, "flip": False}
    bad = [
        (map_address(P, 0), entry_word(**{**good, "line": P.columns})),
        (map_address(P, 0), entry_word(**{**good, "output": P.outputs})),
        (map_address(P, 0), entry_word(**{**good, "plane": P.planes})),
        (Register.ROW_BLOCKS, 0),
        (Register.ROW_BLOCKS, P.row_blocks + 1),
        (len(Register), 1),
        (map_address(P, 0) * 3, 1),
    ]
    before = [await bench.read(address) for address, _ in bad]
    for address, word in bad:
        assert not await bench.write(address, word)
        assert await bench.read(Register.STATUS) == 1 << Status.REFUSED
        assert await bench.write(Register.STATUS, 1 << Status.REFUSED)
        assert await bench.read(Register.STATUS) == 0
    assert [await bench.read(address) for address, _ in bad] == before

    codes = random_codes(rng, P, 1, 1)
    beats = list(beat_payloads(P, codes))
    await bench.send(beats[:1], always())
    assert not await bench.write(Register.ROW_BLOCKS, 1)
    assert not await bench.write(map_address(P, 0), 0)
    assert await bench.write(Register.STATUS, 1 << Status.REFUSED)
    expected = bench.reference(opc_map).process(codes).outputs.ravel().tolist()
    bench.outputs.clear()
    await bench.send(beats[1:], always())
    await bench.receive(len(expected), always())
    assert [value for _, value in bench.outputs] == expected
    await bench.idle()
    assert await bench.read(Register.STATUS) == 0
