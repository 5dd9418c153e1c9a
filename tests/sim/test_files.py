"""Writing is all or nothing, and what goes wrong with a file is one sentence that names it."""

from __future__ import annotations

import errno
import os

import pytest

from crossvote.sim.common import files
from crossvote.sim.common.errors import StorageError, UserError
from crossvote.sim.common.files import reading, replacing, write_text_atomic


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
