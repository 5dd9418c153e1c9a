"""Arrays with a header in one file: equal bytes, and files that are something else refused."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image, MatrixImage
from crossvote.sim.common.container import read_container, write_container
from crossvote.sim.common.errors import UserError
from crossvote.swstack.mapping.programming import QuantizedGroup, place_group
from crossvote.swstack.mapping.protection import PRESETS

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


def fault_map(path):
    FaultMap.sample(8, 8, 2, 0.1, np.random.SeedSequence(3)).save(path)
    return FaultMap.load


def small_image(path):
    q = np.array([[3, -2], [0, 1]], np.int32)
    matrix = MatrixImage("a", 0, 2, np.ones(1, np.float32), np.zeros(2, np.float32))
    quantized = QuantizedGroup("g", q, (matrix,), np.ones(2, np.bool_), np.ones(2, np.bool_))
    group = place_group(quantized, PRESETS["none"], 3, 4, 8)
    Image((group,), {"name": "none"}, input_bits=8, adc_bits=8).save(path)
    return Image.load


@pytest.mark.parametrize("make", [fault_map, small_image])
def test_no_flipped_bit_of_a_file_gets_through_or_gives_a_traceback(tmp_path, make):
    """A bit of every byte, of the header and of the arrays behind it; which one differs from byte to byte."""
    path = tmp_path / "file"
    load = make(path)
    load(path)
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << (5 * position + position // 8) % 8
        path.write_bytes(damaged)
        with pytest.raises(UserError) as error:
            load(path)
        assert str(path) in str(error.value)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError):
            load(path)
