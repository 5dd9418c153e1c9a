"""What ``-o section.key=value`` says, and how it is laid over a configuration without dropping anything in silence."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import merge

#: Keys of which the value is a name, or a table with that name as its kind and with settings; * is the user's word.
KINDS = ("faults.pattern", "fault_training.noise", "map.protection.*")

Path = tuple[str, ...]


def lay_over(data: Mapping[str, Any], overrides: Mapping[str, Mapping[str, Any]], where: str = "") -> dict[str, Any]:
    """``data`` with parsed overrides laid over it, table by table and one after the other.

    The settings of a key that takes a kind may be given one by one where the kind is named alone.

    Args:
        overrides: text -> what ``parse_override`` makes of it. where: names the source of ``data``.

    Raises:
        UserError: a key is given as a whole and by its parts, of which one would be dropped.
    """
    before: dict[Path, str] = {}  # the keys that were given, and by which override
    laid = dict(data)
    for text, parsed in overrides.items():
        for key, value in _leaves(parsed):
            for length in range(1, len(key)):
                whole, name = _at(laid, key[:length]), ".".join(key[:length])
                if whole is None or isinstance(whole, Mapping):
                    continue
                if isinstance(whole, str) and any(fnmatchcase(name, kind) for kind in KINDS):
                    laid = merge(laid, _nested(key[:length], {"kind": whole}))
                    continue
                source = f"-o {before[key[:length]]}" if key[:length] in before else where
                raise UserError(
                    f"-o {text}: '{name}' is {_short(whole)} by {source}, which would be dropped; give the one or "
                    "the other."
                )
            for earlier, by in before.items():
                if earlier[: len(key)] == key and len(earlier) > len(key) and not isinstance(value, Mapping):
                    raise UserError(
                        f"-o {text}: the earlier -o {by} would be dropped; give '{'.'.join(key)}' as a whole or by its "
                        "parts."
                    )
            laid = merge(laid, _nested(key, value))
            before[key] = text
    return laid


def _leaves(table: Mapping[str, Any], prefix: Path = ()) -> Iterator[tuple[Path, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*prefix, name))
        else:
            yield (*prefix, name), value


def _nested(key: Path, value: Any) -> dict[str, Any]:
    for part in reversed(key):
        value = {part: value}
    found: dict[str, Any] = value
    return found


def _at(table: Any, key: Path) -> Any:
    for part in key:
        table = table.get(part) if isinstance(table, Mapping) else None
    return table


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def parse_override(text: str) -> dict[str, Any]:
    """``a.b=value`` as nested tables. The value is TOML; a bare word that is no TOML value is taken as a string.

    Raises:
        UserError: no ``=``, an odd key, or a value that is neither TOML nor a bare word.
    """
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(re.fullmatch(r"[\w-]+", part) for part in parts):
        raise UserError(f"override '{text}': must look like section.key=value, for example faults.chips=3.")
    try:
        found: dict[str, Any] = tomllib.loads(f"value = {value.strip()}")
        parsed = found.pop("value")
        if found:
            raise UserError(f"override '{text}': a value and nothing else; '{next(iter(found))}' is another key.")
        tomllib.loads(f"value = {{value = {value.strip()}}}")  # in which no comment has room
    except RecursionError:
        raise UserError(f"override '{text[:60]}...': lists or tables are nested too deep.") from None
    except tomllib.TOMLDecodeError:
        if not re.fullmatch(r"[\w./:~@+-]+", value.strip()):
            numbers = re.fullmatch(r"[-+.\deE_, ]*,[-+.\deE_, ]*", value.strip())
            hint = "a list is written [1, 2]" if numbers else "text needs quotes inside the shell's"
            raise UserError(f"override '{text}': '{value.strip()}' is not a TOML value ({hint}).") from None
        parsed = value.strip()
    nested: dict[str, Any] = {parts[-1]: parsed}
    for part in reversed(parts[:-1]):
        nested = {part: nested}
    return nested
