from __future__ import annotations

import dataclasses

import pytest

from crossvote.sim.array.read_model import ReadModel
from crossvote.sim.chip.components.opc import opc_parameters
from crossvote.sim.chip.config import load_chip
from crossvote.sim.chip.shipped import chip_presets
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import build, to_mapping


def numbers(mapping, prefix=""):
    for key, value in mapping.items():
        if isinstance(value, dict):
            if key != "sources":  # nor is the format of the file a number of the hardware
                yield from numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and key != "format":
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
    assert slow.vector_interval_ps == 8 * 200_000  # 128 conversions of 1562 ps, at the next edge of a clock of 1 ns


@pytest.mark.parametrize(("peripheral", "interval_ps"), [("rtl", 816_000), ("cycles", 800_000)])
def test_a_clocked_periphery_reads_in_whole_periods(peripheral, interval_ps):
    overrides = {"opc": {"clock_ps": 3000}, "pipeline": {"peripheral": peripheral}}
    assert load_chip("crossvote", overrides).vector_interval_ps == interval_ps


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


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"adc": {"bits": 8.0}}, r"key 'adc\.bits' = 8\.0: .*integer"),
        ({"adc": {"bits": True}}, r"key 'adc\.bits' = True: .*integer"),
        ({"adc": {"may_clip": 1}}, r"key 'adc\.may_clip' = 1: .*boolean"),
        ({"cell": {"variation": True}}, r"key 'cell\.variation' = True: .*number"),
        ({"cell": {"variation": "0.1"}}, r"key 'cell\.variation' = '0\.1': .*number"),
        ({"cell": {"verified_variation": 0.1}}, r"cell\.verified_variation = 0\.1 is more than cell\.variation = 0"),
        ({"cell": {"variation": 0.1, "one_disturb": 0.1}}, r"cell\.variation and cell\.one_disturb"),
        ({"format": 3}, r"key 'format' = 3: this program reads chip files of format 2"),
        ({"format": 1}, r"key 'format' = 1: this program reads chip files of format 2"),
        ({"name": 3}, r"key 'name' = 3: .*string"),
    ],
)
def test_types_are_strict(overrides, message):
    with pytest.raises(UserError, match=message):
        load_chip("crossvote", overrides)


def test_a_chip_file_without_later_keys_is_the_same_chip(tmp_path):
    """Keys that a preset says and that have a default are those added after the first format."""
    chip = load_chip("crossvote")
    old = to_mapping(chip)
    for key in ("format", "cell"):
        del old[key]
    del old["adc"]["may_clip"]
    for key in ("row_blocks", "voter", "column_map", "scale_bits", "log_bits", "checksum_bits"):
        del old["opc"][key]
    assert build(type(chip), old, "memory") == chip


def test_a_chip_file_may_start_from_a_preset_or_another_file(tmp_path):
    (tmp_path / "mine.toml").write_text('preset = "crossvote"\nname = "mine"\n[crossbar]\nrows = 64\n')
    (tmp_path / "yours.toml").write_text('preset = "mine.toml"\nname = "yours"\n[adc]\nbits = 7\n')
    wanted = load_chip("crossvote", {"name": "yours", "crossbar": {"rows": 64}, "adc": {"bits": 7}})
    assert load_chip(str(tmp_path / "yours.toml")) == wanted
    assert load_chip(str(tmp_path / "yours.toml"), {"adc": {"bits": 9}}).adc.bits == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('preset = "one.toml"', "starts from itself"),
        ('preset = "nowhere"', r"one\.toml: preset = 'nowhere' is neither a TOML file nor one of crossvote"),
        ("preset = 3", "must be the name of a preset or of a file"),
        ('preset = "crossvote"\n[crossbar]\nrow = 64', "unknown key 'crossbar.row'"),
    ],
)
def test_a_chip_file_that_starts_from_nothing_is_one_sentence(tmp_path, text, message):
    (tmp_path / "one.toml").write_text(text)
    with pytest.raises(UserError, match=message):
        load_chip(str(tmp_path / "one.toml"))


def test_every_parameter_of_the_rtl_comes_from_the_chip():
    """One that the chip does not set would stay at its default."""
    values = {"columns": 64, "lanes": 4, "planes": 5, "input_bits": 6, "row_blocks": 9, "voter": False}
    values |= {"column_map": False, "scale_bits": 3}
    parameters = opc_parameters(load_chip("crossvote", {"opc": values, "adc": {"bits": 9}}))
    plain = opc_parameters(load_chip("crossvote"))
    others = {"log_bits": 5, "checksum_bits": 3}  # which need a voter, and a map
    with_options = opc_parameters(load_chip("crossvote", {"opc": others}))
    for field in dataclasses.fields(parameters):
        chosen = with_options if field.name in others else parameters
        assert getattr(chosen, field.name) == {**values, "adc_bits": 9, **others}[field.name]
        assert getattr(chosen, field.name) != getattr(plain, field.name)


def test_reads_come_from_the_chip():
    cell = {"on_off_ratio": 20.0, "one_disturb": 0.1, "zero_disturb": 0.2}
    read = ReadModel.of_chip(load_chip("crossvote", {"cell": cell, "adc": {"bits": 5, "full_scale": 40.0}}), seed=3)
    assert read == ReadModel(adc_bits=5, adc_range=40.0, seed=3, **cell)
    assert ReadModel.of_chip(load_chip("crossvote", {"cell": {"variation": 0.2}})).variation == 0.2


def test_unknown_preset_names_the_known_ones(tmp_path):
    with pytest.raises(UserError, match="neither a TOML file nor one of crossvote"):
        load_chip("isaak")
    (tmp_path / "bad.toml").write_text("= 3")
    with pytest.raises(UserError, match="not a TOML file"):
        load_chip(str(tmp_path / "bad.toml"))
