"""All backends of the OPC give the same outputs, disagreements and cycles, with and without stalls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opc_hardware import HARDWARE, needs_compiler, run_amaranth, run_compiled, stalls

from crossvote.rtl.parameters import TAG_BITS, OpcParameters
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral import OpcMap, create_peripheral
from crossvote.sim.peripheral.numpy_backend import NumpyPeripheral
from crossvote.sim.peripheral.programming import beat_payloads
from tb.stimulus import agreeing_codes, coded_map, extreme_codes, random_codes, random_map

SHIPPED = OpcParameters()
ODD = OpcParameters(columns=12, lanes=4, planes=3, input_bits=3, adc_bits=5, row_blocks=3)


def brute_force(opc_map: OpcMap, codes: np.ndarray) -> list[list[int]]:
    """Outputs in plain integers, straight from the definition: one vector, output and term after the other."""
    vectors, blocks, bits = codes.shape[:3]
    results = []
    for v in range(vectors):
        sums = []
        for line in range(len(opc_map)):
            total = 0
            for g in range(blocks):
                for t in range(bits):
                    positive, negative = (int(code) for code in codes[v, g, t, line])
                    weight = -(2**t) if t == bits - 1 else 2**t
                    total += weight * (negative - positive if opc_map.flipped[line] else positive - negative)
            sums.append(total)
        outputs = [0] * opc_map.outputs
        terms: dict[tuple[int, ...], list[int]] = {}
        for line in range(len(opc_map)):
            fields = (opc_map.output, opc_map.plane, opc_map.copy, opc_map.shift)
            terms.setdefault(tuple(int(field[line]) for field in fields), []).append(sums[line])
        for (o, _, _, shift), values in terms.items():
            if o >= 0:
                outputs[o] += 2**shift * sorted(values)[len(values) // 2]
        results.append(outputs)
    return results


def assert_same(parameters: OpcParameters, opc_map: OpcMap, codes: np.ndarray, *backends: str) -> None:
    reference = NumpyPeripheral(parameters)
    reference.load_map(opc_map)
    expected = reference.process(codes)
    for backend in backends:
        peripheral = create_peripheral(backend, parameters)
        peripheral.load_map(opc_map)
        for _ in range(2):  # a second run starts where the first one ended
            result = peripheral.process(codes)
            assert result.outputs.tolist() == expected.outputs.tolist()
            assert result.outputs.dtype == np.int64
            assert (result.disagreements, result.cycles) == (expected.disagreements, expected.cycles)


@given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_numpy_is_the_definition(seed: int, vectors: int, blocks: int) -> None:
    rng = np.random.default_rng(seed)
    opc_map = random_map(rng, ODD)
    codes = random_codes(rng, ODD, vectors, blocks)
    peripheral = NumpyPeripheral(ODD)
    peripheral.load_map(opc_map)
    assert peripheral.process(codes).outputs.tolist() == brute_force(opc_map, codes)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_numpy_adds_and_votes_as_the_codes_say(seed: int, blocks: int) -> None:
    rng = np.random.default_rng(seed)
    opc_map = coded_map(rng, ODD)
    codes = random_codes(rng, ODD, 2, blocks)
    peripheral = NumpyPeripheral(ODD)
    peripheral.load_map(opc_map)
    assert peripheral.process(codes).outputs.tolist() == brute_force(opc_map, codes)


@st.composite
def small_parameters(draw: st.DrawFn) -> OpcParameters:
    lanes = 1 << draw(st.integers(0, 4))
    groups = draw(st.integers(1, 4).filter(lambda groups: lanes * groups >= 2))
    return OpcParameters(
        columns=lanes * groups,
        lanes=lanes,
        planes=draw(st.integers(1, min(4, lanes * groups))),
        input_bits=draw(st.integers(2, 5)),
        adc_bits=draw(st.integers(1, 9)),
        row_blocks=draw(st.integers(1, 4)),
        voter=draw(st.booleans()),
    )


@given(small_parameters(), st.integers(0, 2**32 - 1), st.integers(0, 4), st.data())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_amaranth_equals_numpy(p: OpcParameters, seed: int, vectors: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    blocks = data.draw(st.integers(1, p.row_blocks))
    opc_map = data.draw(st.sampled_from([random_map, coded_map]))(rng, p)
    codes = agreeing_codes(rng, p, opc_map, vectors, blocks, wrong=0.3)
    assert_same(p, opc_map, codes, "amaranth")


def test_amaranth_equals_numpy_at_the_shipped_size() -> None:
    rng = np.random.default_rng(1)
    assert_same(
        SHIPPED, opc_map := random_map(rng, SHIPPED), agreeing_codes(rng, SHIPPED, opc_map, 2, 1, 0.3), "amaranth"
    )


def test_amaranth_equals_numpy_with_many_lanes() -> None:
    """More than eight lanes: one more stage, which also keeps its place when outputs are not taken."""
    many = OpcParameters(columns=32, lanes=16, planes=3, input_bits=3, adc_bits=5, row_blocks=2)
    rng = np.random.default_rng(8)
    for _ in range(3):
        opc_map = random_map(rng, many)
        codes = agreeing_codes(rng, many, opc_map, 4, 2, 0.3)
        assert_same(many, opc_map, codes, "amaranth")
        reference = NumpyPeripheral(many)
        reference.load_map(opc_map)
        expected = reference.process(codes).outputs
        events = run_amaranth(many, opc_map, 2, beat_payloads(many, codes), stalls(8, 0.9, 0.3), expected.size)
        mask = (1 << many.sum_bits) - 1
        sums = [event[2] & mask for event in events if event[1] == "out"]
        assert sums == (expected.ravel() & mask).tolist()


@needs_compiler
@pytest.mark.parametrize("parameters", [SHIPPED, ODD], ids=["shipped", "odd"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_compiled_equals_numpy(parameters: OpcParameters, dtype: type) -> None:
    rng = np.random.default_rng(2)
    for run in range(10):
        coded = coded_map(rng, parameters)
        opc_map = coded if run % 2 else random_map(rng, parameters, replicated=rng.random(), flipped=rng.random())
        blocks = int(rng.integers(1, 4))
        codes = agreeing_codes(rng, parameters, opc_map, int(rng.integers(0, 8)), blocks, wrong=0.3)
        assert_same(parameters, opc_map, codes.astype(dtype), "verilator")


@needs_compiler
def test_extremes_do_not_overflow() -> None:
    rng = np.random.default_rng(3)
    opc_map = random_map(rng, SHIPPED)
    codes = extreme_codes(SHIPPED, opc_map, SHIPPED.row_blocks)
    assert_same(SHIPPED, opc_map, codes, "verilator")
    reference = NumpyPeripheral(SHIPPED)
    reference.load_map(opc_map)
    outputs = reference.process(codes).outputs
    assert outputs.max() == -outputs.min() == SHIPPED.output_magnitude


@pytest.mark.parametrize("run_hardware", HARDWARE)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("offer", "take"), [(1.0, 0.05), (0.3, 1.0), (0.7, 0.4)])
def test_nothing_is_lost_under_stalls(run_hardware: Callable[..., Any], seed: int, offer: float, take: float) -> None:
    rng = np.random.default_rng(seed)
    blocks = 1 + seed % 2
    opc_map = random_map(rng, ODD)
    codes = random_codes(rng, ODD, 4, blocks)
    reference = NumpyPeripheral(ODD)
    reference.load_map(opc_map)
    expected = reference.process(codes).outputs
    beats = beat_payloads(ODD, codes)
    events = run_hardware(ODD, opc_map, blocks, beats, stalls(seed, offer, take), expected.size)
    payloads = [event[2] for event in events if event[1] == "out"]
    assert payloads == [
        (y & (1 << ODD.sum_bits) - 1)
        | n << ODD.sum_bits
        | (n == opc_map.outputs - 1) << (ODD.sum_bits + ODD.output_bits)
        | v << (ODD.sum_bits + ODD.output_bits + 1)
        for v, vector in enumerate(expected.tolist())
        for n, y in enumerate(vector)
    ]
    assert sum(event[1] == "in" for event in events) == len(codes) * ODD.beats(blocks)


@needs_compiler
@pytest.mark.parametrize("seed", range(3))
def test_both_hardware_simulations_move_in_the_same_clocks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    opc_map = random_map(rng, ODD)
    codes = random_codes(rng, ODD, 4, 2)
    logs = [
        run(ODD, opc_map, 2, beat_payloads(ODD, codes), stalls(seed, 0.8, 0.5), 4 * opc_map.outputs)
        for run in (run_amaranth, run_compiled)
    ]
    assert logs[0] == logs[1]


def test_crossbar_vote_is_a_run_per_row_block() -> None:
    rng = np.random.default_rng(5)
    opc_map = random_map(rng, ODD, outputs=2, replicated=1.0)
    codes = random_codes(rng, ODD, 6, 3)
    peripheral = NumpyPeripheral(ODD)
    peripheral.load_map(opc_map)
    by_crossbar = sum(peripheral.process(codes[:, g : g + 1]).outputs for g in range(3))
    assert by_crossbar.tolist() != peripheral.process(codes).outputs.tolist()  # medians do not add up
    agreeing = agreeing_codes(rng, ODD, opc_map, 6, 3, wrong=0.0)
    by_crossbar = sum(peripheral.process(agreeing[:, g : g + 1]).outputs for g in range(3))
    assert by_crossbar.tolist() == peripheral.process(agreeing).outputs.tolist()


@pytest.mark.parametrize(
    ("shape", "dtype", "value", "message"),
    [
        ((1, 1, 3, 12, 2), np.int64, 0, "must be uint8 or uint16, not int64"),
        ((1, 1, 3, 11, 2), np.uint8, 0, r"must have the shape \(vectors, row blocks, 3, 12, 2\)"),
        ((1, 3, 12, 2), np.uint8, 0, "must have the shape"),
        ((1, 4, 3, 12, 2), np.uint8, 0, "4 row blocks were given, but the OPC adds 1 to 3"),
        ((1, 0, 3, 12, 2), np.uint8, 0, "0 row blocks"),
        ((1, 1, 3, 12, 2), np.uint8, 32, "ADC code 32 does not fit into 5 bits"),
    ],
)
@pytest.mark.parametrize("backend", ["numpy", "amaranth", pytest.param("verilator", marks=needs_compiler)])
def test_impossible_codes_are_refused(
    backend: str, shape: tuple[int, ...], dtype: type, value: int, message: str
) -> None:
    peripheral = create_peripheral(backend, ODD)
    peripheral.load_map(random_map(np.random.default_rng(0), ODD))
    with pytest.raises(UserError, match=message):
        peripheral.process(np.full(shape, value, dtype))


@pytest.mark.parametrize("backend", ["numpy", "amaranth", pytest.param("verilator", marks=needs_compiler)])
def test_a_run_needs_a_map_that_fits(backend: str) -> None:
    peripheral = create_peripheral(backend, ODD)
    with pytest.raises(UserError, match="no column map"):
        peripheral.process(np.zeros((1, 1, 3, 12, 2), np.uint8))
    with pytest.raises(UserError, match="describes 128 bit lines, but the OPC serves 12"):
        peripheral.load_map(random_map(np.random.default_rng(0), SHIPPED))


def test_unknown_backend_is_refused() -> None:
    with pytest.raises(UserError, match="unknown peripheral 'verilog'"):
        create_peripheral("verilog", ODD)


@needs_compiler
def test_outputs_wider_than_a_machine_word() -> None:
    """Sum, number and marks together need more than 64 bits here; every output comes out whole."""
    wide = OpcParameters(columns=160, lanes=4, planes=15, input_bits=16, adc_bits=16, row_blocks=256)
    assert wide.sum_bits + wide.output_bits + 1 + TAG_BITS + 1 > 64
    rng = np.random.default_rng(3)
    opc_map = random_map(rng, wide, outputs=wide.outputs, replicated=0.0)
    codes = np.concatenate([extreme_codes(wide, opc_map, 2), random_codes(rng, wide, 20, 2)])
    assert_same(wide, opc_map, codes, "verilator")
