"""Every number of a configuration has bounds, types are strict, and what lies outside is refused in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import tomli_w
from pydantic import TypeAdapter

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import merge, to_mapping
from crossvote.swstack.experiment.config import RunConfig, load_config
from crossvote.swstack.experiment.overrides import parse_override
from crossvote.swstack.experiment.shipped import shipped_configs

SCHEMA = TypeAdapter(RunConfig).json_schema()
#: Checked by a rule of their own, which the schema does not show.
RULES = {"faults.rates.0", "faults.sa0_sa1.0", "faults.sa0_sa1.1"}


def numbers(node: dict[str, Any], key: str = "", seen: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Dotted key and schema of every number; a table of the user's own names is entered once, as NAME."""
    if "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[-1]
        if name not in seen:
            yield from numbers(SCHEMA["$defs"][name], key, (*seen, name))
        return
    for choice in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from numbers(choice, key, seen)
    if node.get("type") in ("integer", "number"):
        yield key, node
    parts = dict(node.get("properties", {}))
    if isinstance(node.get("additionalProperties"), dict):
        parts["NAME"] = node["additionalProperties"]
    parts.update({str(i): part for i, part in enumerate(node.get("prefixItems", ()))})
    if isinstance(node.get("items"), dict):
        parts["0"] = node["items"]
    for name, part in parts.items():
        yield from numbers(part, f"{key}.{name}" if key else name, seen)


FOUND = list(numbers(SCHEMA))


def test_every_number_has_a_lower_and_an_upper_bound():
    assert len(FOUND) > 100
    open_ended = [
        key
        for key, node in FOUND
        if key not in RULES
        and not (({"minimum", "exclusiveMinimum"} & set(node)) and ({"maximum", "exclusiveMaximum"} & set(node)))
    ]
    assert open_ended == []


#: Keys that stand in every configuration, so that a changed one is all that is wrong.
PLAIN = [key for key, _ in FOUND if not {"NAME", "0", "1"} & set(key.split(".")) and "protection" not in key]


@pytest.fixture(scope="module")
def base():
    return to_mapping(load_config(shipped_configs()["default"]))


@pytest.mark.parametrize("value", ["1e18", "9223372036854775807", "-7", "true", "'many'"])
def test_absurd_values_of_any_number_are_refused_in_one_sentence(base, tmp_path, value):
    path = tmp_path / "own.toml"
    refused = {}
    for key in PLAIN:
        path.write_text(tomli_w.dumps(merge(base, parse_override(f"{key}={value}"))), encoding="utf-8")
        try:
            load_config(path)
        except UserError as error:
            refused[key] = str(error)
    unclear = {
        key: said
        for key, said in refused.items()
        if key.rsplit(".", 1)[-1] not in said or "\n" in said or len(said) > 500
    }
    assert unclear == {}
    # A seed may be any whole number that fits.
    assert set(PLAIN) - set(refused) == ({"seed"} if value == "9223372036854775807" else set())


@pytest.mark.parametrize("text", ["faults.rates=[2.0]", "faults.rates=[]", "faults.sa0_sa1=[-1.0, 2.0]",
                                  "faults.sa0_sa1=[0.0, 0.0]"])  # fmt: skip
def test_rates_and_ratios_have_rules_of_their_own(base, tmp_path, text):
    path = tmp_path / "own.toml"
    path.write_text(tomli_w.dumps(base), encoding="utf-8")
    with pytest.raises(UserError, match=r"faults\.\w+"):
        load_config(path, [text])
