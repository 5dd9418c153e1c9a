"""OpcParameters: bounds, derived widths and the latency formula."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crossvote.rtl.parameters import SHIFT_BITS, OpcParameters, signed_bits


@st.composite
def parameters(draw: st.DrawFn) -> OpcParameters:
    lanes = 1 << draw(st.integers(0, 6))
    groups = draw(st.integers(1, 32).filter(lambda groups: lanes * groups >= 2))
    columns = lanes * groups
    return OpcParameters(
        columns=columns,
        lanes=lanes,
        planes=draw(st.integers(1, min(15, columns))),
        input_bits=draw(st.integers(2, 16)),
        adc_bits=draw(st.integers(1, 16)),
        row_blocks=draw(st.integers(1, 256)),
    )


@given(parameters(), st.integers(1, 17))
def test_scaled_sums_need_no_more_bits(p: OpcParameters, scale_bits: int) -> None:
    assume(p.sum_bits + scale_bits <= 62)
    p = dataclasses.replace(p, scale_bits=scale_bits)
    largest = (1 << scale_bits) - 1
    for shift in range(1 << SHIFT_BITS):
        half = 1 << (scale_bits + shift - 1)
        total = p.output_magnitude * largest + half
        assert total < 1 << (p.product_bits - 1)
        assert total >> (scale_bits + shift) <= p.output_magnitude


@given(parameters())
def test_widths_hold_the_extremes_and_not_a_bit_more(p: OpcParameters) -> None:
    for bits, magnitude in (
        (p.difference_bits, p.difference_magnitude),
        (p.column_sum_bits, p.column_sum_magnitude),
        (p.sum_bits, p.output_magnitude),
    ):
        assert -(1 << (bits - 1)) <= -magnitude
        assert magnitude <= (1 << (bits - 1)) - 1
        assert magnitude > (1 << (bits - 2)) - 1


def test_magnitudes_are_those_of_all_possible_codes() -> None:
    p = OpcParameters(columns=2, lanes=1, planes=2, input_bits=2, adc_bits=1, row_blocks=1)
    differences = {a - b for a, b in itertools.product(range(2), repeat=2)}
    sums = {low - 2 * top for low, top in itertools.product(differences, repeat=2)}
    outputs = {low + 2 * top for low, top in itertools.product(sums, repeat=2)}
    assert max(map(abs, differences)) == p.difference_magnitude
    assert max(map(abs, sums)) == p.column_sum_magnitude
    assert max(map(abs, outputs)) == p.output_magnitude


def test_signed_bits() -> None:
    assert [signed_bits(m) for m in (1, 2, 3, 4, 127, 128)] == [2, 3, 3, 4, 8, 9]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lanes": 3, "columns": 9}, "power of two"),
        ({"lanes": 16, "columns": 24}, "must divide columns"),
        ({"columns": 4, "lanes": 4, "planes": 5}, "cannot hold the 5 planes"),
        ({"adc_bits": 17}, "adc_bits = 17 must be a whole number from 1 to 16"),
        ({"input_bits": 1}, "input_bits = 1"),
        ({"columns": 4097}, "columns = 4097 must be a whole number from 2 to 4096"),
        ({"lanes": 512, "columns": 512}, "lanes = 512 must be a whole number from 1 to 256"),
        ({"planes": 16}, "planes = 16 must be a whole number from 1 to 15"),
        ({"row_blocks": 0}, "row_blocks = 0"),
        ({"planes": 2.5}, "planes = 2.5"),
        ({"lanes": True}, "lanes = True"),
        ({"scale_bits": 18}, "scale_bits = 18 must be a whole number from 0 to 17"),
        ({"scale_bits": 17, "adc_bits": 16, "input_bits": 16, "planes": 15}, "products of .* has 64 at most"),
        ({"column_map": False}, "voter = True needs column_map = True"),
    ],
)
def test_impossible_values_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OpcParameters(**values)  # type: ignore[arg-type]


def test_cycles_of_the_shipped_opc() -> None:
    p = OpcParameters()
    assert p.beats(1) == p.columns == 128
    assert p.cycles(0, 1, 126) == 0
    assert p.cycles(1, 1, 126) == 128 + 126 + p.pipeline - 1
    assert p.cycles(1001, 1, 126) - p.cycles(1, 1, 126) == 1000 * 128
