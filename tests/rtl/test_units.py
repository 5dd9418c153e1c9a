"""Difference, shift-add and voter in Amaranth's simulator, exhaustively at small widths."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

from amaranth.lib import wiring
from amaranth.sim import Simulator, SimulatorContext

from rtl.difference import Difference
from rtl.shift_add import ShiftAdd
from rtl.voter import MedianVoter


def check_truth_table(dut: wiring.Component, cases: Iterable[tuple[Mapping[str, int], Mapping[str, int]]]) -> None:
    """Apply the inputs of every case to a combinational block and compare its outputs."""

    async def testbench(ctx: SimulatorContext) -> None:
        for inputs, outputs in cases:
            for name, value in inputs.items():
                ctx.set(getattr(dut, name), value)
            await ctx.delay(1e-9)
            assert {name: ctx.get(getattr(dut, name)) for name in outputs} == outputs, inputs

    simulator = Simulator(dut)
    simulator.add_testbench(testbench)
    simulator.run()


def test_difference_is_exact_for_all_codes() -> None:
    cases = (
        ({"positive": p, "negative": n, "flip": flip}, {"difference": n - p if flip else p - n})
        for p, n, flip in itertools.product(range(16), range(16), range(2))
    )
    check_truth_table(Difference(4), cases)


def check_registered(
    dut: wiring.Component, enable: str, cases: Iterable[tuple[Mapping[str, int], Mapping[str, int]]]
) -> None:
    """Let a clocked block take the inputs of every case and compare its outputs one clock later, and two."""

    async def testbench(ctx: SimulatorContext) -> None:
        for inputs, outputs in cases:
            for name, value in inputs.items():
                ctx.set(getattr(dut, name), value)
            ctx.set(getattr(dut, enable), 1)
            await ctx.tick()
            ctx.set(getattr(dut, enable), 0)
            for name, value in inputs.items():
                ctx.set(getattr(dut, name), ~value)
            for _ in range(2):
                assert {name: ctx.get(getattr(dut, name)) for name in outputs} == outputs, inputs
                await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(testbench)
    simulator.run()


def test_shift_add_is_exact_within_its_range() -> None:
    cases = []
    for previous, d, clear, shift, subtract in itertools.product(range(-16, 16), range(-4, 4), *[range(2)] * 3):
        total = previous * (0 if clear else 1 + shift) + (-d if subtract else d)
        if -32 <= total < 32:
            inputs = {"previous": previous, "difference": d, "clear": clear, "shift": shift, "subtract": subtract}
            cases.append((inputs, {"next": total}))
    assert len(cases) > 1500
    check_registered(ShiftAdd(6, 3), "enable", cases)


def test_median_and_unanimity_are_exact_for_all_values() -> None:
    cases = []
    for a, b, c in itertools.product(range(-4, 4), repeat=3):
        cases += [({"value": a}, {"newest": a}), ({"value": b}, {"newest": b})]
        cases.append(({"value": c}, {"newest": c, "median": sorted((a, b, c))[1], "unanimous": int(a == b == c)}))
    check_registered(MedianVoter(3), "take", cases)
