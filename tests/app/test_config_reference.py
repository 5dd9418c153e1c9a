"""Every key is described once, in the code, and the page and the schema say the same."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import flat_keys, to_mapping
from crossvote.swstack.cli import main as cli
from crossvote.swstack.experiment import config_reference
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.shipped import shipped_configs


def call(*arguments: str):
    return CliRunner().invoke(cli.application(), ["config", *arguments])


def test_every_key_says_what_it_means():
    assert [key.name for key in config_reference.all_keys() if not key.text] == []


def test_every_key_says_what_it_may_be_and_a_kind_its_default():
    keys = {key.name: key for key in config_reference.all_keys()}
    assert [key.name for key in keys.values() if "any" in key.kind.split()] == []
    assert (keys["faults.pattern"].kind, keys["faults.pattern"].default) == ("string or table", '"uniform"')


def test_no_key_of_a_shipped_configuration_is_missing():
    known = {key.name for key in config_reference.all_keys()}
    tables = {name.rpartition(".NAME")[0] for name in known if ".NAME" in name}
    tables |= {key.name for key in config_reference.all_keys() if key.kind.startswith("table")}
    for path in shipped_configs().values():
        used = flat_keys(to_mapping(load_config(path)), keep_empty=True)
        unknown = [key for key in used if key not in known and not key.startswith(tuple(f"{t}." for t in tables))]
        assert unknown == []


def test_the_page_has_a_row_for_every_key():
    page = config_reference.reference()
    for key in config_reference.all_keys():
        section, _, name = key.name.rpartition(".")
        assert f"## `[{section}]`" in page or not section
        assert f"| `{name}` | {key.kind} |" in page


def test_a_key_shows_type_default_bounds_and_meaning():
    (key,) = config_reference.explain("faults.chips")
    assert (key.kind, key.default, key.bounds) == ("integer", "5", "at least 1, at most 10000")
    assert {key.name for key in config_reference.explain("simulate")} >= {"simulate.tokens", "simulate.stream"}
    assert "`verilator`" in config_reference.explain("cosim.backend")[0].kind
    with pytest.raises(UserError, match=r"no key 'faults\.chip'; did you mean faults\.chips\?"):
        config_reference.explain("faults.chip")


def test_the_command_explains_and_prints_the_schema():
    assert "faults.chips  (integer; default 5; at least 1, at most 10000)" in call("faults.chips").output
    assert call("--explain", "faults.chips").output == call("faults.chips").output
    schema = json.loads(call("--schema").stdout)
    assert schema["properties"].keys() >= {"seed", "model", "chip", "simulate"}
    assert "preset" in schema["$defs"]["ChipConfig"]["properties"]
    assert json.loads(call("faults.chips", "--json").stdout)[0]["name"] == "faults.chips"
    refused = call("faults", "--schema")
    assert (refused.exit_code, "leave out the names" in refused.stderr) == (2, True)
