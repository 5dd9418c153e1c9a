"""Tables in the user's cache folder, which several processes read and write at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from crossvote.sim.common import cache, content
from crossvote.sim.common.cache import add_to_table, cache_folder, read_table
from crossvote.sim.common.code import Sources
from crossvote.sim.common.content import file_digest
from crossvote.sim.common.lock import held


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CROSSVOTE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(content, "_known", None)
    return tmp_path / "cache"


def test_entries_add_up_and_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST", 3)
    assert read_table("t") == {}
    add_to_table("t", {"a": [1], "b": [2]})
    add_to_table("t", {"a": [3], "c": [4]})
    assert read_table("t") == {"a": [3], "b": [2], "c": [4]}
    add_to_table("t", {"d": [5]})
    assert list(read_table("t")) == ["a", "c", "d"]


@pytest.mark.parametrize("damage", ["{ broken", "[1]", "\0"])
def test_a_damaged_table_is_an_empty_one(folder: Path, damage: str) -> None:
    folder.mkdir()
    (folder / "t.json").write_text(damage)
    assert read_table("t") == {}
    add_to_table("t", {"a": [1]})
    assert read_table("t") == {"a": [1]}


def test_where_another_process_holds_it_nothing_is_added_and_nobody_waits(folder: Path) -> None:
    add_to_table("t", {"a": [1]})
    with held(folder / "t.lock", "in use"):
        add_to_table("t", {"b": [2]})
    assert read_table("t") == {"a": [1]}


def test_a_folder_that_cannot_be_written_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CROSSVOTE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    add_to_table("t", {"a": [1]})
    assert read_table("t") == {}
    assert cache_folder() == tmp_path / "file" / "cache"


def test_what_others_added_meanwhile_stays(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both tables: of code that was read, and of digests of large files."""
    package = tmp_path / "crossvote"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "one.py").write_text("A = 1\n")
    for name in ("first", "second"):
        (tmp_path / name).write_bytes(bytes(content._LARGE))
    monkeypatch.setattr(content, "_SETTLED", -1.0)
    sources = Sources(package)
    sources.digest(["crossvote"])
    file_digest(tmp_path / "first")  # both have read their tables now
    code = (
        "import sys; from pathlib import Path; from crossvote.sim.common import content\n"
        "from crossvote.sim.common.code import code_digest\n"
        "content._SETTLED = -1.0; content.file_digest(Path(sys.argv[1])); code_digest('crossvote.sim.common.errors')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "second")], check=True)
    between = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("code", "digests")}
    sources.digest(["crossvote.one"])
    (tmp_path / "third").write_bytes(bytes(content._LARGE))
    file_digest(tmp_path / "third")
    for name, entries in between.items():
        now = read_table(name)
        assert set(entries) < set(now), name
        assert len(now) == len(entries) + 1
