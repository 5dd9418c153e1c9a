"""Rows with equal keys as CSV: the one writer of all tables on disk."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossvote.sim.common.files import write_text_atomic


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
