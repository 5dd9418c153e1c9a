"""Constrained-random runs of a tile that tests its crossbars, until every listed situation has been met."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import cocotb
import numpy as np
from cocotb.handle import HierarchyObject
from cocotb.triggers import RisingEdge
from numpy.typing import NDArray

from crossvote.rtl.march_elements import SelfTest
from crossvote.rtl.registers import Register, Status
from crossvote.rtl.tile_parameters import OFFSET_BITS, VALUE_BITS
from crossvote.rtl.tile_registers import TileStatus
from crossvote.sim.peripheral.march import CellBank, Verdicts, self_test
from crossvote.sim.peripheral.scales import OpcScales
from crossvote.sim.peripheral.tile import activation_payloads, calibrated, requantised, tile_sums
from tb.array_model import ArrayModel
from tb.coverage import Coverage
from tb.march_case import PARAMETERS, bank
from tb.stimulus import always, random_map, sometimes
from tb.tile_bench import TileBench, expected_outputs

P = PARAMETERS
MOST = 1 << (VALUE_BITS - 1)
KINDS = ("right", "SA0", "SA1", "no set", "no reset", "disturbed")
FRAMES = ("whole", "a beat lost", "a beat twice")
#: Runs at least, and at most if situations are still missing.
RUNS, MOST_RUNS = 24, 80


def crosses() -> dict[str, tuple[tuple[str | int | bool, ...], ...]]:
    """The situations that must be met."""
    tests = tuple(test.name for test in SelfTest)
    return {
        "tile: value, offset": (("limited below", "within", "limited above"), ("negative", "positive")),
        "tile: row blocks, vectors": (("one", "more"), ("one", "back to back")),
        "tile: stalls": (("input waits", "input gap", "output waits"),),
        "tile: frame, row blocks": (FRAMES, ("one", "more")),
        "tile: votes": (("agree", "differ"),),
        "march: cell": (tests, KINDS, tuple(range(P.opc.row_blocks))),
        "march: place": (tests, tuple(range(P.opcs)), ("positive", "negative"), ("first", "between", "last")),
    }


async def observe_stalls(coverage: Coverage, dut: HierarchyObject) -> None:
    """Count waits at both ends."""
    while True:
        await RisingEdge(dut.clk)
        offered, accepted = bool(dut.i__valid.value), bool(dut.i__ready.value)
        if offered != accepted:
            coverage.hit("tile: stalls", "input waits" if offered else "input gap")
        if dut.o__valid.value and not dut.o__ready.value:
            coverage.hit("tile: stalls", "output waits")


def observe_test(coverage: Coverage, test: SelfTest, block: int, cells: CellBank, found: Verdicts) -> None:
    """Count the kinds of cells that were tested, and where wrong ones were found."""
    kinds = (cells.stuck == 0, cells.stuck == 1, cells.no_set, cells.no_reset, cells.disturbed)
    for kind, here in zip(KINDS, (~np.any(kinds, axis=0), *kinds), strict=True):
        if here.any():
            coverage.hit("march: cell", test.name, kind, block)
    for crossbar, line, _ in np.argwhere(found.read_one | found.read_zero).tolist():
        opc, sign = divmod(crossbar, 2)
        where = {0: "first", P.rows - 1: "last"}.get(line, "between")
        coverage.hit("march: place", test.name, opc, ("positive", "negative")[sign], where)


def draw_stalls(rng: np.random.Generator) -> Iterator[bool]:
    """No stalls, rare ones or frequent ones."""
    probability = float(rng.choice([1.0, 0.9, 0.2]))
    return always() if probability == 1.0 else sometimes(int(rng.integers(2**31)), probability)


def damaged(rng: np.random.Generator, beats: list[int], per: int, vector: int, frame: str) -> list[int]:
    """Beats of which one of ``vector``, but its last, is lost or comes twice."""
    at = vector * per + int(rng.integers(per - 1))
    return beats[: at + (frame == "a beat twice")] + beats[at + (frame == "a beat lost") :]


async def rest(bench: TileBench) -> None:
    """Wait until the tile is no longer busy."""
    for _ in range(1000):
        if not await bench.read(Register.STATUS) & 1 << Status.BUSY:
            return
    raise AssertionError("the tile stays busy")


async def run_vectors(
    bench: TileBench, coverage: Coverage, rng: np.random.Generator, seen: NDArray[np.uint8], blocks: int
) -> None:
    """Program the tile, send some vectors, of which one may be damaged, and compare all that comes out."""
    opc_map = random_map(rng, P.opc, replicated=float(rng.choice([0.0, 0.4, 1.0])))
    vectors = int(rng.integers(1, 4))
    half = 1 << (P.opc.input_bits - 1)
    x = rng.integers(-half, half, (vectors, P.opcs * blocks * P.rows))
    if rng.random() < 0.3:
        x[rng.integers(vectors)] = rng.choice([-half, half - 1])
    cells = seen[:, :blocks]
    sums, disagreements = tile_sums(P, opc_map, cells, x)
    scales, offsets = calibrated(P, sums)
    if rng.random() < 0.5:  # any scales and offsets that the tables hold
        scales = OpcScales(
            rng.integers(0, 1 << P.scale_bits, opc_map.outputs), rng.choice([0, 0, 1, 3], opc_map.outputs)
        )
        reach = int(rng.choice([8, MOST, 1 << (OFFSET_BITS - 1)]))
        offsets = rng.integers(-reach, reach, opc_map.outputs)
    await bench.program(opc_map, blocks, scales, offsets)
    assert await bench.write(Register.DISAGREEMENTS, 0)

    frame = str(rng.choice(FRAMES)) if vectors == 3 else "whole"
    beats, hurt = list(activation_payloads(P, x)), int(rng.integers(2))
    kept = list(range(vectors))
    if frame != "whole":
        beats = damaged(rng, beats, P.input_beats(blocks), hurt, frame)
        kept.remove(hurt)
        disagreements = tile_sums(P, opc_map, cells, x[kept])[1]
    values = requantised(P, sums, scales, offsets)
    expected = [output for output in expected_outputs(values) if output[3] in kept]
    offer, take = draw_stalls(rng), draw_stalls(rng)
    outputs, _ = await bench.stream(x[kept], opc_map.outputs, offer, take, iter(beats))
    assert outputs == expected
    await rest(bench)
    assert await bench.read(Register.DISAGREEMENTS) == disagreements
    said = (frame != "whole") << Status.MISFRAMED
    assert await bench.read(Register.STATUS) == said
    assert await bench.write(Register.STATUS, said)

    many = "one" if blocks == 1 else "more"
    coverage.hit("tile: row blocks, vectors", many, "one" if vectors == 1 else "back to back")
    coverage.hit("tile: frame, row blocks", frame, many)
    coverage.hit("tile: votes", "differ" if disagreements else "agree")
    for vector in values.tolist():
        for value, offset in zip(vector, offsets.tolist(), strict=True):
            name = {-MOST: "limited below", MOST - 1: "limited above"}.get(value, "within")
            coverage.hit("tile: value, offset", name, "negative" if offset < 0 else "positive")


@cocotb.test()
async def constrained_random(dut: HierarchyObject) -> None:
    """Each run draws map, row blocks, scales, vectors, stalls and frames, or faults of cells and a self-test."""
    rng = np.random.default_rng(50)
    coverage = Coverage(crosses())
    cells = bank(soft=True)
    cells.disturbed[:] = False  # what a vector reads shall not depend on the reads before it
    bench = TileBench(dut, P)
    await bench.start()
    cocotb.start_soon(ArrayModel(dut, P, cells).run())
    cocotb.start_soon(observe_stalls(coverage, dut))
    blocks = P.opc.row_blocks
    for run in range(MOST_RUNS):
        if run >= RUNS and not coverage.missing():
            break
        if rng.random() < 0.75:
            seen = np.where(cells.stuck < 0, cells.levels, cells.stuck).astype(np.uint8)
            shaped = seen.reshape(P.opcs, blocks, 2, P.rows, P.opc.columns)
            await run_vectors(bench, coverage, rng, shaped, int(rng.integers(1, blocks + 1)))
            continue
        test, block = SelfTest(int(rng.integers(len(SelfTest)))), int(rng.integers(blocks))
        names = ("levels", "stuck", "no_set", "no_reset", "disturbed")
        chosen = [2 * (opc * blocks + block) + sign for opc in range(P.opcs) for sign in (0, 1)]
        cells.disturbed[:] = (rng.random(cells.levels.shape) < 0.01) & (cells.stuck < 0)
        own = CellBank(*(deepcopy(getattr(cells, name)[chosen]) for name in names))
        before = deepcopy(own)
        found = await bench.self_test(test, block)
        expected = self_test(test, own, P.opc.adc_bits)
        assert np.array_equal(found.read_one, expected.read_one)
        assert np.array_equal(found.read_zero, expected.read_zero)
        assert (found.reads, found.writes) == (expected.reads, expected.writes)
        assert await bench.read(Register.STATUS) == 1 << TileStatus.SELF_TEST
        assert await bench.write(Register.STATUS, 1 << TileStatus.SELF_TEST)
        observe_test(coverage, test, block, before, found)
        cells.disturbed[:] = False
        cells.levels[:] = rng.integers(0, 2, cells.levels.shape)
    coverage.save(Path("tile_coverage.json"))
    dut._log.info("coverage: %s", coverage)
    assert not coverage.missing(), coverage.missing()
