"""Typed records as JSON files: what is written comes back equal, and what is no such record is refused in a sentence.

What a program saves names its kind, so that no result is taken for another, and holds no wall time, so that equal
results are equal bytes.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import at_home, reading, write_text_atomic
from crossvote.sim.common.schema import adapter

#: Version of the files that programs save; raised when what a record holds changes its meaning or goes.
FORMAT = 1

R = TypeVar("R")


def as_record(kind: type[R], data: dict[str, Any]) -> R:
    """A record of the plain values of its fields.

    Raises:
        UserError: a field that no such record has, one that is missing, or one of another type.
    """
    if unknown := set(data) - {item.name for item in dataclasses.fields(kind)}:  # type: ignore[arg-type]
        raise UserError(f"damaged result (it has '{min(unknown)}', which no such result has).")
    try:
        # As JSON, since strict classes know tables and lists there only.
        return adapter(kind).validate_json(json.dumps(data))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"damaged result (key '{where}': {first['msg']}).") from None


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        UserError: it is no JSON; the file is named by the caller's ``reading``.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"not JSON ({error}).") from None


def save_record(path: str | Path, kind: str, record: Any) -> None:
    """Write a record as a file of its ``kind``; an older file is replaced whole.

    A score of outputs that were no numbers is written as ``NaN``, which Python reads back.

    Raises:
        StorageError: the system refused.
    """
    fields = adapter(type(record)).dump_python(record, mode="json")
    text = json.dumps({"kind": kind, "format": FORMAT, **fields}, indent=1)
    write_text_atomic(at_home(path), text + "\n")


def load_record(cls: type[R], path: str | Path, kind: str) -> R:
    """What ``save_record`` wrote.

    Raises:
        UserError: no such file, no JSON, or a record of another kind or format.
    """
    place = at_home(path)
    with reading(place, kind):
        data = read_json(place)
        if not isinstance(data, dict) or data.pop("kind", None) != kind:
            raise UserError(f"another kind of file; one of {kind} is needed.")
        if data.pop("format", None) != FORMAT:
            raise UserError(f"not of format {FORMAT}, which this version of CrossVote reads.")
        return as_record(cls, data)
