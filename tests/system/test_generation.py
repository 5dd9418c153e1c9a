"""A decoder on the chip: reading a prompt, and a step of generation after it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import decoder
from crossvote.sim.chip.config import load_chip
from crossvote.sim.common.errors import UserError
from crossvote.sim.system.dimensions import Dimensions, bert_workload
from crossvote.sim.system.model import simulate
from crossvote.swstack.cli.main import application
from crossvote.swstack.experiment.simulation.encoders import ENCODERS, read_dimensions
from crossvote.swstack.experiment.simulation.simulate import simulate_source
from crossvote.swstack.experiment.simulation.workloads import DENSE, run_is_causal
from crossvote.swstack.models.packaged import packaged_directory

SIZES = Dimensions(layers=2, hidden=64, intermediate=128, heads=4, queries=64, keys=32, gated=True, causal=True)
CONFIG = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
          "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip


@pytest.fixture
def chip():
    return load_chip("crossvote")


def step(chip, context):
    return dataclasses.replace(bert_workload(SIZES, chip, 1), context=context)


def attention_macs(workload):
    result = simulate(workload, load_chip("crossvote"), resolution="analytic")
    return sum(counts.get("mac", 0) for counts in result.actions.values())


def test_steps_together_do_the_work_of_the_prompt(chip):
    steps = [step(chip, context) for context in range(16)]
    prompt = bert_workload(SIZES, chip, 16)
    assert sum(one.macs for one in steps) == prompt.macs
    assert [one.keys for one in steps] == [float(n) for n in range(1, 17)]
    assert steps[-1].held == prompt.held == 16
    assert sum(map(attention_macs, steps)) == attention_macs(prompt)


def test_a_step_is_slower_per_token_than_the_prompt_and_grows_with_what_it_sees(chip):
    prompt = simulate(bert_workload(SIZES, chip, 64), chip)
    near, far = (simulate(step(chip, context), chip) for context in (1, 63))
    assert near.latency_ps <= far.latency_ps
    assert near.dynamic_energy_pj < far.dynamic_energy_pj
    assert far.latency_ps < prompt.latency_ps < 64 * far.latency_ps  # tokens of a prompt overlap, steps do not


def test_kept_keys_need_room(chip):
    with pytest.raises(UserError, match="but a sequence has 10000001"):
        simulate(step(chip, 10_000_000), chip)


def test_the_command_takes_a_context(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    found = CliRunner().invoke(
        application(), ["simulate", str(path), "--tokens", "1", "--context", "31", "--stream", "1"]
    )
    assert found.exit_code == 0, found.output
    result = simulate_source(str(path), tokens=1, context=31, stream=1).results[DENSE]
    assert (result.workload.context, result.workload.causal) == (31, True)
    refused = CliRunner().invoke(application(), ["simulate", "bert-base", "--context", "4"])
    assert refused.exit_code == 2
    assert "only a decoder keeps keys" in refused.stderr


@pytest.mark.parametrize(("model_type", "causal"), [("gpt2", True), ("bert", False)])
def test_a_run_knows_whether_it_reads_from_left_to_right(tmp_path, model_type, causal):
    (tmp_path / "pruned" / "model").mkdir(parents=True)
    (tmp_path / "pruned" / "model" / "config.json").write_text(json.dumps({"model_type": model_type}))
    assert run_is_causal(tmp_path) == causal


DOCUMENT = Path(__file__).parents[2] / "docs" / "decoders.md"


def test_the_documented_costs_are_what_the_simulator_gives():
    text = DOCUMENT.read_text(encoding="utf-8")
    table = text[text.index("<!-- costs -->\n") : text.index("<!-- /costs -->")].splitlines()[1:]
    assert table == decoder.costs()


RECORDED = argparse.Namespace(
    output=DOCUMENT.parents[1] / "benchmarks" / "results" / "decoder", schemes=["none", "none-column", "paper", "best"]
)


@pytest.mark.parametrize(
    ("mark", "rows"),
    [("perplexity", decoder.table), ("written", decoder.texts), ("image-costs", decoder.image_costs)],
)
def test_the_documented_perplexities_and_texts_are_those_that_were_measured(mark, rows):
    text = DOCUMENT.read_text(encoding="utf-8")
    (block,) = re.findall(rf"<!-- {mark} -->\n(.*?)<!-- /{mark} -->", text, re.DOTALL)
    assert block.strip().splitlines() == "\n".join(rows(RECORDED)).splitlines()


def test_the_decoder_is_known_by_name_with_the_sizes_of_its_configuration():
    folder = packaged_directory("smollm2-135m")
    if folder is None:
        pytest.skip("smollm2-135m is not installed; 'make models' fetches it")
    assert ENCODERS["smollm2-135m"] == read_dimensions(str(folder))
