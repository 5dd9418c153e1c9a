"""Tables in the user's cache folder of what took time to find out: small JSON files that all processes share.

A table can be lost at any time, and one that is damaged counts as empty. Whoever adds to it keeps what others have
added meanwhile: it is read again and written under a lock, and where another process holds that, nothing is added, for
what is found out once can be found out again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import write_text_atomic
from crossvote.sim.common.lock import held

#: Entries that a table keeps, the newest ones.
MOST = 4096


def cache_folder() -> Path:
    """The user's folder for what can be computed again; ``CROSSVOTE_CACHE_DIR`` names another."""
    named = os.environ.get("CROSSVOTE_CACHE_DIR")
    if named:
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("crossvote"))


def read_table(name: str) -> dict[str, list[Any]]:
    """The table called ``name``; empty where there is none."""
    try:
        entries = json.loads(_file(name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def add_to_table(name: str, new: Mapping[str, list[Any]]) -> None:
    """Add entries to the table called ``name``, or replace those of their keys, where that is possible now."""
    file = _file(name)
    with contextlib.suppress(UserError), held(file.with_suffix(".lock"), "in use"):
        entries = read_table(name)
        for key, entry in new.items():
            entries.pop(key, None)  # the newest are last
            entries[key] = entry
        write_text_atomic(file, json.dumps(dict(list(entries.items())[-MOST:])))


def _file(name: str) -> Path:
    return cache_folder() / f"{name}.json"
