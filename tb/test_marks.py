"""Marks and tags beat by beat: which of a vector's beats they are taken from, and which wrong ones its outputs tell."""

from __future__ import annotations

import cocotb
import numpy as np
from cocotb.handle import HierarchyObject
from numpy.typing import NDArray

from crossvote.rtl.parameters import TAG_BITS
from crossvote.rtl.registers import Register, Status
from crossvote.sim.peripheral.base import OpcMap
from crossvote.sim.peripheral.programming import beat_payloads
from tb.bench import PARAMETERS as P
from tb.bench import OpcBench
from tb.stimulus import always, random_codes, random_map

#: Bits of a beat's marks.
FIRST, LAST, TAG = (1 << 2 * P.adc_bits * P.lanes + place for place in (0, 1, 2))


async def three_vectors(
    dut: HierarchyObject, rng: np.random.Generator
) -> tuple[OpcBench, OpcMap, NDArray[np.uint16], list[int]]:
    """A programmed bench, its map, the codes of three vectors, and all values that must come out."""
    bench = OpcBench(dut)
    await bench.start()
    opc_map = random_map(rng, P)
    await bench.program(opc_map, P.row_blocks)
    codes = random_codes(rng, P, 3, P.row_blocks)
    return bench, opc_map, codes, bench.reference(opc_map).process(codes).outputs.ravel().tolist()


@cocotb.test()
async def the_first_beat_names_its_vector(dut: HierarchyObject) -> None:
    """Later beats may carry any tag."""
    rng = np.random.default_rng(41)
    bench, opc_map, codes, expected = await three_vectors(dut, rng)
    beats = [
        beat if beat & FIRST else beat ^ TAG * int(rng.integers(1, 1 << TAG_BITS)) for beat in beat_payloads(P, codes)
    ]
    dut.o__ready.value = 1
    await bench.send(beats, always())
    await bench.idle()
    assert [value for _, value in bench.outputs] == expected
    assert bench.marks == bench.whole_marks(opc_map, len(codes))


@cocotb.test()
async def one_wrong_mark_marks_its_vector(dut: HierarchyObject) -> None:
    """Wherever it is, and no other vector: all beats are there, so values and tags are right."""
    rng = np.random.default_rng(42)
    bench, opc_map, codes, expected = await three_vectors(dut, rng)
    beats = P.beats(P.row_blocks)
    for at, mark in ((0, FIRST), (0, LAST), (1, LAST), (beats // 2, LAST), (beats - 2, LAST), (beats - 1, LAST)):
        sent = list(beat_payloads(P, codes))
        sent[beats + at] ^= mark
        bench.outputs.clear()
        bench.marks.clear()
        dut.o__ready.value = 1
        await bench.send(sent, always())
        await bench.idle()
        assert [value for _, value in bench.outputs] == expected
        assert bench.marks == [(last, tag, int(tag == 1)) for last, tag, _ in bench.whole_marks(opc_map, len(codes))]
        assert await bench.read(Register.STATUS) == 1 << Status.MISFRAMED
        assert await bench.write(Register.STATUS, 1 << Status.MISFRAMED)
