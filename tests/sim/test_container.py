"""Arrays with a header in one file: equal bytes, and files that are something else refused."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from crossvote.sim.common.container import read_container, write_container
from crossvote.sim.common.errors import UserError

HEADER = {"name": "a", "sizes": [1, 2], "rate": 0.25}
ARRAYS = {"b": np.arange(6, dtype=np.int32).reshape(2, 3), "a": np.ones(3, np.uint8)}


def test_equal_content_gives_equal_bytes_and_comes_back(tmp_path):
    files = [tmp_path / str(i) for i in range(20)]
    for i, path in enumerate(files):
        order = sorted(ARRAYS, reverse=bool(i % 2))
        write_container(path, "thing", 3, HEADER, {name: ARRAYS[name] for name in order})
    assert len({path.read_bytes() for path in files}) == 1
    header, arrays = read_container(files[0], "thing", 3)
    assert header == HEADER
    assert all(np.array_equal(arrays[name], array) for name, array in ARRAYS.items())


def test_other_files_are_refused_with_a_sentence(tmp_path):
    write_container(tmp_path / "thing", "thing", 3, HEADER, ARRAYS)
    save_file(ARRAYS, tmp_path / "plain")
    (tmp_path / "junk").write_bytes(b"junk")
    for name, kind, version, message in (
        ("absent", "thing", 3, "no such file"),
        ("thing", "other", 3, "not a other file"),
        ("thing", "thing", 4, "thing version 3 cannot be read; this program reads version 4"),
        ("plain", "thing", 3, "not a thing file"),
        ("junk", "thing", 3, "damaged thing file"),
    ):
        with pytest.raises(UserError, match=message):
            read_container(tmp_path / name, kind, version)
