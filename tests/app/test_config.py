"""Configurations: what is accepted, what is refused in one sentence, and that a resolved one loads back."""

from __future__ import annotations

from dataclasses import is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import tomli_w
from pydantic import WithJsonSchema

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.registry import KIND_SCHEMA
from crossvote.sim.common.schema import merge, to_mapping
from crossvote.swstack.experiment.config import RunConfig, load_config
from crossvote.swstack.experiment.overrides import KINDS, parse_override
from crossvote.swstack.experiment.shipped import find_config, shipped_configs
from crossvote.swstack.mapping.scheme import AnyScheme


def write(tmp_path, text):
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(shipped_configs()))
def test_shipped_configurations_load_and_their_resolved_form_loads_back(tmp_path, name):
    config = load_config(shipped_configs()[name])
    resolved = write(tmp_path, tomli_w.dumps(to_mapping(config)))
    assert load_config(resolved) == config


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "examples").glob("*.toml")), ids=lambda p: p.stem)
def test_examples_load(path):
    assert load_config(path).protections()


def test_the_empty_file_is_a_configuration(tmp_path):
    config = load_config(write(tmp_path, ""))
    assert config.chip.name == "crossvote"
    assert tuple(config.protections()) == config.map.schemes


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sede = 1", "unknown key 'sede'; did you mean 'seed'?"),
        ("[fault]\nchips = 2", "unknown key 'fault'; did you mean 'faults'?"),
        ("[faults]\nchip = 2", "unknown key 'faults.chip'; did you mean 'chips'?"),
        ("[faults]\nchips = 'many'", "key 'faults.chips' = 'many'"),
        ("[faults]\nchips = 0", "key 'faults.chips' = 0: input should be greater than or equal to 1"),
        ("[faults]\nrates = [2.0]", "faults.rates"),
        ("seed = -1", "key 'seed' = -1"),
        ("[task]\nname = 'cola'\nglue_dir = ''", "key 'task.glue_dir' = '': string should have at least 1 character"),
        ("[task]\ntrain = ''\ndev = ''", "key 'task.train' = ''"),
        ("seed = [", "not a TOML file"),
        ("chip = 3", "chip"),
        ("faults = 3", "key 'faults' = 3"),
        ("[chip]\npreset = 'nowhere'", "chip.preset"),
        ("[chip]\npreset = 5", "chip.preset"),
        ("[chip.adc]\nbit = 7", "unknown key 'chip.adc.bit'; did you mean 'bits'?"),
        ("[chip.adc]\nbits = 0", "key 'chip.adc.bits' = 0"),
        ("[quantization]\nweight_bits = 12", "chip.opc.planes = 7"),
        ("[quantization]\ninput_bits = 4", "unknown key 'quantization.input_bits'"),
        ("[map]\nschemes = ['nobody']", "'nobody' is no protection scheme; known are none"),
        ("[map]\nschemes = ['none', 'none']", "once only"),
        ("[map]\nschemes = ['../x']", "letters, digits"),
        ("[chip]\npreset = 'isaac-ce'", "digital pairs of 1- or 2-bit cells"),
        ("[map]\nschemes = []", "key 'map.schemes' = []"),
        ("[map.protection.mine]\nreplicas = {msb = 2}", "odd number"),
        ("[map.protection.mine]\nflipp = 'all'", "flipp"),
        (f"[map]\nschemes = ['{'a' * 70}']", "up to 64 letters"),
        ("[map.protection.paper]\nflip = 'none'", "'paper' is the name of a shipped scheme"),
        ("[chip.override.nothing]\narea_um2 = 1.0", "override.nothing names no component; there are adc, adder"),
        ("[chip.override.adc.energy_pj]\nguess = 1.0", "override.adc names action 'guess'; the component has"),
        ("[chip.override.adc.energy_pj]\nconversion = -1.0", "energy_pj.conversion' = -1.0: input should be greater"),
        ("[simulate]\ntokens = 100000000000", "key 'simulate.tokens'"),
        ("[simulate]\nstream = 100000000000", "key 'simulate.stream'"),
        ("[task]\nmetrics = ['accuracy', 'accuracy']", "every name can be given once only"),
        ("[map.protection.mine]\nreplicas = {msb = 100000001}\nvote = 'output'", "127 replicas at most"),
        ("[map.protection.mine]\nkind = 'fixed'\nlines = [100000001]\nvoted = [0]", "127 bit lines at most"),
        *(
            (f"[{table}]\nkind = '{kind}'\nsa0_sa1 = {ratio}", "is no ratio")
            for table, kind in (("map.protection.mine", "optimal"), ("fault_training.noise", "stuck"))
            for ratio in ("[0, 0]", "[-1, 2]", "[1e308, 1e308]")
        ),
        ("[model]\nsource = '~no such user/model'", "key 'model.source' = '~no such user/model': no path"),
        (f"[model]\nsource = '{'a/' * 3000}'", "key 'model.source' = 'a/a/a/"),
        ('[task]\ntrain = "a\\u0000.csv"\ndev = "b.csv"', "no path has NUL in its name"),
        (f"seed = {'[' * 3000}{']' * 3000}", "nested too deep"),
        (f"{'a.' * 3000}b = 1", "nested too deep"),
        ("seed = 1\nseed = 2", "not a TOML file"),
        ("seed = true", "key 'seed' = True"),
        ("seed = 2020-01-01", "dates and times are no values"),
        ("seed = 9223372036854775808", "key 'seed': no number may be"),
        ("[faults]\nrates = [nan]", "faults.rates.0"),
        ("[faults]\nrates = [1, 1.0]", "once only"),
        ("[faults]\nrates = 0.1", "key 'faults.rates' = 0.1"),
        ("[faults]\npattern = {cluster_size = 3.0}", "needs its kind"),
        ("[[faults]]\nchips = 1", "must be a table of keys"),
        ("[finetune]\nlearning_rate = -1.0", "key 'finetune.learning_rate' = -1.0"),
        ("[prune]\ncolumn_sparsity = 1.5", "key 'prune.column_sparsity' = 1.5"),
    ],
)
def test_mistakes_are_one_sentence_that_names_the_key(tmp_path, text, sentence):
    with pytest.raises(UserError) as error:
        load_config(write(tmp_path, text))
    message = str(error.value)
    assert sentence in message
    assert "own.toml" in message or "chip.preset" in message
    assert "\n" not in message


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_config(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.b=[0.1, 0.2]", {"a": {"b": [0.1, 0.2]}}),
        ("a=true", {"a": True}),
        ("a='x y'", {"a": "x y"}),
        ("task.name=sst2", {"task": {"name": "sst2"}}),
        ("model.source=some/hub-name", {"model": {"source": "some/hub-name"}}),
        ("a = 3", {"a": 3}),
    ],
)
def test_override_values_are_toml_or_bare_words(text, value):
    assert parse_override(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "=3",
        "a..b=3",
        "a=[1,",
        "a b=3",
        "a=two words",
        "a=1\nb=2",
        "a=1\n[b]",
        "a=3#4",
        "a='x' # y",
        "a=3} #",
        "a=3,b=4",
    ],
)
def test_broken_overrides_are_refused(text):
    with pytest.raises(UserError, match="override"):
        parse_override(text)


def test_numbers_without_the_brackets_of_a_list_are_told_how_one_is_written() -> None:
    with pytest.raises(UserError, match=r"'0\.1,0\.2' is not a TOML value \(a list is written \[1, 2\]"):
        parse_override("faults.rates=0.1,0.2")


def test_overrides_win_over_the_file_and_later_ones_over_earlier_ones(tmp_path):
    path = write(tmp_path, "seed = 3\n[faults]\nchips = 2")
    config = load_config(path, ["seed=4", "faults.chips=5", "seed=6", "faults.rates=[0.25]"])
    assert (config.seed, config.faults.chips, tuple(config.faults.rates)) == (6, 5, (0.25,))


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("", ["faults=3", "faults.chips=2"], "'faults' is 3 by -o faults=3, which would be dropped"),
        ("", ["faults.chips=2", "faults=3"], "the earlier -o faults.chips=2 would be dropped"),
        ("chip = 'isaac-ce'", ["chip.adc.bits=9"], "'chip' is 'isaac-ce' by .*own.toml, which would be dropped"),
        ("[faults]\nrates = [0.1]", ["faults.rates.first=0.2"], r"'faults.rates' is \[0.1\] by .*own.toml"),
        ("", ["faults.pattern.cluster_size=3", "faults.pattern=clustered"], "'faults.pattern' as a whole or by its"),
        ("", ["chip.adc=3", "chip.adc.bits=9"], "'chip.adc' is 3 by -o chip.adc=3"),
    ],
)
def test_a_key_as_a_whole_and_by_its_parts_is_refused(tmp_path: Path, text: str, overrides: list[str], message: str):
    """One of them would be dropped in silence."""
    with pytest.raises(UserError, match=message) as error:
        load_config(write(tmp_path, text), overrides)
    assert str(error.value).startswith(f"-o {overrides[-1]}: ")


def test_a_table_and_its_parts_are_laid_over_each_other(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, ""), ["faults={chips=3}", "faults.rates=[0.1]", "faults={}"])
    assert (config.faults.chips, config.faults.rates) == (3, (0.1,))


def test_the_settings_of_a_kind_may_follow_its_name(tmp_path: Path) -> None:
    """Wherever a value is a name or a table, by the file or by an earlier override."""
    path = write(tmp_path, "[faults]\npattern = 'clustered'")
    assert load_config(path, ["faults.pattern.cluster_size=7.0"]).faults.pattern.cluster_size == 7.0
    empty = tmp_path / "empty.toml"
    empty.write_text("")
    named = ["faults.pattern=clustered", "faults.pattern.cluster_size=7.0", "fault_training.noise=stuck"]
    named += [
        "fault_training.noise.sa0_sa1=[1, 2]",
        "map.protection.mine=optimal",
        "map.protection.mine.sa0_sa1=[1, 2]",
    ]
    config = load_config(empty, named)
    assert config.faults.pattern.cluster_size == 7.0
    assert config.fault_training.noise.sa0_sa1 == (1, 2)
    assert config.map.protection["mine"].sa0_sa1 == (1, 2)


def test_every_key_that_takes_a_kind_is_known_as_one() -> None:
    found = []
    for section, field in get_type_hints(RunConfig, include_extras=True).items():
        if not is_dataclass(field):
            continue
        for key, hint in get_type_hints(field, include_extras=True).items():
            parts = [hint, *get_args(hint)]
            if any(WithJsonSchema(KIND_SCHEMA) in getattr(part, "__metadata__", ()) for part in parts):
                found.append(f"{section}.{key}")
            elif AnyScheme in parts:
                found.append(f"{section}.{key}.*")
    assert sorted(found) == sorted(KINDS)


def test_an_override_mistake_names_the_override(tmp_path):
    with pytest.raises(UserError, match=r"-o fault\.chips=1: unknown key 'fault'; did you mean 'faults'"):
        load_config(write(tmp_path, ""), ["fault.chips=1"])


def test_merge_goes_table_by_table():
    assert merge({"a": {"x": 1, "y": 2}, "b": 1}, {"a": {"y": 3}, "b": {"z": 1}}) == {
        "a": {"x": 1, "y": 3},
        "b": {"z": 1},
    }


def test_chip_keys_change_the_preset(tmp_path):
    config = load_config(write(tmp_path, "[chip.adc]\nbits = 9"))
    assert config.chip.adc.bits == 9
    assert config.chip.crossbar.rows == 128


def test_a_chip_file_may_lie_beside_the_configuration(tmp_path):
    chip = to_mapping(load_config(write(tmp_path, "")).chip)
    (tmp_path / "chip.toml").write_text(tomli_w.dumps({**chip, "name": "mine"}))
    config = load_config(write(tmp_path, "[chip]\npreset = 'chip.toml'\nadc.bits = 9"))
    assert (config.chip.name, config.chip.adc.bits) == ("mine", 9)


def test_own_protection_schemes_can_be_mapped(tmp_path):
    text = (
        "[map]\nschemes = ['none', 'mine']\n"
        "[map.protection.mine]\nflip = 'all'\nreplicas = {msb = 3, msb-1 = 3}\nvote = 'crossbar'"
    )
    assert load_config(write(tmp_path, text)).protections()["mine"].flip == "all"


def test_configurations_are_found_by_name_file_and_run_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default").mkdir()
    assert find_config("default").name == "default.toml"
    assert find_config(str(write(tmp_path, ""))) == tmp_path / "own.toml"
    (tmp_path / "config.toml").write_text("seed = 1\n")
    assert find_config(str(tmp_path)) == tmp_path / "config.toml"
    with pytest.raises(UserError, match="neither a TOML file, a run directory nor one of the shipped"):
        find_config("nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="not a run directory"):
        find_config(str(tmp_path / "empty"))


def test_a_byte_order_mark_is_no_part_of_a_configuration(tmp_path):
    path = tmp_path / "windows.toml"
    path.write_bytes(b"\xef\xbb\xbfseed = 7\r\n")
    assert load_config(path).seed == 7
