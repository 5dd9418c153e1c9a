"""The protection schemes that have a name of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from crossvote.sim.common.errors import UserError
from crossvote.swstack.mapping.scheme import Scheme, scheme_from

#: What ``[map.protection.NAME]`` would say of each; without a ``kind``, it is one of "replicas".
_SETTINGS: dict[str, dict[str, Any]] = {
    "none": {},
    "none-column": {"scale": "column"},
    "paper": {"flip": "msb", "replicas": {"msb": 3}, "vote": "output"},
    "best": {"flip": "all", "replicas": {"msb": 3}, "vote": "crossbar", "scale": "column", "placement": "packed"},
    # The paper's stages alone and together, one scale per column.
    "flip-msb": {"flip": "msb", "scale": "column"},
    "flip-all": {"flip": "all", "scale": "column"},
    "vote-msb": {"replicas": {"msb": 3}, "vote": "output", "scale": "column"},
    "paper-column": {"flip": "msb", "replicas": {"msb": 3}, "vote": "output", "scale": "column"},
    "paper-crossbar": {"flip": "msb", "replicas": {"msb": 3}, "vote": "crossbar", "scale": "column"},
    "paper-alone": {"flip": "msb", "replicas": {"msb": 3}, "vote": "alone", "scale": "column"},
    # Copies that are not embedded into the bit lines of pruned outputs: their true overhead.
    "msb-beside": {"replicas": {"msb": 3}, "vote": "output", "scale": "column", "placement": "beside"},
    "triplicated": {"replicas": {"all": 3}, "vote": "output", "scale": "column", "placement": "beside"},
    # Codes of the top planes, copies summed or voted on.
    "mean5": {"kind": "fixed", "lines": (4, 3, 1, 1, 1), "scale": "column", "placement": "free"},
    "mean4": {"kind": "fixed", "lines": (5, 3, 1, 1), "scale": "column", "placement": "free"},
    "vote5": {"kind": "fixed", "lines": (3, 3, 2, 1, 1), "voted": (0, 1), "scale": "column", "placement": "free"},
    # Codes by optimisation, summed copies only: nothing votes.
    "code": {"kind": "optimal"},
    "code-group": {"kind": "optimal", "per": "group"},
    "code-apart": {"kind": "optimal", "placement": "apart"},
    "code-tensor": {"kind": "optimal", "scale": "tensor"},
    "code-vote": {"kind": "optimal", "votes": True},
    # One step for a whole matrix leaves most weights few of them: no plane can be given up, and only small rates are
    # stood, at which votes are far stronger than sums.
    "code-vote-tensor": {"kind": "optimal", "scale": "tensor", "design_rate": 0.001, "votes": True},
    # The fault map is known, and cells are programmed around it: to be compared with each other only.
    "closest": {"kind": "closest", "scale": "column", "flip": "none"},
    "closest5": {
        "kind": "closest",
        "lines": (4, 3, 1, 1, 1),
        "scale": "column",
        "flip": "none",
        "placement": "free",
    },
    "turned": {"kind": "turned", "scale": "column", "flip": "none"},
    "permuted": {"kind": "permuted", "scale": "column", "flip": "none"},
    "placed": {"kind": "placed", "scale": "column", "flip": "none"},
    "placed7": {
        "kind": "placed",
        "lines": (3, 2, 1, 1, 1, 1, 1),
        "scale": "column",
        "flip": "none",
        "placement": "free",
    },
}


@cache
def _made(name: str) -> Scheme:
    return scheme_from(_SETTINGS[name], name)


class Schemes(Mapping[str, Scheme]):
    """The shipped schemes and a run's ``own`` by name. A shipped one is made when it is asked for: a run has a few of
    them, and loads the kinds of no other.
    """

    def __init__(self, own: Mapping[str, Scheme]) -> None:
        self._own = own

    def __getitem__(self, name: str) -> Scheme:
        return self._own[name] if name in self._own else _made(name)

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in _SETTINGS

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*_SETTINGS, *self._own)))

    def __len__(self) -> int:
        return sum(1 for _ in self)


PRESETS = Schemes({})


def preset(name: str) -> Scheme:
    """The named scheme.

    Raises:
        UserError: there is no such preset.
    """
    if name not in PRESETS:
        raise UserError(f"unknown protection preset '{name}'; there are {', '.join(PRESETS)}.")
    return PRESETS[name]
