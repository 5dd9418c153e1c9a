"""What a value, a file or a folder contains, as a digest: the identity of everything that is stored.

Digests of large files are kept in the user's cache folder beside the file's size, inode and times of change, so that
a finished run of gigabytes is recognised without reading it. The cache can be lost or locked at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import platformdirs

from crossvote.sim.common.errors import StorageError
from crossvote.sim.common.files import reading, write_text_atomic

#: Files below are read faster than looked up.
_LARGE = 1 << 20
#: A file that changed less than so many seconds ago could change again without its times showing it.
_SETTLED = 2.0
_MOST = 4096

_known: dict[str, list[Any]] | None = None


def canonical_json(value: Any) -> str:
    """JSON text that is equal for equal values, whatever the order of their keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of a JSON-like value, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def cache_folder() -> Path:
    """The user's folder for what can be computed again; ``CROSSVOTE_CACHE_DIR`` names another."""
    return Path(os.environ.get("CROSSVOTE_CACHE_DIR") or platformdirs.user_cache_dir("crossvote"))


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
            _known = _read_cache()
        name = str(path.absolute())
        found = _known.get(name)
        if found is not None and found[1:] == stamp:
            return str(found[0])
        with path.open("rb") as file:
            value = hashlib.file_digest(file, "sha256").hexdigest()
        if abs(time.time() - status.st_ctime) > _SETTLED:
            _known.pop(name, None)
            _known[name] = [value, *stamp]
            _write_cache(_known)
        return value


def folder_digest(folder: Path, patterns: Iterable[str]) -> str:
    """Digest of the files directly in ``folder`` that match a pattern, by name and content."""
    files = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    return digest({path.name: file_digest(path) for path in files})


def _cache_file() -> Path:
    return cache_folder() / "digests.json"


def _read_cache() -> dict[str, list[Any]]:
    try:
        entries = json.loads(_cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _write_cache(entries: dict[str, list[Any]]) -> None:
    while len(entries) > _MOST:
        entries.pop(next(iter(entries)))
    with contextlib.suppress(StorageError):
        write_text_atomic(_cache_file(), json.dumps(entries))
