"""Models out of Python packages: put together as a whole or not at all, every part checked and named."""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from collections import namedtuple

import pytest

from crossvote.sim.common.errors import UserError
from crossvote.swstack.cli import diagnosis
from crossvote.swstack.models import packaged
from crossvote.swstack.models.heads import Head
from crossvote.swstack.models.layouts import word_line_groups
from crossvote.swstack.models.loading import ModelConfig, load, load_model
from crossvote.swstack.models.packaged import Checked, PackagedModel, PackagePart, install, packaged_directory

FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 40}


def checked(data: bytes) -> Checked:
    return Checked(len(data), hashlib.sha256(data).hexdigest())


def write_zip(target, members) -> None:
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """A folder of three wheels that carry slices of a model, which is registered as 'sliced'; an empty cache."""
    monkeypatch.setenv("CROSSVOTE_CACHE_DIR", str(tmp_path / "cache"))
    joined = io.BytesIO()
    write_zip(joined, {f"sliced/{name}": data for name, data in FILES.items()} | {"sliced/more.txt": b"not taken"})
    whole = joined.getvalue()
    folder = tmp_path / "wheels"
    folder.mkdir()
    parts = []
    for i in range(3):
        data = whole[i * len(whole) // 3 : (i + 1) * len(whole) // 3]
        write_zip(folder / f"sliced_part_{i}-1.0-py3-none-any.whl", {f"part_{i}/archive.zip.{i}": data})
        parts.append(PackagePart(f"sliced-part-{i}", "1.0", len(data), (f"part_{i}/archive.zip.{i}", checked(data))))
    model = PackagedModel(
        "hub/sliced", "MIT", tuple(parts), "sliced", {name: checked(data) for name, data in FILES.items()}
    )
    monkeypatch.setitem(packaged.PACKAGED_MODELS, "sliced", model)
    return folder


def test_slices_become_a_model_and_nothing_else_is_left(wheels):
    assert packaged_directory("sliced") is None
    directory = install("sliced", wheels)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == FILES
    assert packaged_directory("sliced") == directory
    assert [path.name for path in directory.parent.iterdir()] == ["sliced"]
    shutil.rmtree(wheels)
    assert install("sliced", wheels) == directory  # already there


def test_a_package_that_is_missing_or_altered_is_named_and_nothing_is_left(wheels):
    second = wheels / "sliced_part_1-1.0-py3-none-any.whl"
    data = second.read_bytes()
    second.unlink()
    with pytest.raises(UserError, match=r"sliced-part-1==1\.0"):
        install("sliced", wheels)
    write_zip(second, {"part_1/archive.zip.1": b"x" * packaged.PACKAGED_MODELS["sliced"].parts[1].size})
    with pytest.raises(UserError, match=r"sliced-part-1==1\.0 is altered"):
        install("sliced", wheels)
    second.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"sliced-part-1==1\.0.*damaged"):
        install("sliced", wheels)
    assert not list(packaged.model_cache().iterdir())


def test_too_little_space_is_said_before_anything_is_fetched(wheels, monkeypatch):
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 1000))
    with pytest.raises(UserError, match="takes 0 MB, but 0 MB are free"):
        install("sliced", None)


def test_a_cached_file_that_shrank_is_named(wheels):
    directory = install("sliced", wheels)
    (directory / "model.safetensors").write_bytes(b"short")
    with pytest.raises(UserError, match=r"model\.safetensors: has 5 bytes instead of 10,240"):
        packaged_directory("sliced")


def test_the_decoder_has_the_sizes_of_smollm2_and_speaks():
    if packaged_directory("smollm2-135m") is None:
        pytest.skip("smollm2-135m is not installed; 'make models' fetches it")
    model, tokenizer = load(ModelConfig(source="smollm2-135m"), Head("causal-lm"), 0)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(134.5e6, rel=0.001)
    assert word_line_groups(model)[0].heads == (9, 3, 3)
    ids = tokenizer("The capital of France is", return_tensors="pt")
    assert tokenizer.decode(model(**ids).logits[0, -1].argmax()) == " Paris"


def test_an_unknown_name_is_refused():
    with pytest.raises(UserError, match="no packaged model 'bert'; there are minilm-l6, mpnet-base"):
        install("bert")


def test_doctor_says_which_models_are_there(monkeypatch, tmp_path):
    monkeypatch.setenv("CROSSVOTE_CACHE_DIR", str(tmp_path))
    findings = {finding.name: finding for finding in diagnosis.diagnose()}
    assert (findings["mpnet-base"].found, findings["mpnet-base"].hint) == (None, "make models")
    assert not findings["mpnet-base"].required
    assert findings["minilm-l6"].required


def test_mpnet_loads_with_the_geometry_of_bert_base():
    if packaged_directory("mpnet-base") is None:
        pytest.skip("mpnet-base is not installed; 'make models' fetches it")
    model, tokenizer = load_model(ModelConfig(source="mpnet-base"), 2, False, seed=0)
    groups = word_line_groups(model)
    assert len(groups) == 48
    assert groups[0].heads == (12, 12, 12)
    assert sum(p.numel() for p in model.base_model.parameters()) == pytest.approx(108.9e6, rel=0.002)
    assert tokenizer("hello world")["input_ids"] == [0, 7596, 2092, 2]
