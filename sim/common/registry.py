"""Registered kinds: a kind is one file that registers itself; adding one touches no list and no branch elsewhere.

The files of a sort's package are imported before the first look-up, but for those that begin with an underscore, which
hold what several kinds share. Where kinds load something heavy, the registry is *lazy*: the kind NAME lies in NAME.py,
with _ for -, so that names are known without importing any kind, and looking one up imports no other.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar, cast

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import build, to_mapping

T = TypeVar("T")
Registered = TypeVar("Registered")


class Registry(Generic[T]):
    """The kinds of one sort of thing, by name; iterating gives the names.

    Args:
        what: the sort in words, for messages. package: where the files of its kinds lie. lazy: see this module.
        first: the name that is listed before the others, which follow in the alphabet's order.
    """

    def __init__(self, what: str, package: str, *, lazy: bool = False, first: str = "") -> None:
        self.what = what
        self._package, self._lazy, self._first = package, lazy, first
        self._kinds: dict[str, T] = {}
        self._listed: dict[tuple[str, ...], list[str]] = {}

    def register(self, name: str) -> Callable[[Registered], Registered]:
        """Decorator that makes something known as ``name``.

        Raises:
            ValueError: the name is taken.
        """

        def add(kind: Registered) -> Registered:
            if name in self._kinds:
                raise ValueError(f"two kinds of {self.what} are called '{name}'.")
            self._kinds[name] = kind  # type: ignore[assignment]  # the sort's own protocol, which the caller keeps
            return kind

        return add

    def names(self) -> tuple[str, ...]:
        """All names; a lazy registry imports no kind for them."""
        if not self._lazy:
            for name in self._files():
                importlib.import_module(f"{self._package}.{name}")
        named = {name.replace("_", "-") for name in self._files()} if self._lazy else set()
        return tuple(sorted(named | set(self._kinds), key=lambda name: (name != self._first, name)))

    def items(self) -> Iterator[tuple[str, T]]:
        """Names and kinds; imports all of them."""
        return ((name, self[name]) for name in self.names())

    def values(self) -> Iterator[T]:
        """All kinds, in the order of their names."""
        return (kind for _, kind in self.items())

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __getitem__(self, name: str) -> T:
        """The kind called ``name``.

        Raises:
            UserError: there is none; the message names the nearest, or all.
        """
        if name not in self._kinds:
            known = self.names()
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}."
                raise UserError(f"unknown {self.what} '{name}'; {hint}")
            if self._lazy:
                importlib.import_module(f"{self._package}.{name.replace('-', '_')}")
        return self._kinds[name]

    def _files(self) -> list[str]:
        """Modules of the package; folders are read once, because a simulation asks dozens of times."""
        folders = tuple(importlib.import_module(self._package).__path__)
        if folders not in self._listed:
            found = (info.name for info in pkgutil.iter_modules(folders) if not info.name.startswith("_"))
            self._listed[folders] = sorted(found)
        return self._listed[folders]


#: What a field that takes a kind may be in a file, for ``WithJsonSchema``: a name, or a table of settings.
KIND_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "object"}]}


def parse_kind(registry: Registry[type[T]], value: Any, where: str = "", default: str = "") -> T:
    """An instance of a registered configuration class: from its name, or from a table of settings with it as ``kind``.

    Args:
        where: names the source in messages; the sort and the kind by default. default: the kind of a table without one.

    Raises:
        UserError: neither, an unknown kind, or an unknown or impossible setting.
    """
    if isinstance(getattr(value, "kind", None), str):
        return cast(T, value)  # an instance already
    if isinstance(value, str):
        value = {"kind": value}
    if not isinstance(value, Mapping):
        known = ", ".join(registry)
        raise UserError(f"a {registry.what} is a name ({known}) or a table with its kind and settings.")
    name = value.get("kind", default)
    if not isinstance(name, str) or not name:
        raise UserError(f"a {registry.what} needs its kind, one of {', '.join(registry)}.")
    settings = {key: setting for key, setting in value.items() if key != "kind"}
    try:
        kind = registry[name]
    except UserError as error:
        raise UserError(f"{where}: {error}" if where else str(error)) from None
    return build(kind, settings, where or f"{registry.what} '{name}'")


def kind_mapping(value: Any) -> dict[str, Any]:
    """An instance of a registered configuration class as plain values, which ``parse_kind`` turns back."""
    return {"kind": value.kind, **to_mapping(value)}
