"""Models and data by their names on the Hugging Face hub: fetched once, then read from its cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import COMMIT, hub

from crossvote.sim.common.errors import UserError
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run.sources import dev_source, model_source
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.models.sources import locate
from crossvote.swstack.tasks import TaskConfig


@pytest.fixture
def shelf(tmp_path: Path, tiny_directory: Path) -> Path:
    """What the hub has: a model that is whole, and three that are not."""
    root = tmp_path / "hub" / "models" / "me"
    shutil.copytree(tiny_directory, root / "tiny")
    (root / "tiny" / "pytorch_model.bin").write_bytes(b"never fetched")
    (root / "tiny" / "onnx").mkdir()
    (root / "tiny" / "onnx" / "config.json").write_text("{}")
    shutil.copytree(tiny_directory, root / "adapted")
    (root / "adapted" / "adapter_config.json").write_text("{}")
    shutil.copytree(tiny_directory, root / "pickled", ignore=shutil.ignore_patterns("*.safetensors"))
    shutil.copytree(tiny_directory, root / "quantized")
    config = json.loads((root / "quantized" / "config.json").read_text())
    (root / "quantized" / "config.json").write_text(json.dumps({**config, "quantization_config": {"bits": 4}}))
    return tmp_path / "hub"


@pytest.fixture
def endpoint(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with hub(shelf) as url:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        files = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", files)
        yield url


@pytest.mark.usefixtures("endpoint")
def test_a_model_of_the_hub_is_fetched_and_then_needs_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    assert model_source("me/tiny").content() is None
    folder = Path(locate("me/tiny"))
    names = {path.name for path in folder.rglob("*")}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not names & {"pytorch_model.bin", "onnx"}
    assert model_source("me/tiny").content() == f"hub:me/tiny@{COMMIT}"
    model, _ = load_model(ModelConfig(source="me/tiny"), 2, False, 0)
    assert model.num_labels == 2
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    assert Path(locate("me/tiny")) == folder
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert Path(locate("me/tiny")) == folder


@pytest.mark.usefixtures("endpoint")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("me/adapted", "holds an adapter beside the model"),
        ("me/pickled", "no \\*.safetensors file"),
        ("me/quantized", "the weights are quantized already"),
        ("me/nothing", "has no model of that name for you .*hf auth login"),
    ],
)
def test_a_model_of_the_hub_is_refused_for_what_a_directory_is(name: str, message: str) -> None:
    """transformers read them past all checks of directories: an adapter would have been left out."""
    with pytest.raises(UserError, match=message):
        locate(name)


def test_a_cache_that_others_filled_is_read(
    tmp_path: Path, tiny_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a cluster node without a network: a snapshot made elsewhere, and nothing of this library's own notes."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    kept = tmp_path / "models--me--tiny"
    shutil.copytree(tiny_directory, kept / "snapshots" / COMMIT)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(COMMIT)
    model, tokenizer = load_model(ModelConfig(source="me/tiny"), 2, False, 0)
    assert len(tokenizer) <= model.config.vocab_size
    (kept / "snapshots" / COMMIT / "model.safetensors").unlink()
    with pytest.raises(UserError, match=f"{COMMIT}: no \\*.safetensors file"):
        locate("me/tiny")


def test_data_of_the_hub_are_known_by_their_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name alone would call data unchanged that were revised; none is known before they are fetched."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    own = TaskConfig(name="stars", train="hub:me/stars/plain:train", dev="hub:me/stars/plain:validation")
    for task, repository, origin in (
        (own, "me--stars", "hub:me/stars/plain:validation"),
        (TaskConfig(name="sst2"), "nyu-mll--glue", "hub:glue/sst2"),
    ):
        source = dev_source(RunConfig(task=task))
        assert source is not None
        assert source.content() is None
        (tmp_path / f"datasets--{repository}" / "refs").mkdir(parents=True)
        for revision in (COMMIT, "f" * 40):
            (tmp_path / f"datasets--{repository}" / "refs" / "main").write_text(revision)
            assert source.content() == f"{origin}@{revision}"


@pytest.mark.slow
def test_a_run_by_names_of_the_hub(shelf: Path, tmp_path: Path) -> None:
    """Fetched by one command, finished by another without a network, from the environment alone."""
    data = shelf / "datasets" / "me" / "stars"
    data.mkdir(parents=True)
    for split in ("train", "validation"):
        rows = "".join(f"the {word} and {word},{stars}\n" for word, stars in (("red", "good"), ("blue", "bad"))) * 4
        (data / f"{split}.csv").write_text("text,stars\n" + rows)
    (tmp_path / "hub.toml").write_text(
        '[model]\nsource = "me/tiny"\n[task]\nname = "stars"\ntrain = "hub:me/stars:train"\n'
        'dev = "hub:me/stars:validation"\ncolumns = { sentence1 = "text", label = "stars" }\nmax_length = 16\n'
        '[finetune]\nepochs = 1\n[prune]\nmethod = "none"\n[map]\nschemes = ["none"]\n'
        "[faults]\nrates = [0.01]\nchips = 1\n[cosim]\ntokens = 2\n[simulate]\ntokens = 8\nstream = 2\n"
    )
    ours = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

    def command(*arguments: str, **more: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "crossvote", "run", "hub.toml", *arguments],
            cwd=tmp_path, env={**os.environ, **ours, **more}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    with hub(shelf) as url:
        assert "train: 8 rows of hub:me/stars:train" in command("--dry-run", HF_ENDPOINT=url, HF_HUB_OFFLINE="0")
    command("--run-dir", "run", HF_HUB_OFFLINE="1")
    assert (tmp_path / "run" / "report" / "index.html").is_file()
    assert f"hub:me/stars:validation@{COMMIT}" in (tmp_path / "run" / "stages" / "eval.json").read_text()
    again = command("--run-dir", "run", HF_HUB_OFFLINE="1")
    assert "unchanged" in again
    assert "started" not in again
