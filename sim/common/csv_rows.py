"""Rows with equal keys as CSV: the one writer of all tables on disk."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossvote.sim.common.files import write_text_atomic, writing

#: Ending of the names of files that hold the schemes that know each chip's stuck cells, apart from the blind ones.
KNOWING = "-known"


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows, which have equal keys, as CSV with a header line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows atomically as a CSV file."""
    write_text_atomic(path, to_csv(rows))


def apart(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Rows of schemes, those that know the stuck cells (``map known``) apart, by the ending of their file's name."""
    return {ending: [row for row in rows if row["map known"] == bool(ending)] for ending in ("", KNOWING)}


def write_apart(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table of schemes as ``NAME.csv`` and, of those that know the stuck cells, ``NAME-known.csv``.

    A file of before that nothing belongs into goes.
    """
    for ending, own in apart(rows).items():
        path = folder / f"{name}{ending}.csv"
        if own:
            write_csv(path, own)
        else:
            with writing(path):
                path.unlink(missing_ok=True)
