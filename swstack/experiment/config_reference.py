"""Every key of a run's configuration with its type, default, bounds and meaning, read from the classes themselves."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from crossvote.sim.array.patterns import PATTERNS
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.registry import Registry
from crossvote.sim.common.schema import adapter
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.mapping.scheme import SCHEMES
from crossvote.swstack.pruning.methods import METHODS
from crossvote.swstack.pruning.noise import NOISES

#: Stands for a name that the user gives.
NAME = "NAME"

_NO_DEFAULT = object()


@dataclass(frozen=True)
class Key:
    """One key.

    name: dotted, with ``NAME`` where the user gives a name. kind: its TOML type, or the words it may be.
    default: as JSON, empty where it has none. bounds: of numbers and lengths. text: what it means.
    """

    name: str
    kind: str
    default: str
    bounds: str
    text: str


class _Generator(GenerateJsonSchema):
    """Plain defaults are written as they are; pydantic would make a serializer for each, a third of the time."""

    def encode_default(self, dft: Any) -> Any:
        return dft if isinstance(dft, str | int | float | None) else super().encode_default(dft)


def _described(cls: type) -> dict[str, Any]:
    return adapter(cls).json_schema(schema_generator=_Generator)


def schema() -> dict[str, Any]:
    """JSON schema of a run's TOML file, for editors; ``chip.preset`` is added, which only files have."""
    found = _described(RunConfig)
    found["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    chip = found["$defs"]["ChipConfig"]
    chip["properties"]["preset"] = {
        "type": "string",
        "description": "A shipped chip or a TOML file; the other keys of [chip] change single values of it.",
    }
    # A file gives few keys; what is left out comes from the preset or the default.
    chip["required"] = []
    return found


def all_keys() -> list[Key]:
    """All keys, in the order of the classes."""
    found = schema()
    result = list(_walk(found, found["$defs"], ""))
    known = {key.name for key in result}
    for table, kinds in _registered().items():
        words = ", ".join(f"`{kind}`" for kind in kinds)
        result.append(Key(f"{table}.kind", words, "", "", "Which of the registered kinds."))
        # A key that several kinds have is listed once, unless it means something else there.
        own: dict[Key, list[str]] = {}
        for kind, cls in kinds.items():
            described = _described(cls)
            for key in _walk(described, described.get("$defs", {}), f"{table}."):
                if key.name not in known and key.name != f"{table}.kind":
                    own.setdefault(key, []).append(kind)
        result += [replace(key, text=f"{key.text} (kind {', '.join(of)})") for key, of in own.items()]
    return result


def _registered() -> dict[str, dict[str, type]]:
    """Tables whose keys depend on their ``kind``: name of the table -> kind -> class."""
    registries: dict[str, Registry[Any]] = {
        "fault_training.noise": NOISES,
        "faults.pattern": PATTERNS,
        f"map.protection.{NAME}": SCHEMES,
    }
    return {table: dict(kinds.items()) for table, kinds in registries.items()}


def method_keys() -> list[Key]:
    """The keys that one pruning method alone has. For these PyTorch is loaded, so they are no part of ``all_keys``."""
    return [
        replace(key, name=f"prune.methods.{name}.{key.name}")
        for name, method in METHODS.items()
        for key in keys_of(method.Settings)
    ]


def explain(name: str) -> list[Key]:
    """The key ``name``, or all keys of a section.

    Raises:
        UserError: no such key; the nearest one is named.
    """
    every = all_keys()
    if f"{name}.".startswith("prune.methods."):
        every += method_keys()
    wanted = [key for key in every if key.name == name or key.name.startswith(f"{name}.")]
    if not wanted:
        near = difflib.get_close_matches(name, [key.name for key in every], n=1, cutoff=0.4)
        raise UserError(f"there is no key '{name}'{f'; did you mean {near[0]}?' if near else '.'}")
    return wanted


def reference() -> str:
    """The reference page as Markdown: one table per section."""
    sections: dict[str, list[Key]] = {}
    for key in [*all_keys(), *method_keys()]:
        section, _, _ = key.name.rpartition(".")
        sections.setdefault(section, []).append(key)
    lines = [
        "# Configuration reference",
        "",
        "Generated from the classes that check a configuration (`crossvote config --reference`); the same text is in",
        "`crossvote config KEY`, and `crossvote config --schema` prints the JSON schema for editors.",
    ]
    for section, own in sections.items():
        lines += ["", f"## {f'`[{section}]`' if section else 'Top level'}", "", *_table(own, whole=False)]
    return "\n".join(lines) + "\n"


def _walk(node: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str) -> Iterator[Key]:
    for name, field in node.get("properties", {}).items():
        full = f"{prefix}{name}"
        section = _definition(field, definitions)
        if section is not None:
            yield from _walk(section, definitions, f"{full}.")
            continue
        more = field.get("additionalProperties")
        named = _definition(more, definitions) if isinstance(more, Mapping) else None
        yield Key(full, _kind(field, definitions), _default(field), _bounds(field), _text(field))
        if named is not None:
            yield from _walk(named, definitions, f"{full}.{NAME}.")


def _definition(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The table that a field is, if it is one."""
    reference = field.get("$ref") or next((part["$ref"] for part in field.get("allOf", ()) if "$ref" in part), None)
    if reference is None:
        return None
    found: Mapping[str, Any] = definitions[reference.rpartition("/")[2]]
    return found if found.get("type") == "object" else None


def _kind(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "$ref" in field:
        return _kind(definitions[field["$ref"].rpartition("/")[2]], definitions)
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    for union in ("anyOf", "oneOf"):
        if union in field:
            parts = [_kind(part, definitions) for part in field[union] if part.get("type") != "null"]
            return " or ".join(dict.fromkeys(parts))
    if field.get("type") == "array":
        items: Any = field.get("items") or next(iter(field.get("prefixItems", [])), {})
        return f"list of {_kind(items, definitions)}"
    if field.get("type") == "object":
        more = field.get("additionalProperties")
        return f"table of {_kind(more, definitions)}" if isinstance(more, Mapping) else "table"
    return str(field.get("type", "any"))


def _default(field: Mapping[str, Any]) -> str:
    value = field.get("default", _NO_DEFAULT)
    return "" if value is _NO_DEFAULT or value is None else json.dumps(value)


def _bounds(field: Mapping[str, Any]) -> str:
    own = next((part for part in field.get("anyOf", ()) if part.get("type") != "null"), field)
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
        "minItems": "length at least",
        "maxItems": "length at most",
    }
    return ", ".join(f"{text} {own[key]:g}" for key, text in words.items() if key in own)


def _text(field: Mapping[str, Any]) -> str:
    text = " ".join(str(field.get("description", "")).split())
    first = text.partition(" ")[0]
    return f"{text[:1].upper()}{text[1:]}" if first.isalpha() else text


def files_reference() -> str:
    """The keys of a campaign's and an exploration's TOML file as a page."""
    lines = ["# Campaign and exploration files", "", "Generated from the classes that check them."]
    for title, kind in file_kinds().items():
        lines += ["", f"## {title}", "", *_table(keys_of(kind))]
    return "\n".join(lines) + "\n"


def file_kinds() -> dict[str, type]:
    """What other TOML files there are than a run's: title -> class."""
    from crossvote.swstack.experiment.campaign.exploration import ExplorationSpec
    from crossvote.swstack.experiment.campaign.spec import CampaignSpec

    return {"`crossvote sweep`": CampaignSpec, "`crossvote explore`": ExplorationSpec}


def keys_of(kind: type) -> list[Key]:
    """All keys of a configuration class."""
    found = _described(kind)
    return list(_walk(found, found.get("$defs", {}), ""))


def _table(keys: list[Key], whole: bool = True) -> list[str]:
    """Markdown rows of keys, with their whole names or the last part."""
    lines = ["| key | type | default | bounds | meaning |", "| --- | --- | --- | --- | --- |"]
    for key in keys:
        name = key.name if whole else key.name.rpartition(".")[2]
        cells = (f"`{name}`", key.kind, key.default and f"`{key.default}`", key.bounds, key.text)
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return lines
