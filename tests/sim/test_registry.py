"""Registries of kinds: what is known by name, and what looking a kind up loads."""

from __future__ import annotations

import sys

import pytest

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.registry import Registry, kind_mapping, parse_kind

KIND = """
from typing import ClassVar
from pydantic import Field
from crossvote.sim.common.schema import config_dataclass
from {package} import KINDS

@KINDS.register("{name}")
@config_dataclass
class Kind:
    kind: ClassVar[str] = "{name}"
    size: int = Field(default=1, ge=1)
"""


@pytest.fixture
def kinds(tmp_path, monkeypatch, request):
    """A registry of a package of its own with the kinds 'far-off' and 'near', and a file that they share."""
    name = f"kinds_of_{request.node.name}".partition("[")[0]
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text(
        "from crossvote.sim.common.registry import Registry\n"
        'KINDS = Registry("sort of thing", __name__, lazy=True, first="near")\n'
    )
    for kind in ("far-off", "near"):
        (package / f"{kind.replace('-', '_')}.py").write_text(KIND.format(package=name, name=kind))
    (package / "_shared.py").write_text("raise RuntimeError('a shared file is no kind')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield __import__(name).KINDS
    for loaded in [other for other in sys.modules if other.partition(".")[0] == name]:
        del sys.modules[loaded]


def test_names_are_known_without_loading_a_kind_and_one_look_up_loads_one(kinds):
    package = kinds["near"].__module__.rpartition(".")[0]
    assert kinds.names() == ("near", "far-off")
    assert (list(kinds), "far-off" in kinds, "_shared" in kinds) == (["near", "far-off"], True, False)
    assert f"{package}.far_off" not in sys.modules
    assert {name: kind.kind for name, kind in kinds.items()} == {"near": "near", "far-off": "far-off"}
    assert f"{package}.far_off" in sys.modules


def test_a_kind_comes_from_its_name_a_table_or_is_one_already(kinds):
    plain = parse_kind(kinds, "far-off")
    assert kind_mapping(plain) == {"kind": "far-off", "size": 1}
    assert parse_kind(kinds, {"size": 2}, default="near").size == 2
    assert parse_kind(kinds, plain) is plain
    assert parse_kind(kinds, kind_mapping(plain)) == plain


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("of", r"unknown sort of thing 'of'; there are near, far-off\."),
        ("faroff", r"unknown sort of thing 'faroff'; did you mean 'far-off'\?"),
        ({"kind": "neat"}, r"did you mean 'near'\?"),
        ({"size": 1}, "a sort of thing needs its kind, one of near, far-off"),
        ({"kind": 1}, "needs its kind"),
        ({"kind": "near", "size": 0}, "sort of thing 'near': .*size"),
        (7, r"a sort of thing is a name \(near, far-off\) or a table with its kind and settings"),
    ],
)
def test_what_is_no_kind_is_refused(kinds, value, message):
    with pytest.raises(UserError, match=message):
        parse_kind(kinds, value)


def test_the_source_of_a_wrong_table_is_named(kinds):
    with pytest.raises(UserError, match=r"^own\.toml: unknown sort of thing 'x'"):
        parse_kind(kinds, "x", "own.toml")
    with pytest.raises(UserError, match=r"^own\.toml: .*size"):
        parse_kind(kinds, {"kind": "near", "size": "wide"}, "own.toml")


def test_a_registry_of_light_kinds_finds_several_in_a_file(kinds, tmp_path):
    package = kinds["near"].__module__.rpartition(".")[0]
    (tmp_path / package / "far_off.py").unlink()
    (tmp_path / package / "both.py").write_text(
        f"from {package} import LIGHT\nLIGHT.register('a')(1)\nLIGHT.register('b')(2)\n"
    )
    light: Registry[int] = Registry("number", package)
    sys.modules[package].LIGHT = light
    assert list(light) == ["a", "b"]
    assert light["b"] == 2


def test_a_name_is_given_once():
    own: Registry[type] = Registry("sort", "crossvote.sim.array.patterns")
    own.register("twice")(int)
    with pytest.raises(ValueError, match="two kinds of sort are called 'twice'"):
        own.register("twice")(str)
