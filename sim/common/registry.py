"""Registered kinds: a kind is one file with one class; adding one touches no list and no branch elsewhere."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from typing import Generic, TypeVar

from crossvote.sim.common.errors import UserError

T = TypeVar("T")


class Registry(Generic[T]):
    """The kinds of one sort of thing, by name.

    Args:
        what: the sort in words, for messages. package: every module in it is imported before the first look-up, so that
            the kinds that lie there are known.
    """

    def __init__(self, what: str, package: str) -> None:
        self._what, self._package = what, package
        self._kinds: dict[str, T] = {}
        self._found = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that makes something known as ``name``.

        Raises:
            ValueError: the name is taken.
        """

        def add(kind: T) -> T:
            if name in self._kinds:
                raise ValueError(f"two {self._what}s are called '{name}'.")
            self._kinds[name] = kind
            return kind

        return add

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        self._find()
        return tuple(sorted(self._kinds))

    def __getitem__(self, name: str) -> T:
        """The kind called ``name``.

        Raises:
            UserError: there is none; the message names the nearest, or all.
        """
        self._find()
        if name not in self._kinds:
            near = difflib.get_close_matches(name, self._kinds, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(self.names())}."
            raise UserError(f"unknown {self._what} '{name}'; {hint}")
        return self._kinds[name]

    def _find(self) -> None:
        if not self._found:
            self._found = True
            package = importlib.import_module(self._package)
            for module in sorted(info.name for info in pkgutil.iter_modules(package.__path__)):
                importlib.import_module(f"{self._package}.{module}")
