"""What a value, a file or a folder contains, as a digest: the identity of everything that is stored.

Digests of large files are kept in the user's cache folder beside the file's size, inode and times of change, so that
a finished run of gigabytes is recognised without reading it. The cache can be lost or locked at any time.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from crossvote.sim.common.cache import add_to_table, read_table
from crossvote.sim.common.files import reading

#: Files below are read faster than looked up.
_LARGE = 1 << 20
#: A file that changed less than so many seconds ago could change again without its times showing it.
_SETTLED = 2.0
#: The table of digests in the cache folder.
_TABLE = "digests"

_known: dict[str, list[Any]] | None = None


def canonical_json(value: Any) -> str:
    """JSON text that is equal for equal values, whatever the order of their keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of a JSON-like value, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        UserError: no such file. StorageError: it cannot be read.
    """
    global _known
    with reading(path, "readable"):
        status = path.stat()
        if status.st_size < _LARGE:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        stamp = [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
        if _known is None:
            _known = read_table(_TABLE)
        name = str(path.absolute())
        found = _known.get(name)
        if found is not None and found[1:] == stamp:
            return str(found[0])
        with path.open("rb") as file:
            value = hashlib.file_digest(file, "sha256").hexdigest()
        if abs(time.time() - status.st_ctime) > _SETTLED:
            _known[name] = [value, *stamp]
            add_to_table(_TABLE, {name: _known[name]})
        return value


def folder_digest(folder: Path, patterns: Iterable[str]) -> str:
    """Digest of the files directly in ``folder`` that match a pattern, by name and content."""
    files = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    return digest({path.name: file_digest(path) for path in files})
