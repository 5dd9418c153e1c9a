"""Difference, shift-add, voter and scaler in Amaranth's simulator, exhaustively at small widths."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from fractions import Fraction

from amaranth.lib import wiring
from amaranth.sim import Simulator, SimulatorContext

from crossvote.rtl.difference import Difference
from crossvote.rtl.parameters import SHIFT_BITS, OpcParameters
from crossvote.rtl.scale import Scaler
from crossvote.rtl.shift_add import ShiftAdd
from crossvote.rtl.voter import MedianVoter


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
    codes = itertools.product(range(16), repeat=2)
    cases = (({"positive": p, "negative": n}, {"difference": p - n}) for p, n in codes)
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


def test_scaler_is_exact_for_all_sums_multipliers_and_shifts() -> None:
    p = OpcParameters(columns=2, lanes=2, planes=2, input_bits=2, adc_bits=1, row_blocks=1, scale_bits=3)
    sums = range(-p.output_magnitude, p.output_magnitude + 1)
    cases = list(itertools.product(sums, range(1 << p.scale_bits), range(1 << SHIFT_BITS)))
    dut, got, delay = Scaler(p), [], 3

    async def testbench(ctx: SimulatorContext) -> None:
        ctx.set(dut.enable, 1)
        for number, (total, multiplier, shift) in enumerate([*cases, *[(0, 0, 0)] * delay]):
            ctx.set(dut.sum, total)
            ctx.set(dut.multiplier, multiplier)
            ctx.set(dut.shift, shift)
            if number >= delay:
                got.append(ctx.get(dut.scaled))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(testbench)
    simulator.run()
    for (total, multiplier, shift), scaled in zip(cases, got, strict=True):
        magnitude = int(Fraction(abs(total) * multiplier, 1 << (p.scale_bits + shift)) + Fraction(1, 2))
        assert scaled == (magnitude if total >= 0 else -magnitude), (total, multiplier, shift)
