"""The whole OPC against the NumPy reference: streams, stalls, maps, row blocks, registers, reset."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cocotb
import numpy as np
from cocotb.handle import HierarchyObject

from crossvote.rtl.column_map import HOLD, OPERATION_BITS, SKIP, operation, operations
from crossvote.rtl.parameters import MOST_TAIL, TAG_BITS
from crossvote.rtl.registers import (
    Register,
    Status,
    capability_words,
    entry_word,
    map_address,
    registers_of,
    status_bits,
)
from crossvote.sim.array import arithmetic
from crossvote.sim.peripheral.programming import beat_payloads, map_writes
from tb.bench import PARAMETERS, PATIENCE, OpcBench
from tb.stimulus import (
    agreeing_codes,
    always,
    coded_map,
    extreme_codes,
    random_codes,
    random_map,
    random_scales,
    sometimes,
)

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
@cocotb.parametrize(seed=[12, 13, 14, 15])
async def summed_and_missing_copies(dut: HierarchyObject, seed: int) -> None:
    """Terms of any weights: several of one, none of another, votes among them."""
    rng = np.random.default_rng(seed)
    bench = OpcBench(dut)
    await bench.start()
    opc_map = coded_map(rng, P)
    await bench.program(opc_map, 1)
    await bench.check(opc_map, extreme_codes(P, opc_map, 1))
    codes = agreeing_codes(rng, P, opc_map, 3, 1, 0.4)
    await bench.check(opc_map, codes, lambda: sometimes(6, 0.8), lambda: sometimes(7, 0.8))


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
async def row_blocks_written_with_the_first_beat(dut: HierarchyObject) -> None:
    """Whether or not the write is taken, the vector has the row blocks that were set before it began."""
    rng = np.random.default_rng(29)
    bench = OpcBench(dut)
    await bench.start()
    opc_map = random_map(rng, P)
    await bench.program(opc_map, 1)
    codes = random_codes(rng, P, 1, 1)
    expected = bench.reference(opc_map).process(codes).outputs.ravel().tolist()
    first, *rest = beat_payloads(P, codes)
    bench.outputs.clear()
    dut.i__valid.value, dut.i__payload.value = 1, first
    assert dut.i__ready.value
    taken = await bench.write(Register.ROW_BLOCKS, 2)
    dut.i__valid.value = 0
    await bench.send(rest, always())
    await bench.receive(len(expected), always())
    assert [value for _, value in bench.outputs] == expected
    await bench.idle()
    assert await bench.read(Register.STATUS) == 0
    blocks = await bench.read(Register.ROW_BLOCKS)
    assert blocks == (2 if taken else 1)
    await bench.check(opc_map, random_codes(rng, P, 1, blocks))


@cocotb.test()
async def a_lost_beat_shows_at_the_outputs(dut: HierarchyObject) -> None:
    """Wherever a beat is lost or comes twice: vectors that come out without an error mark are right, by their tag."""
    rng = np.random.default_rng(34)
    bench = OpcBench(dut)
    await bench.start()
    opc_map = random_map(rng, P)
    await bench.program(opc_map, 1)
    beats = P.beats(1)
    codes = random_codes(rng, P, 5, 1)
    expected = bench.reference(opc_map).process(codes).outputs
    whole = list(beat_payloads(P, codes))
    for at in (0, beats // 2, beats - 1):
        for damaged in (
            whole[: 2 * beats + at] + whole[2 * beats + at + 1 :],
            whole[: 2 * beats + at + 1] + whole[2 * beats + at :],
        ):
            bench.outputs.clear()
            bench.marks.clear()
            dut.o__ready.value = 1
            await bench.send(damaged, always())
            await bench.idle()
            dut.o__ready.value = 0
            right: dict[int, dict[int, int]] = {}
            for (number, value), (_, tag, error) in zip(bench.outputs, bench.marks, strict=True):
                if not error:
                    right.setdefault(tag, {})[number] = value
            assert {0, 1, 4} <= set(right), "a vector away from the fault is marked"
            for tag, values in right.items():
                assert list(values.values()) == expected[tag].tolist()
            assert await bench.read(Register.STATUS) == 1 << Status.MISFRAMED
            assert await bench.write(Register.STATUS, 1 << Status.MISFRAMED)


@cocotb.test()
async def tags_go_round(dut: HierarchyObject) -> None:
    """More vectors than there are tags; every output carries its vector's."""
    rng = np.random.default_rng(35)
    bench = OpcBench(dut)
    await bench.start()
    opc_map = random_map(rng, P, outputs=1)
    await bench.program(opc_map, 1)
    if P.beats(1) < PATIENCE // 50:
        await bench.check(opc_map, random_codes(rng, P, (1 << TAG_BITS) + 3, 1))


@cocotb.test()
async def disagreements_stay_at_the_most(dut: HierarchyObject) -> None:
    """Every bit of the counter is read and written; it does not run over."""
    rng = np.random.default_rng(36)
    bench = OpcBench(dut)
    await bench.start()
    for bit in range(32):
        assert await bench.write(Register.DISAGREEMENTS, 1 << bit)
        assert await bench.read(Register.DISAGREEMENTS) == 1 << bit
    opc_map = random_map(rng, P, outputs=1, replicated=1.0)
    await bench.program(opc_map, 1)
    codes = random_codes(rng, P, 3, 1)
    votes = (await bench.check(opc_map, codes)).disagreements
    most = (1 << 32) - 1
    assert votes >= 2
    for start in (most - 1, most - votes, (1 << 31) - 1, 0x5555_5555):
        assert await bench.write(Register.DISAGREEMENTS, start)
        bench.outputs.clear()
        dut.o__ready.value = 1
        await bench.send(beat_payloads(P, codes), always())
        await bench.idle()
        dut.o__ready.value = 0
        assert await bench.read(Register.DISAGREEMENTS) == min(start + votes, most)


@cocotb.test()
async def identity_and_interrupt(dut: HierarchyObject) -> None:
    """The hardware says what it is, takes no value for that, and reports the status bits that it was told to."""
    rng = np.random.default_rng(37)
    bench = OpcBench(dut)
    await bench.start()
    for address, word in capability_words(P).items():
        assert await bench.read(address) == word
        assert not await bench.write(address, word)
    absent = (register for register in Register if register not in registers_of(P))
    for nothing in (*absent, Register.LOG_COUNT + 1, max(Register) + 1, map_address(P, 0) * 3):
        assert await bench.look(nothing) is None
    assert await bench.read(Register.STATUS) == 1 << Status.REFUSED
    assert not dut.irq.value
    assert await bench.write(Register.INTERRUPTS, 1 << Status.MISFRAMED)
    assert await bench.read(Register.INTERRUPTS) == 1 << Status.MISFRAMED
    assert not dut.irq.value
    assert await bench.write(Register.INTERRUPTS, 1 << Status.REFUSED)
    assert await bench.read(Register.INTERRUPTS) == 1 << Status.REFUSED
    assert dut.irq.value
    assert await bench.write(Register.STATUS, 1 << Status.REFUSED)
    assert await bench.read(Register.STATUS) == 0
    assert not dut.irq.value
    assert await bench.write(Register.INTERRUPTS, 1 << Status.BUSY)
    assert await bench.read(Register.STATUS) == 0
    assert dut.irq.value
    opc_map = random_map(rng, P)
    await bench.program(opc_map, 1)
    await bench.send(list(beat_payloads(P, random_codes(rng, P, 1, 1)))[:1], always())
    assert await bench.read(Register.STATUS) == 1 << Status.BUSY
    assert not dut.irq.value
    assert not await bench.write(Register.INTERRUPTS, 1 << max(status_bits(P)) + 1)
    assert await bench.read(Register.STATUS) == 1 << Status.BUSY | 1 << Status.REFUSED


@cocotb.test()
async def the_map_is_read_while_it_is_used(dut: HierarchyObject) -> None:
    """Reads share the map's memory with read-out: vectors stay right, and so do the words."""
    rng = np.random.default_rng(38)
    bench = OpcBench(dut)
    await bench.start()
    opc_map = random_map(rng, P, outputs=P.outputs)
    await bench.program(opc_map, 1)
    writes = map_writes(P, opc_map)
    codes = random_codes(rng, P, 4, 1)
    expected = bench.reference(opc_map).process(codes).outputs.ravel().tolist()
    bench.outputs.clear()
    sender = cocotb.start_soon(bench.send(beat_payloads(P, codes), always()))
    taker = cocotb.start_soon(bench.receive(len(expected), sometimes(8, 0.7), 4 * PATIENCE))
    reads = 0
    while not taker.done():
        address, word = writes[int(rng.integers(len(writes)))]
        assert await bench.read(address) == word
        reads += 1
    assert sender.done()
    assert reads > P.outputs
    assert [value for _, value in bench.outputs] == expected


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
    unmarked[-1] &= ~(2 << 2 * P.adc_bits * P.lanes)
    bench.outputs.clear()
    await bench.send(unmarked, always())
    await bench.receive(len(expected), always())
    assert [value for _, value in bench.outputs] == expected
    await bench.idle()
    assert await bench.read(Register.STATUS) == 1 << Status.MISFRAMED


async def program_entries(bench: OpcBench, entries: list[int]) -> None:
    """A map of operations on the bit lines in order, legal or not."""
    for step, code in enumerate(entries):
        word = entry_word(line=step, operation=code, flip=False)
        assert await bench.write(map_address(P, step), word)
    assert await bench.write(Register.STEPS, len(entries))


@cocotb.test()
async def illegal_maps(dut: HierarchyObject) -> None:
    """A map out of order sets the status bit, the OPC comes to rest, and a legal map works right afterwards."""
    bench = OpcBench(dut)
    await bench.start()
    add = operation(vote=False, end=False, advance=1)
    vote, end = operation(vote=True, end=False, advance=1), operation(vote=False, end=True, advance=0)
    vote_end, plain = operation(vote=True, end=True, advance=0), operation(vote=False, end=False, advance=0)
    above = [add] * (P.planes - 1)
    broken = {
        "no end": [*above, plain],
        "nothing but skips": [SKIP],
        "ends with a skip": [*above, end, SKIP],
        "ends with a waiting replica": [*above, end, HOLD],
        "a vote without replicas": [*above, vote_end],
        "a vote on two": [*above, HOLD, vote_end],
        "four replicas": [*above, HOLD, HOLD, HOLD, vote_end],
        "a value between replicas": [*above, HOLD, plain, HOLD, vote_end],
        "a value behind two replicas": [*above, HOLD, HOLD, end],
        "too much weight": [*above, plain, end],
        "too far up": [add] * P.planes + [end],
        "too large a tail": [*above, operation(vote=False, end=True, advance=MOST_TAIL)],
        "too much weight by a vote": [add] * (P.planes - 1) + [HOLD, HOLD, vote, end],
        "too many outputs": [end] * (P.outputs + 1),
    }
    rng = np.random.default_rng(27)
    for name, entries in broken.items():
        if len(entries) > P.columns:
            continue
        await program_entries(bench, entries)
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
async def skips_are_passed_over(dut: HierarchyObject) -> None:
    """Entries that read nothing change nothing, wherever they stand in front of the end."""
    rng = np.random.default_rng(39)
    bench = OpcBench(dut)
    await bench.start()
    plain = random_map(rng, P, outputs=1, flipped=0.0, replicated=0.0, scattered=False)
    await bench.program(plain, 1)
    add, end = operation(vote=False, end=False, advance=1), operation(vote=False, end=True, advance=0)
    await program_entries(bench, [*[add] * (P.planes - 1), SKIP, end])
    codes = random_codes(rng, P, 2, 1)
    moved = codes.copy()
    moved[..., P.planes, :] = codes[..., P.planes - 1, :]
    expected = bench.reference(plain).process(codes).outputs.ravel().tolist()
    bench.outputs.clear()
    dut.o__ready.value = 1
    await bench.send(beat_payloads(P, moved), always())
    await bench.idle()
    assert [value for _, value in bench.outputs] == expected
    assert await bench.read(Register.STATUS) == 0


@cocotb.test()
async def votes_of_an_illegal_map(dut: HierarchyObject) -> None:
    """A vote is over the last three entries read, whatever they were; it counts once, however long it stalls.

    An output waits right when the vote is two entries behind it, which no legal map can make.
    """
    rng = np.random.default_rng(28)
    bench = OpcBench(dut)
    await bench.start()
    plain = random_map(rng, P, outputs=1, flipped=0.0, replicated=0.0)
    await bench.program(plain, 1)
    end, vote_end = operation(vote=False, end=True, advance=0), operation(vote=True, end=True, advance=0)
    entries = [end, HOLD, vote_end]
    await program_entries(bench, entries)
    codes = random_codes(rng, P, 4, 1)
    codes[1] = codes[1, :, :, :1]
    sums = bench.reference(plain).column_sums(codes)[:, : len(entries)]
    medians, split = arithmetic.vote(sums)
    assert 0 < split.sum() < len(codes)
    expected = np.stack([sums[:, 0], medians], axis=1)
    if bench.scales is not None:
        await bench.load_scales(random_scales(rng, P, 2))
        expected = arithmetic.scale(expected, bench.scales.multiplier, P.scale_bits + bench.scales.shift)
    assert await bench.write(Register.DISAGREEMENTS, 0)
    cocotb.start_soon(bench.send(beat_payloads(P, codes), always()))
    bench.outputs.clear()
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
    good = {"line": 0, "operation": HOLD, "flip": False}
    bad = [
        (map_address(P, 0), entry_word(**{**good, "line": P.columns})),
        (map_address(P, 0), entry_word(**good) | 1 << 31),
        (Register.ROW_BLOCKS, 0),
        (Register.ROW_BLOCKS, P.row_blocks + 1),
        (Register.STEPS, 0),
        (Register.STEPS, P.columns + 1),
        (Register.ID, 1),
        (len(Register), 1),
        (map_address(P, 0) * 3, 1),
    ]
    codes_of_operations = {SKIP, HOLD, *(code for code, *_ in operations())}
    assert codes_of_operations == set(range(1 << OPERATION_BITS)), "there are operations to refuse"
    before = [await bench.look(address) for address, _ in bad]
    for address, word in bad:
        assert not await bench.write(address, word)
        assert await bench.read(Register.STATUS) == 1 << Status.REFUSED
        assert await bench.write(Register.STATUS, 1 << Status.REFUSED)
        assert await bench.read(Register.STATUS) == 0
    for strobe in range(15):
        assert not await bench.write(Register.ROW_BLOCKS, 2, strobe)
        assert await bench.read(Register.STATUS) == 1 << Status.REFUSED
        assert await bench.write(Register.STATUS, 1 << Status.REFUSED)
    assert await bench.read(Register.ROW_BLOCKS) == 1
    assert [await bench.look(address) for address, _ in bad] == before

    codes = random_codes(rng, P, 1, 1)
    beats = list(beat_payloads(P, codes))
    await bench.send(beats[:1], always())
    assert not await bench.write(Register.ROW_BLOCKS, 1)
    assert not await bench.write(map_address(P, 0), 0)
    assert not await bench.write(Register.STEPS, 1)
    assert await bench.write(Register.STATUS, 1 << Status.REFUSED)
    expected = bench.reference(opc_map).process(codes).outputs.ravel().tolist()
    bench.outputs.clear()
    await bench.send(beats[1:], always())
    await bench.receive(len(expected), always())
    assert [value for _, value in bench.outputs] == expected
    await bench.idle()
    assert await bench.read(Register.STATUS) == 0
