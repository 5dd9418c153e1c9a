"""The whole job on a tiny model of many families: fine-tune, prune, map, faulty chips, co-simulation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch
from tiny_families import FAMILIES, WORDS, Family
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner, Result

import crossvote as cv
from crossvote.sim.common.errors import UserError
from crossvote.swstack.cli.main import application
from crossvote.swstack.evaluation.chips import sample_chips
from crossvote.swstack.evaluation.config import FaultsConfig
from crossvote.swstack.evaluation.evaluation import sweep
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import head_groups
from crossvote.swstack.models.loading import load as load_model
from crossvote.swstack.tasks.kinds import head_of
from crossvote.swstack.tasks.own import task_from_rows

BY_NAME = {family.name: family for family in FAMILIES}
QUICK = ("Bert", "GPT2", "Llama", "DebertaV2")
SLOW = ("Roberta", "Electra", "DistilBert", "Albert", "MPNet", "ModernBert", "XLNet", "GPTNeoX", "OPT", "Phi",
        "MobileBert", "Deberta", "ViT")  # fmt: skip
HEAD_AND_TABLE = ("Bert", "GPT2", "Llama", "DebertaV2", "XLNet")
WITHOUT_HEAD = ("T5", "T5 (gated)", "nn.TransformerEncoder")
OF_PICTURES = ("ViT", "DeiT")
#: transformers takes any words of it for those of its own byte-level tokenizer.
OWN_TOKENIZER = ("Qwen2",)
#: Families whose layers are no chain of attention and feed-forward: not simulated.
NO_CHAIN = ("Deberta", "Funnel", "MobileBert")


def tokenizer() -> PreTrainedTokenizerFast:
    """Knows as many words as the tiny models have embeddings."""
    special = ["[PAD]", "[BOS]", "[EOS]", "[UNK]"]
    vocabulary = {token: i for i, token in enumerate([*special, *(f"w{i}" for i in range(WORDS - len(special)))])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", bos_token="[BOS]", eos_token="[EOS]", unk_token="[UNK]"
    )


def sentences(count, seed):
    """Label 1 where w0 occurs."""
    rng = np.random.default_rng(seed)
    rows = [[f"w{i}" for i in rng.integers(0, 30, int(rng.integers(3, 9)))] for _ in range(count)]
    for row in rows[::2]:
        row[int(rng.integers(len(row)))] = "w0"
    return [{"sentence1": " ".join(row), "label": int("w0" in row)} for row in rows]


def saved(family: Family, folder: Path) -> str:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        family.make().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_family_goes_through_the_whole_job(name, tmp_path):
    if name == "ViT":
        data = cv.task("digits", train_limit=48, eval_limit=16)
    else:
        data = task_from_rows("w0", sentences(48, 0), sentences(16, 1), max_length=12)
    layout = "traced" if name == "MobileBert" else "auto"
    config = ModelConfig(source=saved(BY_NAME[name], tmp_path / "model"), layout=layout)
    model = cv.Model(*load_model(config, head_of(data), 0))
    model = cv.finetune(model, data, epochs=1, batch_size=16, precision="float32")
    pruned = cv.prune(model, data, 0.3, gate_epochs=1, final_epochs=0, batch_size=16, precision="float32")
    pruned.save(tmp_path / "pruned")
    again = cv.Model.load(tmp_path / "pruned", data)
    image = cv.map(again, "best")
    (chip,) = cv.chips(0.01, 1)
    scores = cv.evaluate({"best": image, "none": cv.map(again, "none")}, again, data, [chip])
    assert {(trial.scheme, trial.rate) for trial in scores.trials} == {
        (s, r) for s in ("best", "none") for r in (0, 0.01)
    }
    assert all(0 <= value <= 100 for trial in scores.trials for value in trial.metrics.values())
    (proof,) = cv.cosim(image, again, data, chip, tokens=4, backend="numpy")
    assert proof.equal
    assert proof.outputs > 0


def by_command(folder: Path, family: str, **task: object) -> Result:
    """A run with head and token table on the chip and as little training as can be, as users start it."""
    for part, count in (("train", 24), ("dev", 12)):
        rows = [f"{row['sentence1']}\t{row['label']}\n" for row in sentences(count, count)]
        (folder / f"{part}.tsv").write_text("".join(["sentence1\tlabel\n", *rows]))
    settings = {
        "model": {"source": saved(BY_NAME[family], folder / "model"), "head": True,
                  "layout": "traced" if family == "MobileBert" else "auto"},
        "task": task or {"name": "w0", "train": "train.tsv", "dev": "dev.tsv", "max_length": 12},
        "finetune": {"epochs": 0},
        "prune": {"method": "none"},
        "map": {"schemes": ["none"]},
        "faults": {"rates": [0.3], "chips": 1, "embeddings": True},
        "cosim": {"tokens": 2, "backend": "numpy"},
        "simulate": {"tokens": 8, "stream": 2},
    }  # fmt: skip
    (folder / "own.toml").write_text(tomli_w.dumps(settings))
    return CliRunner().invoke(application(), ["run", str(folder / "own.toml"), "--run-dir", str(folder / "run")])


@pytest.mark.parametrize(
    "name", ["OPT", *(pytest.param(name, marks=pytest.mark.slow) for name in BY_NAME
                      if name not in ("OPT", *WITHOUT_HEAD, *OF_PICTURES, *OWN_TOKENIZER))]
)  # fmt: skip
def test_head_and_token_table_of_a_family_go_on_the_chip_by_command(name, tmp_path):
    done = by_command(tmp_path, name)
    assert done.exit_code == 0, done.output
    results = tmp_path / "run" / "results"
    accuracy = json.loads((results / "accuracy.json").read_text())
    assert (
        accuracy["fault_scope"]
        == "all planes and replicas of all encoder matrices, and the head, and the token embedding table"
    )
    costs = json.loads((results / "system.json").read_text())
    if name in NO_CHAIN:
        assert "is not simulated" in costs["skipped"]
    else:
        of_image = accuracy["schemes"]["none"]["crossbars"]
        assert costs["schemes"]["none"]["crossbars"] > of_image  # the table's


def test_pictures_have_no_token_table_and_the_command_says_so_before_it_begins(tmp_path):
    done = by_command(tmp_path, "ViT", name="digits", train_limit=16, eval_limit=8)
    assert done.exit_code == 2
    assert done.stderr == (
        "crossvote: faults.embeddings: ViTForImageClassification has no token embedding table that could be faulty; "
        "what projects patches of pictures is digital.\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name", [*HEAD_AND_TABLE, *(pytest.param(name, marks=pytest.mark.slow) for name in BY_NAME
                                if name not in (*HEAD_AND_TABLE, *WITHOUT_HEAD, *OF_PICTURES, *OWN_TOKENIZER))]
)  # fmt: skip
def test_head_and_token_table_of_a_family_go_on_the_chip(name, tmp_path):
    data = task_from_rows("w0", sentences(16, 0), sentences(16, 1), max_length=12)
    layout = "traced" if name == "MobileBert" else "auto"
    config = ModelConfig(source=saved(BY_NAME[name], tmp_path / "model"), layout=layout, head=True)
    model = cv.Model(*load_model(config, head_of(data), 0))
    image = cv.map(model, "best")
    heads = {matrix for group in head_groups(model.module) for matrix in group.matrices}
    assert heads
    assert heads <= {matrix.name for group in image.groups for matrix in group.matrices}
    table = model.module.get_input_embeddings().weight.clone()
    chips = sample_chips(FaultsConfig(rates=(0.3,), chips=1, embeddings=True), 7, [image], model.module)
    result = sweep(model.module, model.tokenizer, data, {"best": image}, chips, faulty_embeddings=True)
    assert "embedding" in result.conditions["fault_scope"]
    assert torch.equal(model.module.get_input_embeddings().weight, table)
    if name in NO_CHAIN:
        with pytest.raises(UserError, match=r"its name must end in .* and is not simulated"):
            cv.simulate(image, model, tokens=8)
        return
    plain, whole = (cv.simulate(image, model, tokens=8, embeddings=own) for own in (False, True))
    assert any("head" in scope for scope in plain.actions)
    assert set(whole.actions) > set(plain.actions)
    assert whole.latency_ps > plain.latency_ps
