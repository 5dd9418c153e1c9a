from __future__ import annotations

import json

import numpy as np
import pytest
import tomli_w
from typer.testing import CliRunner

from benchmarks.validation import conservation
from crossvote.sim.array.image import Image, MatrixImage
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import to_mapping
from crossvote.swstack.cli.main import app
from crossvote.swstack.experiment.config import load_config, shipped_configs
from crossvote.swstack.experiment.simulate import DENSE, simulate_source
from crossvote.swstack.mapping.mapping import QuantizedGroup, place_group
from crossvote.swstack.mapping.protection import PRESETS

SHAPES = {"qkv": (64, (64, 64, 64)), "o": (64, (64,)), "ffn1": (64, (128,)), "ffn2": (128, (64,))}


def image(scheme):
    rng = np.random.default_rng(1)
    groups, pair = [], 0
    for layer in range(2):
        for role, (inputs, outputs) in SHAPES.items():
            n = sum(outputs)
            kept = rng.random(n) >= 0.4
            q = (rng.integers(-127, 128, (inputs, n)) * kept).astype(np.int32)
            first = np.cumsum([0, *outputs])
            matrices = tuple(
                MatrixImage(f"layer.{layer}.{role}.{i}", int(first[i]), size, np.ones(1, np.float32), None)
                for i, size in enumerate(outputs)
            )
            quantized = QuantizedGroup(f"layer.{layer}.{role}", q, matrices, np.ones(inputs, bool), kept)
            groups.append(place_group(quantized, PRESETS[scheme], 7, 128, 128, pair))
            pair += groups[-1].pairs
    return Image(tuple(groups), {"name": scheme}, input_bits=8, adc_bits=8)


@pytest.fixture
def run(tmp_path):
    config = load_config(shipped_configs()["default"])
    (tmp_path / "config.toml").write_text(tomli_w.dumps(to_mapping(config)))
    (tmp_path / "pruned" / "model").mkdir(parents=True)
    (tmp_path / "pruned" / "model" / "config.json").write_text(json.dumps({"num_attention_heads": 4}))
    assert {"none", "paper", "best"} <= set(config.map.schemes)
    for scheme in config.map.schemes:
        image(scheme).save(tmp_path / "images" / f"{scheme}.safetensors")
    return tmp_path


def test_a_run_is_simulated_scheme_by_scheme(run):
    schemes = ["none", "paper", "best"]
    done = simulate_source(str(run), schemes=schemes, tokens=12, sequences=2, trace=True)
    assert list(done.results) == [DENSE, *schemes]
    assert (run / "system" / "system.json").is_file()
    assert (run / "system" / "trace.json.gz").is_file()
    for result in done.results.values():
        assert all(holds for _, holds in conservation(result))
    dense, none, paper = (done.results[name] for name in (DENSE, "none", "paper"))
    assert none.dynamic_energy_pj < paper.dynamic_energy_pj < dense.dynamic_energy_pj
    assert dense.placement.crossbars == none.placement.crossbars
    assert none.workload.layers[0].groups["qkv"].blocks == paper.workload.layers[0].groups["qkv"].blocks


def test_chip_keys_can_be_changed(run):
    slow = simulate_source(str(run), tokens=4, schemes=["none"], overrides=["chip.crossbar.read_ps=200000"])
    fast = simulate_source(str(run), tokens=4, schemes=["none"])
    assert slow.results["none"].latency_ps > fast.results["none"].latency_ps


def test_real_tokens_need_a_run_with_fault_maps(run):
    with pytest.raises(UserError, match="bert-base has no weights and no tokens"):
        simulate_source("bert-base", tokens=4, rtl="numpy")


def test_an_encoder_needs_no_run(tmp_path):
    done = simulate_source("minilm-l6", tokens=8, resolution="matrix", folder=tmp_path / "out")
    assert len(done.results) == 4
    assert (tmp_path / "out" / "compare.csv").is_file()
    embedded = [r.placement.crossbars for name, r in done.results.items() if "pruned" in name]
    assert set(embedded) == {done.results[DENSE].placement.crossbars}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chip": "isaac-ce"}, "holds differential pairs of 1-bit cells, but chip 'isaac-ce' has cells of 2 bit"),
        ({"chip": "prime-like"}, "made for crossbars of 128 x 128, but chip 'prime-like' has 256 x 256"),
        ({"schemes": ["papre"]}, "'papre' is not one of the run's schemes"),
        ({"overrides": ["chip.package.tiles=1", "chip.package.chips=1"]}, r"needs \d+ tiles.* tiles are missing"),
        ({"overrides": ["chip.adc.bit=7"]}, r"did you mean 'bits'"),
        ({"overrides": ["seed=7"]}, "only keys of the chip can be changed here"),
    ],
)
def test_what_does_not_fit_is_one_sentence(run, options, message):
    with pytest.raises(UserError, match=message):
        simulate_source(str(run), tokens=4, **options)


def test_missing_parts_are_named(run):
    (run / "images" / "best.safetensors").unlink()
    with pytest.raises(UserError, match="no such image yet; make it with: crossvote map"):
        simulate_source(str(run), tokens=4)
    with pytest.raises(UserError, match="neither a run directory nor one of bert-base, minilm-l6"):
        simulate_source(str(run / "nowhere"), tokens=4)
    (run / "pruned" / "model" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="does not say how many attention heads"):
        simulate_source(str(run), tokens=4)


def test_the_command_prints_the_tables(tmp_path):
    arguments = [
        "simulate",
        "minilm-l6",
        "--tokens",
        "8",
        "--resolution",
        "matrix",
        "--what-if",
        "--out",
        str(tmp_path),
    ]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    for text in ("dense, unprotected", "bound by", "slack", "twice the ADCs", "system.json"):
        assert text in done.output


@pytest.mark.parametrize("option", [["--rtl", "verilog"], ["--resolution", "cycle"], ["--chip", "isaak"]])
def test_a_wrong_option_is_exit_code_2(option):
    assert CliRunner().invoke(app, ["simulate", "minilm-l6", *option]).exit_code == 2
