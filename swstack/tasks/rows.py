"""Rows with named columns, from files, from ``datasets``, or from Python, to be gone through several times."""

from __future__ import annotations

import codecs
import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import LFS_POINTER, at_home
from crossvote.swstack.tasks.fields import Row
from crossvote.swstack.tasks.hub_names import hub_parts, is_hub_name
from crossvote.swstack.tasks.json_rows import array_rows, json_object

_SIGNS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
#: What to do where quotation marks are part of a text.
_QUOTING = 'a field that begins with one is quoted, and within it every one is written twice ("" for ")'
#: How a file begins that gzip made.
_GZIP = b"\x1f\x8b"
#: Longest field of a file with separators, in letters.
_LONGEST_FIELD = 1 << 27


@dataclass(frozen=True)
class FileRows:
    """The rows of a file, of a folder that ``datasets`` saved, or of a split on the hub, read anew by every pass.

    source: as ``task.train`` names it.
    """

    source: str

    def __iter__(self) -> Iterator[Row]:
        return read_rows(self.source)


def as_rows(rows: Any) -> Iterable[Row]:
    """Something that can be gone through several times."""
    if hasattr(rows, "to_dict") and hasattr(rows, "columns"):  # a pandas frame
        return _Frame(rows)
    if hasattr(rows, "dataset") and hasattr(rows, "batch_size"):  # torch's loader: batches are made elsewhere
        return as_rows(rows.dataset)
    if isinstance(rows, FileRows | Sequence):
        return _named(rows)
    if hasattr(rows, "features") and hasattr(rows, "__iter__"):  # of the library ``datasets``
        return _NamedClasses(rows)
    if hasattr(rows, "__getitem__") and hasattr(rows, "__len__") and not isinstance(rows, Mapping):  # of torch
        return _Indexed(rows)
    if isinstance(rows, Mapping) and any(hasattr(split, "features") for split in rows.values()):
        raise UserError(f"own data: a {type(rows).__name__} has several splits ({', '.join(rows)}); take one of them.")
    if isinstance(rows, Mapping) or not hasattr(rows, "__iter__"):
        raise UserError(f"own data: a {type(rows).__name__} is no list of rows; rows are mappings or (text, label).")
    if iter(rows) is iter(rows):  # can be gone through once
        return _named(list(rows))
    return _named(rows)


def _named(rows: Iterable[Any]) -> Iterable[Row]:
    return rows if isinstance(rows, FileRows) else _Named(rows)


@dataclass(frozen=True)
class _Frame:
    """Rows of a pandas frame."""

    frame: Any

    def __iter__(self) -> Iterator[Row]:
        columns = [str(name) for name in self.frame.columns]
        _check_names(columns, "own data")
        for values in self.frame.itertuples(index=False, name=None):
            yield dict(zip(columns, (_scalar(value) for value in values), strict=True))


def _scalar(value: Any) -> Any:
    """A value as Python has it; an empty cell of a frame is None."""
    plain = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
    return None if isinstance(plain, float) and math.isnan(plain) else plain


@dataclass(frozen=True)
class _Indexed:
    """Items of a data set that is asked by number."""

    items: Any

    def __iter__(self) -> Iterator[Row]:
        return iter(_Named(self.items[i] for i in range(len(self.items))))


@dataclass(frozen=True)
class _Named:
    """Rows that are mappings already, or tuples: (text, label) or (text, text, label)."""

    rows: Iterable[Any]

    def __iter__(self) -> Iterator[Row]:
        for number, row in enumerate(self.rows, start=1):
            if isinstance(row, Mapping):
                yield row
            elif isinstance(row, tuple | list) and len(row) in _TUPLES:
                yield dict(zip(_TUPLES[len(row)], map(_scalar, row), strict=True))
            else:
                raise UserError(
                    f"row {number}: a {type(row).__name__} is no row; a mapping of columns, (text, label) or "
                    "(text, text, label) is needed."
                )


_TUPLES = {2: ("sentence1", "label"), 3: ("sentence1", "sentence2", "label")}


def read_rows(source: str) -> Iterator[Row]:
    """The rows of a file, of a folder that ``datasets`` saved, or of a split of a data set on the hub, one by one.

    Raises:
        UserError: the message names the file, and the line where one is broken.
    """
    if is_hub_name(source):
        yield from _from_hub(source)
        return
    path = at_home(source)
    if path.is_dir():
        yield from _from_saved(path)
        return
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path}: no kind of data that is known; {', '.join(_READERS)} or a saved data set are.")
    try:
        with path.open("rb") as file:
            if file.read(len(LFS_POINTER)) == LFS_POINTER:
                raise UserError(f"{path}: is a Git LFS pointer and not the file itself; run 'git lfs pull'.")
        yield from reader(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except UserError:
        raise
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}){_other_text(path)}.") from None
    except Exception as error:  # of the readers of formats
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]}).") from None


def _other_text(path: Path) -> str:
    """What a file that is not UTF-8 is, by how it begins, and what is to be done."""
    with path.open("rb") as file:
        first = file.read(2)
    if first == _GZIP:
        return " but compressed by gzip; unpack it"
    utf16 = first in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return f"{' but UTF-16' if utf16 else ''}; save it as UTF-8"


def _separated(separator: str) -> Callable[[Path], Iterator[Row]]:
    def read(path: Path) -> Iterator[Row]:
        csv.field_size_limit(_LONGEST_FIELD)
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(_text_lines(file, path), delimiter=separator, strict=True)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            other = next((sign for sign in ";\t,|" if sign != separator and sign in "".join(reader.fieldnames)), None)
            if len(reader.fieldnames) == 1 and other is not None:
                raise UserError(
                    f"{path}: its columns are separated by {_SIGNS[other]} instead of {_SIGNS[separator]}; save it "
                    "with commas as .csv or with tabs as .tsv."
                )
            _check_names(reader.fieldnames, path)
            started = 2
            try:
                for row in reader:
                    if None in row or None in row.values():
                        raise UserError(f"{path}, line {reader.line_num}: not {len(reader.fieldnames or ())} columns.")
                    if all(text.strip() == name for name, text in row.items()):
                        raise UserError(
                            f"{path}, line {reader.line_num}: the header stands there again, as in files that were "
                            "joined; take that line out."
                        )
                    if separator == "\t" and any("\t" in text and "\n" in text for text in row.values()):
                        raise UserError(
                            f"{path}: a quotation mark opens a field in line {started} or after it that runs to line "
                            f"{reader.line_num} over whole rows; {_QUOTING}."
                        )
                    started = reader.line_num + 1
                    yield row
            except csv.Error as error:
                if "unexpected end" in str(error):
                    raise UserError(
                        f"{path}: a quotation mark is opened in the row that begins in line {started} or after it, and "
                        f"never closed; {_QUOTING}."
                    ) from None
                if "expected after" in str(error):
                    raise UserError(
                        f"{path}: a field in line {started} or after it goes on behind its closing quotation mark; "
                        f"{_QUOTING}."
                    ) from None
                raise UserError(f"{path}, line {started}: {error}.") from None

    return read


def _check_names(columns: Sequence[str], where: object) -> None:
    """Refuse columns of one name, of which a row would keep the last."""
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{where}: two columns are called '{twice}'.")


def _text_lines(file: Iterable[str], path: Path) -> Iterator[str]:
    """The lines of a file from the first one that is not blank, none of which may hold what no text has."""
    begun = False
    for number, line in enumerate(file, start=1):
        if "\0" in line:
            raise UserError(
                f"{path}, line {number}: holds a NUL byte, so this is no text (or UTF-16; save it as UTF-8)."
            )
        begun = begun or bool(line.strip())
        if begun:
            yield line


def _lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line, object_pairs_hook=json_object)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}, line {number}: not JSON ({error}).") from None
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number}: must be a JSON object.")
            yield row


def _parquet(path: Path) -> Iterator[Row]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        _check_names(file.schema_arrow.names, path)
        for batch in file.iter_batches(batch_size=1024):
            yield from batch.to_pylist()


def _from_saved(path: Path) -> Iterable[Row]:
    from datasets import Dataset, load_from_disk

    try:
        found = load_from_disk(str(path))
    except Exception as error:
        raise UserError(f"{path}: no data set that `datasets` saved ({' '.join(str(error).split())[:200]}).") from None
    if not isinstance(found, Dataset):
        raise UserError(f"{path}: holds several splits ({', '.join(found)}); name the folder of one.")
    return _NamedClasses(found)


def _from_hub(source: str) -> Iterable[Row]:
    from crossvote.swstack.tasks.hub import hub_data

    repository, configuration, split = hub_parts(source)
    try:
        found = hub_data(repository, configuration, split=split)
    except Exception as error:  # the library lets many kinds of network error through
        raise UserError(f"{source}: cannot be read ({' '.join(str(error).split())[:200]}).") from None
    return _NamedClasses(found)


@dataclass(frozen=True)
class _NamedClasses:
    """Rows of a data set of the library datasets, class indices written as the names that its features give them."""

    data: Any

    def __iter__(self) -> Iterator[Row]:
        features = self.data.features or {}
        single = {key: feature.names for key, feature in features.items() if hasattr(feature, "names")}
        lists = {
            key: feature.feature.names for key, feature in features.items()
            if hasattr(getattr(feature, "feature", None), "names")
        }  # fmt: skip
        for row in self.data:
            yield {key: _class_names(value, single.get(key), lists.get(key)) for key, value in row.items()}


def _class_names(value: Any, single: Sequence[str] | None, lists: Sequence[str] | None) -> Any:
    """A class index as its name; the library writes a label that is missing as -1, which is None here."""
    if single is not None and isinstance(value, int):
        return single[value] if value >= 0 else None
    if lists is not None and value is not None:
        return [lists[index] if isinstance(index, int) and index >= 0 else None for index in value]
    return value


def _plain(path: Path) -> Iterator[Row]:
    """The lines of a text, without empty ones."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        for line in _text_lines(file, path):
            if line.strip():
                yield {"text": line.rstrip("\r\n")}


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".jsonl": _lines,
    ".json": array_rows,
    ".parquet": _parquet,
    ".txt": _plain,
}
