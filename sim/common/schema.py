"""Validated configuration: frozen dataclasses checked by pydantic, errors as one clear sentence."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import tomllib
from collections.abc import Mapping
from datetime import date, time
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast, dataclass_transform, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import ErrorDetails

from crossvote.sim.common.errors import UserError

T = TypeVar("T")

#: Bound of whole numbers, beyond which NumPy and PyTorch have no type for them. Fields have tighter ones of their own.
_LARGEST = 1 << 63


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field, dataclasses.field))
def config_dataclass(cls: type[T]) -> type[T]:
    """Make ``cls`` a frozen, keyword-only configuration class that refuses unknown keys and wrong types.

    Types are strict: no number is made of a text or a truth value, no integer of a float. What compares, hashes, shows
    and refuses changes is one set of functions for all classes; ``dataclasses`` would compile them anew for each, about
    a millisecond a class, and a command that only reads loads fifty.
    """
    strict = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True, defer_build=True)
    decorate = pydantic_dataclass(kw_only=True, eq=False, repr=False, config=strict)
    made = decorate(cls)
    for name, method in _SHARED.items():
        if name not in vars(cls):
            setattr(made, name, method)
    return cast(type[T], made)


@cache
def _names(cls: Any) -> tuple[str, ...]:
    """The fields of a configuration class, in order."""
    return tuple(field.name for field in dataclasses.fields(cls))


def _items(config: Any) -> tuple[tuple[str, Any], ...]:
    """Names and values of the fields, in order."""
    cls: Any = type(config)
    return tuple((name, getattr(config, name)) for name in _names(cls))


class _Frozen:
    """The methods of every configuration class, as ``dataclasses`` would write them for each."""

    def __eq__(self, other: object) -> Any:
        return _items(self) == _items(other) if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(_items(self))

    def __repr__(self) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in _items(self))})"

    def __setattr__(self, name: str, value: Any) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field '{name}'")

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field '{name}'")


_SHARED = {name: vars(_Frozen)[name] for name in ("__eq__", "__hash__", "__repr__", "__setattr__", "__delattr__")}


def build(cls: type[T], data: Mapping[str, Any], where: str, context: Mapping[str, Any] | None = None) -> T:
    """An instance of the configuration class ``cls`` from parsed TOML or JSON.

    ``where`` names the source in messages (a file, or "the command line"); ``context`` is for validators that ask.

    Raises:
        UserError: an unknown key (with the nearest known one), a wrong type or an impossible value.
    """
    try:
        # Strict types know tables and lists in JSON only; from Python objects they want instances and tuples.
        text = json.dumps(dict(data), default=_plain)
    except RecursionError:
        raise UserError(f"{where}: tables or lists are nested too deep.") from None
    except TypeError as error:
        raise UserError(f"{where}: {error}.") from None
    too_large = _too_large(data)
    if too_large is not None:
        raise UserError(f"{where}: key '{too_large}': no number may be {_LARGEST:.3g} or more.")
    try:
        return adapter(cls).validate_json(text, strict=True, context=context)
    except ValidationError as error:
        # A mistake inside one alternative of a union is reported once per alternative; the first is the clearest.
        found = error.errors()
        missing = [_dotted(one) for one in found if one["type"] in _MISSING]
        if len(missing) > 1 and found[0]["type"] in _MISSING:  # all at once, or a file takes as many attempts
            named = ", ".join(f"'{key}'" for key in missing)
            raise UserError(f"{where}: the keys {named} are missing.") from None
        raise UserError(f"{where}: {_sentence(cls, found[0])}") from None


def _plain(value: Any) -> Any:
    """A number of NumPy, and a path, as a configuration writes it."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return value.item()
    if isinstance(value, date | time):
        raise TypeError("dates and times are no values of a configuration")
    raise TypeError(f"a {type(value).__name__} is no value of a configuration")


#: What checks each class; it takes milliseconds to build, a hundred times as long as to use.
_adapters: dict[type, TypeAdapter[Any]] = {}


def adapter(cls: type[T]) -> TypeAdapter[T]:
    """What pydantic checks values of a class with, made once."""
    if cls not in _adapters:
        _adapters[cls] = TypeAdapter(cls)
    return _adapters[cls]


def _too_large(value: Any, key: str = "") -> str | None:
    """Key of the first whole number that 63 bits and a sign do not hold; None if there is none."""
    if isinstance(value, int):
        return key if abs(value) >= _LARGEST else None
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    inside = (_too_large(item, f"{key}.{name}" if key else str(name)) for name, item in items)
    return next((found for found in inside if found is not None), None)


#: How pydantic says that a key is absent.
_MISSING = ("missing", "missing_argument")


def _dotted(error: ErrorDetails) -> str:
    return ".".join(str(part) for part in error["loc"]) or "value"


def _sentence(cls: type, error: ErrorDetails) -> str:
    location = [str(part) for part in error["loc"]]
    key = _dotted(error)
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _known_keys(cls, location[:-1])
        near = difflib.get_close_matches(location[-1], known, n=1)
        keys = f"known keys here are {', '.join(known)}." if known else "there are no keys here."
        hint = f"did you mean '{near[0]}'?" if near else keys
        return f"unknown key '{key}'; {hint}"
    if error["type"] in _MISSING:
        return f"key '{key}' is missing."
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] in ("dataclass_type", "dict_type"):
        message = "must be a table of keys"
    first = message[:1] if message[1:2].isupper() or message[1:2].isdigit() else message[:1].lower()
    message = f"{first}{message[1:]}{'' if message.endswith(('.', '?')) else '.'}"
    if not location:  # a rule between several keys, which the message names itself
        return message
    shown = error["input"]
    text = repr(shown)
    text = text if len(text) <= 80 else f"{text[:77]}..."
    value = f" = {text}" if isinstance(shown, str | int | float | bool | list | tuple) else ""
    return f"key '{key}'{value}: {message}"


def _known_keys(cls: Any, path: list[str]) -> list[str]:
    for part in path:
        # Annotations may be strings; only get_type_hints resolves them in the module that wrote them.
        hints = get_type_hints(cls) if dataclasses.is_dataclass(cls) else {}
        cls = hints.get(part)
    return [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []


def to_mapping(config: Any) -> dict[str, Any]:
    """The configuration as plain TOML/JSON values; ``build`` turns it back into an equal object.

    Keys whose value is ``None`` are left out, because TOML has no null: absent means the default.
    """
    values: dict[str, Any] = _without_none(adapter(type(config)).dump_python(config, mode="json"))
    return values


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    return value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``over`` laid over it, table by table."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def flat_keys(table: Mapping[str, Any], prefix: str = "", *, keep_empty: bool = False) -> dict[str, Any]:
    """Nested tables as one with dotted keys, so that ``[grid.task]`` and ``"task.name"`` are the same.

    keep_empty: a table without keys is a value of its own, instead of nothing.
    """
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping) and (value or not keep_empty):
            flat.update(flat_keys(value, f"{prefix}{key}.", keep_empty=keep_empty))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def read_toml(path: Path) -> dict[str, Any]:
    """The parsed TOML file.

    Raises:
        UserError: the file is absent, unreadable or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows put a byte-order mark
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}).") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not a TOML file: {error}.") from None
    except RecursionError:
        raise UserError(f"{path}: tables or lists are nested too deep.") from None
