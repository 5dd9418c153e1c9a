"""The scale stage: its arithmetic, fixed-point scales from floats, and all backends bit for bit."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opc_hardware import HARDWARE, needs_compiler, output_payload, stalls

from crossvote.rtl.parameters import SHIFT_BITS, OpcParameters
from crossvote.rtl.registers import scale_address
from crossvote.sim.array import arithmetic
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral import NumpyPeripheral, OpcScales, create_peripheral
from crossvote.sim.peripheral.programming import beat_payloads
from crossvote.sim.peripheral.verilator_backend import VerilatorPeripheral
from tb.stimulus import extreme_codes, random_codes, random_map, random_scales

#: Sums of 19 bits (two slices for the multiplier), and sums of one slice.
WIDE = OpcParameters(columns=12, lanes=4, planes=4, input_bits=4, adc_bits=8, row_blocks=3, scale_bits=6)
NARROW = OpcParameters(columns=8, lanes=8, planes=2, input_bits=3, adc_bits=3, row_blocks=1, scale_bits=17)
DEEPEST = (1 << SHIFT_BITS) - 1


def half_away_from_zero(value: Fraction) -> int:
    """The definition of the rounding."""
    whole = int(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole


@given(st.integers(-(1 << 40), 1 << 40), st.integers(0, (1 << 17) - 1), st.integers(1, 32))
def test_arithmetic_is_the_definition(total: int, multiplier: int, shift: int) -> None:
    got = arithmetic.scale(np.array([total, -total]), np.array([multiplier]), np.array([shift]))
    expected = half_away_from_zero(Fraction(total * multiplier, 1 << shift))
    assert got.tolist() == [expected, -expected]


def test_ties_go_away_from_zero() -> None:
    sums = np.array([-5, -3, -1, 0, 1, 3, 5])
    assert arithmetic.scale(sums, np.array([1]), np.array([1])).tolist() == [-3, -2, -1, 0, 1, 2, 3]


@given(
    st.lists(st.floats(2.0**-16, 1.0, width=32), min_size=1, max_size=8),
    st.integers(2, 17),
    st.floats(2.0**-20, 2.0**20, width=32),
    st.integers(-(1 << 28), 1 << 28),
)
def test_float_scales_keep_their_error_bound(relative: list[float], bits: int, unit: float, total: int) -> None:
    floats = np.array(relative, np.float32) * np.float32(unit)
    scales = OpcScales.from_floats(floats, bits, unit)
    assert scales.multiplier.min() >= 1 << (bits - 1)
    assert scales.multiplier.max() < 1 << bits
    assert 0 <= scales.shift.min() <= scales.shift.max() <= DEEPEST
    outputs = arithmetic.scale(np.full(len(floats), total), scales.multiplier, bits + scales.shift)
    for value, multiplier, shift, output in zip(floats, scales.multiplier, scales.shift, outputs, strict=True):
        exact = Fraction(float(value)) / Fraction(scales.unit)
        fixed = Fraction(int(multiplier), 1 << (bits + int(shift)))
        assert abs(fixed - exact) <= exact / 2**bits
        assert abs(int(output) - total * exact) <= abs(total) * exact / 2**bits + Fraction(1, 2)


def test_unit_defaults_to_the_largest_scale() -> None:
    scales = OpcScales.from_floats(np.array([0.5, 0.25, 0.125], np.float32), 8)
    assert scales.unit == 0.5
    assert scales.multiplier.tolist() == [255, 128, 128]
    assert scales.shift.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("scales", "unit", "message"),
    [
        ([1.0, 0.0], None, "output 1 has the scale 0.0; column scales must be positive"),
        ([np.nan], None, "output 0 has the scale nan"),
        ([np.inf], None, "output 0 has the scale inf"),
        ([1.0, 2.0], 1.5, r"the scale 2.0 of output 1 is above the unit 1.5"),
        ([1.0, 2.0**-17], None, "of output 1 is below .* the smallest"),
        ([], None, r"not an array of shape \(0,\)"),
        ([[1.0]], None, r"not an array of shape \(1, 1\)"),
    ],
)
def test_scales_out_of_range_are_refused(scales: list[float], unit: float | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        OpcScales.from_floats(np.array(scales, np.float32), 8, unit)


@pytest.mark.parametrize(
    ("multiplier", "shift", "changes", "message"),
    [
        ([64], [0], {}, "output 0 has the multiplier 64, which does not fit into 6 bits"),
        ([1, 1], [0, 16], {}, "output 1 has the shift 16, which does not fit into 4 bits"),
        ([1] * 4, [0] * 4, {}, "4 scales were given, but the OPC has 3 outputs"),
        ([1], [0], {"scale_bits": 0}, "scale_bits = 0, so it has no scale stage"),
    ],
)
def test_scales_for_another_opc_are_refused(
    multiplier: list[int], shift: list[int], changes: dict[str, int], message: str
) -> None:
    parameters = OpcParameters(**{**WIDE.__dict__, **changes})
    with pytest.raises(UserError, match=message):
        NumpyPeripheral(parameters).load_scales(OpcScales(np.array(multiplier), np.array(shift)))


def test_impossible_fixed_point_numbers_are_refused() -> None:
    with pytest.raises(UserError, match="multiplier and a shift for every output"):
        OpcScales(np.array([1]), np.array([1, 2]))
    with pytest.raises(UserError, match="output 1 has the shift -1"):
        OpcScales(np.array([1, 1]), np.array([0, -1]))


@pytest.mark.parametrize("backend", ["numpy", "amaranth", pytest.param("verilator", marks=needs_compiler)])
def test_a_run_needs_scales_for_its_outputs(backend: str) -> None:
    peripheral = create_peripheral(backend, WIDE)
    rng = np.random.default_rng(0)
    peripheral.load_map(random_map(rng, WIDE, outputs=2))
    codes = random_codes(rng, WIDE, 1, 1)
    with pytest.raises(UserError, match="a scale stage but no scales"):
        peripheral.process(codes)
    peripheral.load_scales(random_scales(rng, WIDE, 1))
    with pytest.raises(UserError, match="the map has 2 outputs, but 1 scales were loaded"):
        peripheral.process(codes)


def assert_same(parameters: OpcParameters, seed: int, backend: str, runs: int) -> None:
    """Scales, and then map and codes too, change from run to run."""
    rng = np.random.default_rng(seed)
    peripheral, reference = create_peripheral(backend, parameters), NumpyPeripheral(parameters)
    unscaled = NumpyPeripheral(OpcParameters(**{**parameters.__dict__, "scale_bits": 0}))
    for _ in range(runs):
        opc_map = random_map(rng, parameters)
        blocks = int(rng.integers(1, parameters.row_blocks + 1))
        codes = np.concatenate([extreme_codes(parameters, opc_map, blocks), random_codes(rng, parameters, 2, blocks)])
        for opc in (peripheral, reference, unscaled):
            opc.load_map(opc_map)
        for _ in range(2):
            scales = random_scales(rng, parameters, opc_map.outputs)
            peripheral.load_scales(scales)
            reference.load_scales(scales)
            got, expected = peripheral.process(codes), reference.process(codes)
            assert got.outputs.tolist() == expected.outputs.tolist()
            assert (got.cycles, got.disagreements) == (expected.cycles, expected.disagreements)
            raw = unscaled.process(codes)
            assert expected.cycles == raw.cycles + parameters.scale_stages
            assert expected.outputs.tolist() == [
                [
                    half_away_from_zero(Fraction(y * int(m), 1 << (parameters.scale_bits + int(k))))
                    for y, m, k in zip(vector, scales.multiplier, scales.shift, strict=True)
                ]
                for vector in raw.outputs.tolist()
            ]


@pytest.mark.parametrize("parameters", [WIDE, NARROW], ids=["wide", "narrow"])
def test_amaranth_equals_numpy(parameters: OpcParameters) -> None:
    assert_same(parameters, 1, "amaranth", 3)


@needs_compiler
@pytest.mark.parametrize("parameters", [WIDE, NARROW, OpcParameters(scale_bits=17)], ids=["wide", "narrow", "shipped"])
def test_compiled_equals_numpy(parameters: OpcParameters) -> None:
    assert_same(parameters, 2, "verilator", 6)


@pytest.mark.parametrize("run_hardware", HARDWARE)
@pytest.mark.parametrize(("offer", "take"), [(1.0, 0.3), (0.5, 0.5)])
def test_nothing_is_lost_under_stalls(run_hardware, offer: float, take: float) -> None:
    rng = np.random.default_rng(3)
    opc_map = random_map(rng, WIDE)
    scales, codes = random_scales(rng, WIDE, opc_map.outputs), random_codes(rng, WIDE, 4, 1)
    reference = NumpyPeripheral(WIDE)
    reference.load_map(opc_map)
    reference.load_scales(scales)
    expected = reference.process(codes).outputs
    events = run_hardware(
        WIDE, opc_map, 1, beat_payloads(WIDE, codes), stalls(3, offer, take), expected.size, scales=scales
    )
    mask = (1 << WIDE.sum_bits) - 1
    assert [event[2] for event in events if event[1] == "out"] == [
        output_payload(WIDE, opc_map, vector, n, y & mask)
        for vector, outputs in enumerate(expected.tolist())
        for n, y in enumerate(outputs)
    ]


@needs_compiler
def test_registers_read_back_and_refuse() -> None:
    opc = VerilatorPeripheral(WIDE)
    opc.load_scales(OpcScales(np.array([63, 0, 21]), np.array([0, 15, 3])))
    assert [opc.read(scale_address(WIDE, output)) for output in range(4)] == [63, 15 << 24, 21 | 3 << 24, 0]
    first = scale_address(WIDE, 0)
    for address, word in ((first, 64), (first, 16 << 24), (first + WIDE.outputs, 1)):
        with pytest.raises(UserError, match="the OPC refuses"):
            opc.write(address, word)
    assert opc.read(scale_address(WIDE, 0)) == 63
