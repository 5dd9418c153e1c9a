"""The shipped configuration of a language model, whole, on a tiny one: map, faulty chips, perplexity, costs, report."""

from __future__ import annotations

import csv

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from typer.testing import CliRunner

from crossvote.swstack.cli.main import application
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.records import Accuracy, Cosimulated, Costs
from crossvote.swstack.experiment.shipped import shipped_configs
from crossvote.swstack.tasks import TaskConfig, load_task

pytestmark = pytest.mark.slow


def write_qnli(folder):
    """Questions and sentences; the words of the sentences."""
    texts = sorted({example.sentence1 for example in load_task(TaskConfig(name="grammar-single"), 0).train})[:120]  # type: ignore[union-attr]
    (folder / "QNLI").mkdir(parents=True)
    for part, chosen in (("train", texts[:90]), ("dev", texts[90:])):
        with (folder / "QNLI" / f"{part}.tsv").open("w", newline="") as file:
            writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            writer.writerow(("index", "question", "sentence", "label"))
            writer.writerows((i, "what ?", text, "entailment") for i, text in enumerate(chosen))
    return sorted({word for text in texts for word in text.split()} | {"what", "?"})


def write_model(folder, words):
    names = {token: number for number, token in enumerate(["<end>", "<unknown>", *words])}
    tokenizer = Tokenizer(models.WordLevel(names, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>", unk_token="<unknown>"
    ).save_pretrained(folder)
    config = LlamaConfig(vocab_size=len(names), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
                         bos_token_id=0, eos_token_id=0, pad_token_id=0)  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)


def test_the_decoder_preset_runs_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "tiny", write_qnli(tmp_path / "glue"))
    line = ["run", "decoder", "--glue-dir", "glue", "--run-dir", "run", "-o", "model.source=./tiny"]
    result = CliRunner().invoke(application(), line)
    assert result.exit_code == 0, result.output
    shipped, run = load_config(shipped_configs()["decoder"]), RunDirectory(tmp_path / "run")
    accuracy = run.read(paths.RESULTS["eval"], Accuracy)
    assert set(accuracy.metrics) == {"token_accuracy", "perplexity"}
    found = {(row["scheme"], row["rate"]) for row in accuracy.all_points if row["metric"] == "perplexity"}
    assert found == {(scheme, rate) for scheme in shipped.map.schemes for rate in (0.0, *shipped.faults.rates)}
    assert all(row["mean"] > 1 for row in accuracy.all_points if row["metric"] == "perplexity")
    costs = run.read(paths.RESULTS["simulate"], Costs)
    assert costs.skipped is None
    assert set(shipped.map.schemes) <= set(costs.schemes)
    assert all(row["equal"] for row in run.read(paths.RESULTS["cosim"], Cosimulated).matrices)
    assert "perplexity" in (tmp_path / "run" / "report" / "index.html").read_text(encoding="utf-8")
    step = CliRunner().invoke(application(), ["simulate", "run", "--tokens", "1", "--context", "31", "--stream", "1"])
    assert step.exit_code == 0, step.output
