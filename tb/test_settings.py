"""Settings bit by bit, marks that wait, weights of illegal maps, a clock that stops where the OPC says that it may."""

from __future__ import annotations

from itertools import product

import cocotb
import numpy as np
from cocotb.handle import HierarchyObject, Immediate
from cocotb.triggers import Timer

from crossvote.rtl.column_map import OPERATION_BITS, operation
from crossvote.rtl.parameters import MOST_ADVANCE, MOST_TAIL, SHIFT_BITS, TAG_BITS
from crossvote.rtl.registers import (
    ENTRY_WORD,
    SCALE_WORD,
    Register,
    Status,
    capability_words,
    entry_word,
    map_address,
    registers_of,
    scale_address,
    status_bits,
)
from crossvote.sim.array import arithmetic
from crossvote.sim.peripheral.programming import beat_payloads
from tb.bench import PARAMETERS as P
from tb.bench import OpcBench
from tb.stimulus import always, random_codes, random_map, random_scales, sometimes

#: Mark of a vector's last beat.
LAST = 2 << 2 * P.adc_bits * P.lanes
CLOCK_NS = 10


def numbers() -> dict[int, range]:
    """The numbers that a setting takes, by address, where a word is one number."""
    anything = range(1 << 32)
    taken = {
        Register.ROW_BLOCKS: range(1, P.row_blocks + 1),
        Register.STEPS: range(1, P.columns + 1),
        Register.DISAGREEMENTS: anything,
        Register.MISMATCHES: anything,
        Register.LOG_LINE: range(P.columns),
        Register.LOG_COUNT: range(1 << P.log_bits),
    }
    return {int(address): allowed for address, allowed in taken.items() if address in registers_of(P)}


def fields() -> dict[int, tuple[int, dict[int, int]]]:
    """(largest word, most in the field that begins at each bit) of other settings: of tables, the ends."""
    found: dict[int, dict[int, int]] = {int(Register.INTERRUPTS): dict.fromkeys(status_bits(P), 1)}
    if P.column_map:
        entry = {"line": P.columns - 1, "operation": (1 << OPERATION_BITS) - 1, "flip": 1}
        most = {ENTRY_WORD[name].offset: value for name, value in entry.items()}
        found |= {map_address(P, step): most for step in (0, P.columns - 1)}
    if P.scale_bits:
        scale = {"multiplier": (1 << P.scale_bits) - 1, "shift": (1 << SHIFT_BITS) - 1}
        most = {SCALE_WORD[name].offset: value for name, value in scale.items()}
        found |= {scale_address(P, output): most for output in (0, P.outputs - 1)}
    return {address: (sum(m << at for at, m in most.items()), most) for address, most in found.items()}


def takes(address: int, word: int) -> bool:
    """Whether a setting takes a word, as docs/opc.md says."""
    if address in numbers():
        return word in numbers()[address]
    _, most = fields()[address]
    ends = [*sorted(most)[1:], 32]
    return all(word >> at & (1 << end - at) - 1 <= most.get(at, 0) for at, end in zip(sorted(most), ends, strict=True))


@cocotb.test()
async def every_bit_of_a_setting(dut: HierarchyObject) -> None:
    """Each bit of a small word and of the largest one is turned: that is taken and reads back, or is refused."""
    bench = OpcBench(dut)
    await bench.start()
    largest = {address: allowed[-1] for address, allowed in numbers().items()}
    largest |= {address: word for address, (word, _) in fields().items()}
    assert set(largest) >= set(registers_of(P)) - {Register.STATUS} - set(capability_words(P))
    for address, most in largest.items():
        for start, bit in product((most, 2 if takes(address, 2) else 1), range(32)):
            assert await bench.write(address, start)
            word = start ^ 1 << bit
            taken = await bench.write(address, word)
            assert taken == takes(address, word), f"{word:#x} at {address:#x}"
            assert await bench.read(address) == (word if taken else start), f"{word:#x} at {address:#x}"
            assert await bench.read(Register.STATUS) == (not taken) << Status.REFUSED
            assert await bench.write(Register.STATUS, 1 << Status.REFUSED)


@cocotb.test()
async def every_number_reads_back(dut: HierarchyObject) -> None:
    """Of row blocks, map entries and bit lines; one more is refused."""
    bench = OpcBench(dut)
    await bench.start()
    for address, allowed in numbers().items():
        if len(allowed) <= P.columns:
            for number in allowed:
                assert await bench.write(address, number)
                assert await bench.read(address) == number
            assert not await bench.write(address, allowed[-1] + 1)


@cocotb.test()
async def marks_wait_with_their_outputs(dut: HierarchyObject) -> None:
    """All tags, every third vector with a wrong mark, and a consumer that hardly takes anything."""
    rng = np.random.default_rng(51)
    bench = OpcBench(dut)
    await bench.start()
    opc_map = random_map(rng, P, outputs=2)
    await bench.program(opc_map, 1)
    codes = random_codes(rng, P, (1 << TAG_BITS) + 3, 1)
    expected = bench.reference(opc_map).process(codes).outputs.ravel().tolist()
    beats = list(beat_payloads(P, codes))
    wrong = range(0, len(codes), 3)
    for vector in wrong:
        beats[(vector + 1) * P.beats(1) - 1] ^= LAST
    sender = cocotb.start_soon(bench.send(beats, always()))
    await bench.receive(len(expected), sometimes(9, 0.2))
    assert sender.done()
    assert [value for _, value in bench.outputs] == expected
    marks = bench.whole_marks(opc_map, len(codes))
    assert bench.marks == [(last, tag, int(number // 2 in wrong)) for number, (last, tag, _) in enumerate(marks)]


@cocotb.test()
async def the_largest_weights_of_an_illegal_map(dut: HierarchyObject) -> None:
    """Outputs are what the entries happen to make: no legal map of a few planes advances by so much."""
    rng = np.random.default_rng(53)
    bench = OpcBench(dut)
    await bench.start()
    plain = random_map(rng, P, outputs=1, flipped=0.0, replicated=0.0)
    await bench.program(plain, 1)
    adds = operation(vote=False, end=False, advance=MOST_ADVANCE)
    ends = [operation(vote=False, end=True, advance=tail) for tail in (0, MOST_TAIL)]
    for step, code in enumerate((adds, *ends)):
        assert await bench.write(map_address(P, step), entry_word(line=step, operation=code, flip=False))
    assert await bench.write(Register.STEPS, 3)
    codes = random_codes(rng, P, 3, 1)
    first, second, third = bench.reference(plain).column_sums(codes)[:, :3].T
    expected = np.stack([(first << MOST_ADVANCE) + second, third << MOST_TAIL], axis=1)
    assert np.abs(expected).max() < 1 << (P.sum_bits - 1)
    if bench.scales is not None:
        await bench.load_scales(random_scales(rng, P, 2))
        expected = arithmetic.scale(expected, bench.scales.multiplier, P.scale_bits + bench.scales.shift)
    sender = cocotb.start_soon(bench.send(beat_payloads(P, codes), always()))
    await bench.receive(expected.size, always())
    assert sender.done()
    assert [value for _, value in bench.outputs] == expected.ravel().tolist()
    heavy = 1 << max(MOST_ADVANCE, MOST_TAIL) >= 1 << P.planes
    await bench.idle()
    assert await bench.read(Register.STATUS) == heavy << Status.ILLEGAL_MAP


class StoppedClock:
    """A clock that, once it ``may_stop``, runs only where the OPC is not still or somebody wants something of it."""

    def __init__(self, dut: HierarchyObject) -> None:
        self.dut, self.may_stop, self.stood = dut, False, 0

    def _wanted(self) -> bool:
        dut = self.dut
        return any(bool(pin.value) for pin in (dut.rst, dut.i__valid, dut.bus__read, dut.bus__write))

    async def run(self) -> None:
        """Until the test ends. What was asked for is answered a clock later."""
        answers = False
        while True:
            self.dut.clk.value = Immediate(0)
            await Timer(CLOCK_NS // 2, unit="ns")
            wanted = self._wanted()
            if self.may_stop and self.dut.still.value and not wanted and not answers:
                self.stood += 1
            else:
                self.dut.clk.value = Immediate(1)
            answers = wanted
            await Timer(CLOCK_NS // 2, unit="ns")


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def the_clock_may_stop_while_still(dut: HierarchyObject) -> None:
    """Between beats, behind the last output and between accesses; what comes out is what comes without a stop."""
    rng = np.random.default_rng(52)
    bench, clock = OpcBench(dut), StoppedClock(dut)
    for name in bench.INPUTS:
        getattr(dut, name).value = 0
    cocotb.start_soon(clock.run())
    await bench.reset()
    cocotb.start_soon(bench._watch())
    for blocks in {1, P.row_blocks}:
        clock.may_stop = False
        opc_map = random_map(rng, P)
        await bench.program(opc_map, blocks)
        codes = random_codes(rng, P, 2, blocks)
        expected = bench.reference(opc_map).process(codes)
        assert await bench.write(Register.DISAGREEMENTS, 0)
        bench.outputs.clear()
        clock.may_stop, dut.o__ready.value = True, 1
        for beat in beat_payloads(P, codes):
            await bench.send([beat], always())
            stood = clock.stood
            await Timer(4 * P.columns * CLOCK_NS, unit="ns")
            assert clock.stood > stood, "the OPC is never still"
        assert [value for _, value in bench.outputs] == expected.outputs.ravel().tolist()
        assert await bench.read(Register.STATUS) == bool(expected.mismatches) << Status.CHECKSUM
        assert await bench.read(Register.DISAGREEMENTS) == expected.disagreements
        # An output that waits is something that will change.
        dut.o__ready.value = 0
        bench.outputs.clear()
        await bench.send(beat_payloads(P, codes[:1]), always())
        await Timer(8 * P.columns * CLOCK_NS, unit="ns")
        assert dut.o__valid.value
        assert not dut.still.value
        await bench.receive(opc_map.outputs, always())
        await bench.idle()
