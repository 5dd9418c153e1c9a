"""Loading and saving models."""

from __future__ import annotations

import json
import resource
import shutil

import pytest
import torch

import crossvote.swstack.models.sources
from crossvote.sim.common.errors import StorageError, UserError
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.loading import load_model, save_model


def test_directory_round_trip_and_seeded_head(tiny_directory, tmp_path):
    model, tokenizer = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)
    save_model(model, tokenizer, tmp_path / "copy")
    again, _ = load_model(ModelConfig(source=str(tmp_path / "copy")), 2, False, seed=5)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    heads = [
        load_model(ModelConfig(source=str(tiny_directory)), 3, False, seed=seed)[0].classifier.weight
        for seed in (1, 1, 2)
    ]
    assert heads[0].shape == (3, 32)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_save_replaces_an_older_directory_whole(tiny_directory, tmp_path):
    model, tokenizer = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "stale.txt").write_text("old")
    save_model(model, tokenizer, tmp_path / "out")
    assert not (tmp_path / "out" / "stale.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.fixture
def largest_file():
    """Limits the size of the files that this process can write, as a quota does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 100, 20_000])
def test_a_model_that_finds_no_room_is_a_sentence_and_leaves_the_old_one(tiny_directory, tmp_path, largest_file, size):
    model, tokenizer = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)
    save_model(model, tokenizer, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    largest_file(size)
    with pytest.raises(StorageError, match="out: cannot be written"):
        save_model(model, tokenizer, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_so_is_what_a_tokenizer_makes_of_a_full_disk(tiny_directory, tmp_path, monkeypatch):
    model, tokenizer = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)

    def full(folder):
        raise Exception("No space left on device (os error 28)")

    monkeypatch.setattr(tokenizer, "save_pretrained", full)
    with pytest.raises(StorageError, match=r"out: cannot be written .*is there room left"):
        save_model(model, tokenizer, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_loading_leaves_the_global_generator_alone(tiny_directory):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    load_model(ModelConfig(source=str(tiny_directory)), 3, False, seed=0)
    assert torch.equal(torch.rand(4), expected)


def test_bad_sources_are_named(tiny_directory, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no such directory"):
        load_model(ModelConfig(source=str(tmp_path / "absent")), 2, False, seed=0)
    with pytest.raises(UserError, match=r"no config\.json"):
        load_model(ModelConfig(source=str(tmp_path)), 2, False, seed=0)
    pickled = tmp_path / "pickled"
    shutil.copytree(tiny_directory, pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(UserError, match="safetensors"):
        load_model(ModelConfig(source=str(pickled)), 2, False, seed=0)
    monkeypatch.setattr(crossvote.swstack.models.sources, "packaged_directory", lambda name: None)
    with pytest.raises(UserError, match="'minilm-l6' is not installed; run 'make models'"):
        load_model(ModelConfig(), 2, False, seed=0)


def test_encoder_weights_that_are_missing_are_not_made_up(tiny_directory, tmp_path):
    larger = tmp_path / "larger"
    shutil.copytree(tiny_directory, larger)
    config = json.loads((larger / "config.json").read_text())
    (larger / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(UserError, match=r"does not provide 16 weights .*encoder\.layer\.2"):
        load_model(ModelConfig(source=str(larger)), 2, False, seed=0)
