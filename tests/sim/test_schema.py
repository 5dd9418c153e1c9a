"""Configurations take values of the right type and size only, and say in one sentence what is wrong."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import pickle
from typing import Any, Literal

import pytest
from pydantic import Field

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import build, config_dataclass, to_mapping


@config_dataclass
class Part:
    count: int = Field(default=1, ge=0)
    share: float = Field(default=0.5, ge=0)
    on: bool = False
    names: tuple[str, ...] = ()


@config_dataclass
class Whole:
    part: Part = Field(default_factory=Part)
    kind: Literal["a", "b"] = "a"
    table: dict[str, int] = Field(default_factory=dict)
    limit: int | None = None


def test_values_of_the_right_type_are_taken() -> None:
    data = {"part": {"count": 3, "share": 1, "on": True, "names": ["x", "y"]}, "kind": "b", "table": {"t": 4}}
    whole = build(Whole, data, "file")
    assert whole.part == Part(count=3, share=1.0, on=True, names=("x", "y"))
    assert build(Whole, to_mapping(whole), "file") == whole


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"part": {"count": True}}, "file: key 'part.count' = True: .*valid integer"),
        ({"part": {"count": 3.0}}, "file: key 'part.count' = 3.0: .*valid integer"),
        ({"part": {"count": "3"}}, "file: key 'part.count' = '3': .*valid integer"),
        ({"part": {"share": False}}, "key 'part.share' = False: .*valid number"),
        ({"part": {"share": "0.5"}}, "key 'part.share' = '0.5': .*valid number"),
        ({"part": {"share": float("nan")}}, "key 'part.share' = .*finite number"),
        ({"part": {"share": float("inf")}}, "key 'part.share' = .*finite number"),
        ({"part": {"on": 1}}, "key 'part.on' = 1: .*boolean"),
        ({"part": {"on": "yes"}}, "key 'part.on' = 'yes': .*boolean"),
        ({"part": {"names": "x"}}, "key 'part.names' = 'x': .*array"),
        ({"part": {"names": [1]}}, "key 'part.names.0' = 1: .*string"),
        ({"part": 3}, "key 'part' = 3: must be a table of keys"),
        ({"part": {"counts": 3}}, "unknown key 'part.counts'; did you mean 'count'"),
        ({"kind": "c"}, "key 'kind' = 'c'"),
        ({"table": {"t": 1.0}}, "key 'table.t' = 1.0: .*valid integer"),
        ({"limit": "none"}, "key 'limit' = 'none'"),
        ({"limit": 10**19}, "key 'limit': no number may be 9.22e\\+18 or more"),
        ({"part": {"names": ["x"], "count": -(2**63)}}, "key 'part.count': no number may be"),
        ({"limit": datetime.date(2024, 1, 1)}, "dates and times are no values"),
    ],
)
def test_other_values_are_refused_in_one_sentence(data: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build(Whole, data, "file")
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith((".", "?"))


def test_python_callers_are_checked_as_strictly() -> None:
    for values in ({"count": True}, {"count": 1.0}, {"share": "1"}, {"on": 0}):
        with pytest.raises(ValueError, match="valid"):
            Part(**values)


@config_dataclass
class Longer(Part):
    more: str = "m"

    @property
    def doubled(self) -> int:
        return 2 * self.count


def test_configurations_are_values() -> None:
    part = Part(count=3)
    assert part == Part(count=3)
    assert part != Part(count=4)
    assert part != Longer(count=3)
    assert len({part, Part(count=3), Part(count=4), Longer(count=3)}) == 3
    assert repr(Longer(count=3)) == "Longer(count=3, share=0.5, on=False, names=(), more='m')"
    assert dataclasses.replace(Longer(count=3), more="n").doubled == 6
    for same in (copy.copy(part), copy.deepcopy(part), pickle.loads(pickle.dumps(part))):
        assert same == part


def test_a_configuration_does_not_change() -> None:
    part = Longer(count=3)
    with pytest.raises(dataclasses.FrozenInstanceError, match="'count'"):
        part.count = 4  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="'other'"):
        part.other = 4  # type: ignore[attr-defined]
    with pytest.raises(dataclasses.FrozenInstanceError, match="'count'"):
        del part.count
    assert part == Longer(count=3)


def test_what_configurations_share_is_made_once() -> None:
    """Making a method for each class is what loading them spent half of its time on."""
    for name in ("__eq__", "__hash__", "__repr__", "__setattr__", "__delattr__"):
        assert getattr(Part, name) is getattr(Longer, name)
