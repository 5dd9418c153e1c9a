"""``crossvote systemc``: a layer of a run, as its files."""

from __future__ import annotations

import json

import pytest
import tomli_w
import torch
from transformers import BertConfig, BertForSequenceClassification
from typer.testing import CliRunner

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.common.libraries import find_compiler
from crossvote.sim.common.schema import to_mapping
from crossvote.sim.common.seeds import seed_sequence
from crossvote.sim.peripheral.verilator_build import find_verilator
from crossvote.sim.system import systemc as building
from crossvote.swstack.cli.main import application
from crossvote.swstack.evaluation.cosimulation import on_chip
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.shipped import shipped_configs
from crossvote.swstack.experiment.simulation import systemc
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.models.layouts import word_line_groups

TOKENS = 2


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run's configuration, and a small model on a chip with stuck cells in the place of its other files."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = BertForSequenceClassification(BertConfig(**sizes, vocab_size=50)).eval()
    groups = word_line_groups(model)
    image = build_image(model, groups, None, PRESETS["best"], rows=128, columns=128, name="best")
    faults = FaultMap.sample(128, 128, image.crossbars, 0.01, seed_sequence(3))
    ids = torch.arange(1, 7)[None]
    inputs = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)}]
    placed = on_chip(model, image, inputs, faults, TOKENS, scheme="best")
    monkeypatch.setattr(systemc, "schemes_on_chip", lambda run, schemes, tokens: dict.fromkeys(schemes, placed))
    (tmp_path / "config.toml").write_text(tomli_w.dumps(to_mapping(load_config(shipped_configs()["default"]))))
    return tmp_path


@pytest.mark.skipif(find_verilator() is None or find_compiler() is None, reason="needs Verilator and a C++ compiler")
def test_a_layer_of_a_run_is_written_with_the_log_that_must_come(run):
    arguments = ["systemc", str(run), "--scheme", "best", "--group", "0.o", "--tokens", str(TOKENS), "--export-only"]
    result = CliRunner().invoke(application(), [*arguments, "--out", str(run / "sc"), "--json"])
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["group"].endswith(".0.o")
    assert told["wrong"] == 0
    log = (run / "sc" / "expected.csv").read_text().splitlines()
    assert len(log) == 1 + TOKENS * told["opcs"]
    assert (run / "sc" / "layer.bin").read_bytes().startswith(b"CVLAYER1")
    assert {"CMakeLists.txt", "opc.v", "opc_target.h", "target_config.h"} <= {
        path.name for path in (run / "sc").iterdir()
    }


def test_what_is_not_there_is_named(run, monkeypatch):
    call = CliRunner().invoke
    for options, sentence in (
        (("--scheme", "odd"), "--scheme odd: "),
        (("--group", "odd"), "--group odd: names no groups, not one; known are "),
        (("--chip", "crossvote"), "--chip counts without a run only: a run has its own chip and sizes."),
        (("--tile", "--row-blocks", "2"), "--row-blocks counts without a run only"),
    ):
        result = call(application(), ["systemc", str(run), "--export-only", "--out", str(run / "sc"), *options])
        assert result.exit_code == 2
        assert sentence in result.stderr
    monkeypatch.setenv("SYSTEMC_INCLUDE", str(run))
    assert "apt-get install libsystemc-dev" in str(building.missing())
    result = call(application(), ["systemc", str(run), "--out", str(run / "sc")])
    assert result.exit_code == 2
    assert "apt-get install libsystemc-dev" in result.stderr
    assert not (run / "sc").exists()


def test_without_a_run_the_module_is_written(tmp_path):
    result = CliRunner().invoke(application(), ["systemc", "--out", str(tmp_path)])
    assert result.exit_code == 0
    assert not (tmp_path / "layer.bin").exists()
    assert "LANES = 8" in (tmp_path / "target_config.h").read_text()
    assert 'KIND = "opc"' in (tmp_path / "target_config.h").read_text()
    for options, sentence in (
        (("--scheme", "best"), "--scheme is about a run; name one."),
        (("--group", "0.o"), "--group is about a run; name one."),
        (("--row-blocks", "2"), "--row-blocks is about tiles; give --tile with it."),
    ):
        result = CliRunner().invoke(application(), ["systemc", "--out", str(tmp_path / "never"), *options])
        assert (result.exit_code, sentence in result.stderr) == (2, True)
    assert not (tmp_path / "never").exists()


@pytest.mark.slow
@pytest.mark.skipif(find_verilator() is None or find_compiler() is None, reason="needs Verilator and a C++ compiler")
def test_a_layer_of_a_run_is_written_for_whole_tiles(run):
    """Quantized outputs are those of the reference; a tile has pins that depend on its row blocks."""
    arguments = ["systemc", str(run), "--scheme", "best", "--group", "0.o", "--tokens", str(TOKENS), "--export-only"]
    result = CliRunner().invoke(application(), [*arguments, "--tile", "--out", str(run / "sc"), "--json"])
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["wrong"] == 0
    assert len((run / "sc" / "expected.csv").read_text().splitlines()) == 1 + TOKENS * told["tiles"]
    assert (run / "sc" / "layer.bin").read_bytes().startswith(b"CVTILES1")
    assert "OPCS = 1" in (run / "sc" / "target_config.h").read_text()
    assert "tile_target.h" in (run / "sc" / "module_target.h").read_text()
