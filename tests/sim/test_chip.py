from __future__ import annotations

import pytest

from crossvote.sim.chip.config import chip_presets, load_chip
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import build, to_mapping


def numbers(mapping, prefix=""):
    for key, value in mapping.items():
        if isinstance(value, dict):
            if key != "sources":
                yield from numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float):
            yield f"{prefix}{key}"


@pytest.mark.parametrize("preset", chip_presets())
def test_every_number_of_a_shipped_chip_has_a_source(preset):
    chip = load_chip(preset)
    assert set(numbers(to_mapping(chip))) == set(chip.sources)


def test_chip_round_trip():
    chip = load_chip("crossvote")
    assert build(type(chip), to_mapping(chip), "memory") == chip


def test_a_pair_takes_a_vector_every_800_ns():
    chip = load_chip("crossvote")
    assert chip.vector_interval_ps == 8 * 100_000
    assert load_chip("crossvote", {"crossbar": {"read_ps": 200_000}}).vector_interval_ps == 8 * 200_000
    slow = load_chip("crossvote", {"adc": {"conversion_ps": 1562}})
    assert slow.vector_interval_ps == 8 * 128 * 1562


def test_clipping_is_known():
    assert not load_chip("crossvote").clips
    assert load_chip("crossvote", {"adc": {"bits": 7}}).clips


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"adc": {"bit": 7}}, r"unknown key 'adc\.bit'; did you mean 'bits'\?"),
        ({"adc": {"bits": 0}}, r"key 'adc\.bits' = 0: .* greater than or equal to 1"),
        ({"adc": {"bits": "many"}}, r"key 'adc\.bits' = 'many': .*integer"),
        ({"opc": {"lanes": 7}}, r"opc\.lanes = 7 must divide opc\.columns = 128"),
        ({"crossbar": 3}, r"key 'crossbar' = 3"),
    ],
)
def test_bad_chips_are_one_sentence(overrides, message):
    with pytest.raises(UserError, match=message) as caught:
        load_chip("crossvote", overrides)
    assert "\n" not in str(caught.value)


def test_unknown_preset_names_the_known_ones(tmp_path):
    with pytest.raises(UserError, match="neither a TOML file nor one of crossvote"):
        load_chip("isaak")
    (tmp_path / "bad.toml").write_text("= 3")
    with pytest.raises(UserError, match="not a TOML file"):
        load_chip(str(tmp_path / "bad.toml"))
