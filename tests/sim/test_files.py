"""Writing is all or nothing, and what goes wrong with a file is one sentence that names it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from crossvote.sim.common import files
from crossvote.sim.common.errors import StorageError, UserError
from crossvote.sim.common.files import reading, replacing, write_text_atomic, write_together


@pytest.mark.parametrize("call", ["mkstemp", "replace", "chmod", "write"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES])
def test_a_refused_write_is_a_sentence_and_leaves_the_old_content_alone(tmp_path, monkeypatch, call, number):
    path = tmp_path / "value.txt"
    write_text_atomic(path, "old")

    def refused(*arguments, **keywords):
        raise OSError(number, os.strerror(number))

    module = {"mkstemp": files.tempfile, "replace": files.os, "chmod": files.os, "write": files.Path}[call]
    monkeypatch.setattr(module, "write_bytes" if call == "write" else call, refused)
    with pytest.raises(StorageError, match=rf"value\.txt: cannot be written \({os.strerror(number)}\)"):
        write_text_atomic(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["value.txt"]


def test_files_that_belong_together_are_all_new_or_all_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills at the second of three."""
    old, whole = {tmp_path / name: b"old" for name in "abc"}, {tmp_path / name: b"new" for name in "abc"}
    write_together(old)
    write = Path.write_bytes
    room = iter([True, False])

    def filling(path: Path, data: bytes) -> int:
        if not next(room):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", filling)
    with pytest.raises(StorageError, match=r"b: cannot be written"):
        write_together(whole)
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == old
    write_together(whole)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == whole


def test_what_fails_while_a_file_is_made_leaves_nothing(tmp_path):
    def half():
        with replacing(tmp_path / "a" / "file") as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert list((tmp_path / "a").iterdir()) == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (KeyError("rows"), UserError),
        (OverflowError("too big"), UserError),
        (UserError("cells must increase."), UserError),
        (MemoryError(), StorageError),
        (PermissionError(errno.EACCES, "Permission denied"), StorageError),
    ],
)
def test_whatever_a_reader_stumbles_over_names_the_file(tmp_path, error, kind):
    with pytest.raises(UserError, match="thing") as caught, reading(tmp_path / "thing", "thing"):
        raise error
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
