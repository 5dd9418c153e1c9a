"""Constrained-random runs of the OPC until every listed situation has been met, each checked against the reference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cocotb
import numpy as np
from cocotb.handle import HierarchyObject
from cocotb.triggers import RisingEdge
from numpy.typing import NDArray

from crossvote.rtl.parameters import MOST_ADVANCE, MOST_TAIL
from crossvote.rtl.registers import Register
from crossvote.sim.peripheral.base import OpcMap
from crossvote.sim.peripheral.numpy_backend import NumpyPeripheral
from crossvote.sim.peripheral.programming import beat_payloads
from tb.bench import PARAMETERS, OpcBench
from tb.coverage import Coverage
from tb.stimulus import agreeing_codes, always, coded_map, extreme_codes, random_codes, random_map, sometimes

P = PARAMETERS
COPIES = ("only", "first", "second", "third")
LEVELS = ("zero", "between", "full")
RUNS = 60


def crosses() -> dict[str, tuple[tuple[str | int | bool, ...], ...]]:
    """The situations that must be met."""
    flags = (False, True)
    return {
        "flip, plane, copy": (flags, tuple(range(P.planes)), COPIES),
        "codes, flip, top bit": (LEVELS, LEVELS, flags, flags),
        "vote": (("unanimous", "one differs", "all differ"), flags),
        "shape": (("side by side", "scattered"), ("full", "gaps")),
        "value, advance": (("sum", "median"), tuple(range(min(MOST_ADVANCE, P.planes - 1) + 1))),
        "value, tail": (("sum", "median"), tuple(range(min(MOST_TAIL, P.planes - 1) + 1))),
        "copies": (("side by side", "scattered"), ("replicas", "single copies")),
        "row blocks, vectors": (("one", "more"), ("one", "back to back")),
        "stalls": (("input waits", "input gap", "output waits"), ("accumulating", "reading out")),
        "reconfigured": (("map", "row blocks"),),
    }


def observe_map(coverage: Coverage, opc_map: OpcMap, scattered: bool) -> None:
    """Count what a map contains."""
    single, triple = opc_map.places
    for lines, names in ((single, COPIES[:1]), (triple, COPIES[1:])):
        for place in lines.tolist():
            for line, name in zip(place, names, strict=True):
                coverage.hit("flip, plane, copy", bool(opc_map.flipped[line]), int(opc_map.plane[line]), name)
    voted = set(triple.ravel().tolist())
    for line, advance, end in zip(opc_map.read_order.tolist(), opc_map.advances.tolist(), opc_map.ends, strict=True):
        if line not in voted or opc_map.replica[line] == 2:
            kind = "median" if line in voted else "sum"
            coverage.hit("value, tail" if end else "value, advance", kind, advance)
    order = "scattered" if scattered else "side by side"
    coverage.hit("shape", order, "full" if len(opc_map.read_order) == P.columns else "gaps")
    coverage.hit("copies", order, "replicas" if len(triple) else "single copies")


def observe_codes(coverage: Coverage, opc_map: OpcMap, codes: NDArray[np.uint16]) -> None:
    """Count code corners on used bit lines, and the kinds of votes."""
    level = np.where(codes == 0, 0, np.where(codes == (1 << P.adc_bits) - 1, 2, 1))
    used = opc_map.read_order
    top = np.arange(P.input_bits) == P.input_bits - 1
    for is_top in (False, True):
        for flip in (False, True):
            lines = used[opc_map.flipped[used] == flip]
            chosen = level[:, :, top == is_top][..., lines, :].reshape(-1, 2)
            for positive, negative in np.unique(chosen, axis=0):
                coverage.hit("codes, flip, top bit", LEVELS[positive], LEVELS[negative], flip, is_top)
    reference = NumpyPeripheral(P)
    reference.load_map(opc_map)
    sums = reference.column_sums(codes)
    for place in opc_map.places[1]:
        for replicas in sums[:, place]:
            kinds = len(set(replicas.tolist()))
            name = {1: "unanimous", 2: "one differs", 3: "all differ"}[kinds]
            coverage.hit("vote", name, bool(opc_map.flipped[place[0]]))


async def observe_stalls(coverage: Coverage, dut: HierarchyObject) -> None:
    """Count waits at both ends while a vector comes in and while outputs go out."""
    quiet = P.columns + 8
    since_input = since_output = quiet
    while True:
        await RisingEdge(dut.clk)
        offered, accepted = bool(dut.i__valid.value), bool(dut.i__ready.value)
        valid, ready = bool(dut.o__valid.value), bool(dut.o__ready.value)
        since_input = 0 if offered else since_input + 1
        since_output = 0 if valid else since_output + 1
        states = [name for name, on in (("accumulating", since_input < 4), ("reading out", since_output < 4)) if on]
        for state in states:
            if offered and not accepted:
                coverage.hit("stalls", "input waits", state)
            if not offered and accepted:
                coverage.hit("stalls", "input gap", state)
            if valid and not ready:
                coverage.hit("stalls", "output waits", state)


def draw_stalls(rng: np.random.Generator) -> Iterator[bool]:
    """No stalls, rare ones or frequent ones."""
    probability = float(rng.choice([1.0, 0.9, 0.3, 0.05]))
    return always() if probability == 1.0 else sometimes(int(rng.integers(2**31)), probability)


@cocotb.test()
async def constrained_random(dut: HierarchyObject) -> None:
    """Each run draws map, row blocks, codes and stalls; sometimes it keeps the map of the run before."""
    rng = np.random.default_rng(40)
    coverage = Coverage(crosses())
    bench = OpcBench(dut)
    await bench.start()
    cocotb.start_soon(observe_stalls(coverage, dut))
    opc_map, blocks = None, 1
    for run in range(RUNS):
        if opc_map is None or rng.random() < 0.7:
            scattered = bool(rng.random() < 0.7)
            replicated = float(rng.choice([0.0, 0.4, 1.0]))
            fill = bool(rng.random() < 0.3)
            coded = bool(rng.random() < 0.4)
            plain = random_map(rng, P, replicated=replicated, flipped=rng.random(), scattered=scattered, fill=fill)
            drawn = coded_map(rng, P) if coded else plain
            new_blocks = int(rng.integers(1, min(P.row_blocks, 3) + 1))
            if run:
                coverage.hit("reconfigured", "map")
                if new_blocks != blocks:
                    coverage.hit("reconfigured", "row blocks")
            opc_map, blocks = drawn, new_blocks
            await bench.program(opc_map, blocks)
            observe_map(coverage, opc_map, scattered or coded)
        vectors = int(rng.integers(1, 4))
        draw = rng.random()
        if draw < 0.2:
            codes = extreme_codes(P, opc_map, blocks)[:vectors]
        elif draw < 0.6:
            codes = random_codes(rng, P, vectors, blocks)
        else:
            codes = agreeing_codes(rng, P, opc_map, vectors, blocks, wrong=0.4)
        observe_codes(coverage, opc_map, codes)
        coverage.hit(
            "row blocks, vectors", "one" if blocks == 1 else "more", "one" if len(codes) == 1 else "back to back"
        )
        expected = bench.reference(opc_map).process(codes)
        assert await bench.write(Register.DISAGREEMENTS, 0)
        bench.outputs.clear()
        sender = cocotb.start_soon(bench.send(beat_payloads(P, codes), draw_stalls(rng)))
        await bench.receive(expected.outputs.size, draw_stalls(rng))
        assert sender.done()
        assert [value for _, value in bench.outputs] == expected.outputs.ravel().tolist(), f"run {run}"
        assert await bench.read(Register.DISAGREEMENTS) == expected.disagreements, f"run {run}"
        await bench.idle()
        assert await bench.read(Register.STATUS) == 0, f"run {run}"
    coverage.save(Path("coverage.json"))
    dut._log.info("coverage: %s", coverage)
    assert not coverage.missing(), coverage.missing()
