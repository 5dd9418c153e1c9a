from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch
from transformers import BertConfig, BertForSequenceClassification
from typer.testing import CliRunner

from benchmarks.laws import conservation
from crossvote.sim.array.image import Image, MatrixImage
from crossvote.sim.chip.config import load_chip
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import to_mapping
from crossvote.sim.system.baselines import unprotected
from crossvote.sim.system.dimensions import Dimensions
from crossvote.sim.system.group_work import GroupWork, ones_share
from crossvote.sim.system.model import simulate
from crossvote.swstack.cli.main import application
from crossvote.swstack.evaluation.config import SimulateConfig
from crossvote.swstack.experiment.config import MapConfig, load_config
from crossvote.swstack.experiment.shipped import find_config, shipped_configs
from crossvote.swstack.experiment.simulation import simulate as simulating
from crossvote.swstack.experiment.simulation.cost import costs
from crossvote.swstack.experiment.simulation.encoders import ENCODERS, is_config, read_dimensions
from crossvote.swstack.experiment.simulation.simulate import _chip_of, _own_config, simulate_source
from crossvote.swstack.experiment.simulation.workloads import DENSE, PLAIN, encoder_workloads, length_rows
from crossvote.swstack.mapping.programming import QuantizedGroup, place_group
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


def test_a_changed_chip_has_to_run_the_chosen_schemes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's folder is called as a shipped configuration is, which it must not be taken for."""
    monkeypatch.chdir(tmp_path)
    knowing = next(name for name, scheme in PRESETS.items() if scheme.knows_faults)
    source = load_config(find_config("quick"), [f'map.schemes=["none", "{knowing}"]', "seed=77"])
    folder = Path("quick")
    folder.mkdir()
    (folder / "config.toml").write_text(tomli_w.dumps(to_mapping(source)))
    own = _own_config(folder)
    assert own.seed == 77
    clipping = ["chip.adc.bits=6", "chip.adc.may_clip=true"]
    assert _chip_of(folder, own, None, clipping, ["none"]).adc.bits == 6
    for schemes in ([], [knowing]):
        with pytest.raises(UserError, match=f"scheme '{knowing}'"):
            _chip_of(folder, own, None, clipping, schemes)


def test_a_run_is_simulated_scheme_by_scheme(run):
    schemes = ["none", "paper", "best"]
    done = simulate_source(str(run), schemes=schemes, tokens=8, sequences=2, trace=True)
    assert list(done.results) == [DENSE, PLAIN, *schemes]
    assert (run / "system" / "system.json").is_file()
    assert (run / "system" / "trace.json.gz").is_file()
    for result in done.results.values():
        assert all(holds for _, holds in conservation(result))
    dense, plain, none, paper, best = (done.results[name] for name in (DENSE, PLAIN, *schemes))
    # The pruned baseline is the unprotected image, whatever scheme it was taken from.
    assert plain.actions == none.actions
    assert (plain.powered.variant, plain.powered.opcs) == ("plain", none.powered.opcs)
    assert plain.dynamic_energy_pj < paper.dynamic_energy_pj
    assert dense.placement.crossbars == none.placement.crossbars
    assert none.workload.layers[0].groups["qkv"].blocks == paper.workload.layers[0].groups["qkv"].blocks
    # Flipped planes conduct where their bit is 0: protection is paid for in the array above all.
    conducting = [
        sum(g.conducting for layer in r.workload.layers for g in layer.groups.values()) for r in (none, paper, best)
    ]
    assert conducting[0] * 1.5 < conducting[1] < conducting[2]
    assert (run / "system" / "ledger.csv").is_file()


def test_the_pruned_baseline_is_the_image_without_its_copies():
    plain = image("none")
    for scheme in ("paper", "best"):
        stripped = tuple(unprotected(group) for group in image(scheme).groups)
        for group, expected in zip(stripped, plain.groups, strict=True):
            assert GroupWork.from_image(group, load_chip("crossvote")).conducting == pytest.approx(
                GroupWork.from_image(expected, load_chip("crossvote")).conducting
            )
            assert group.column_map.used.sum() == expected.column_map.used.sum()


def test_the_baseline_holds_all_planes_whatever_scheme_is_asked_for(run):
    """A code of the top five planes is compared with what pruning alone gives, not with five planes of it."""
    config = dataclasses.replace(
        load_config(shipped_configs()["default"]), map=dataclasses.replace(MapConfig(), schemes=("none", "mean5"))
    )
    (run / "config.toml").write_text(tomli_w.dumps(to_mapping(config)))
    for scheme in ("none", "mean5"):
        image(scheme).save(run / "images" / f"{scheme}.safetensors")
    options = {"tokens": 4, "resolution": "analytic", "stream": 1}
    alone = simulate_source(str(run), schemes=["mean5"], **options).results
    both = simulate_source(str(run), **options).results
    assert alone[PLAIN].actions == both[PLAIN].actions == both["none"].actions
    assert alone["mean5"].powered.variant == "map"
    assert alone[PLAIN].powered.variant == "plain"


def test_real_inputs_weigh_what_conducts(run, monkeypatch):
    """A word line that is driven with 0 draws nothing, so the share of ones among real bits counts."""
    assert ones_share(np.array([[-1, 0, 1]]), 8) == pytest.approx((8 + 0 + 1) / 24)
    options = {"schemes": ["none"], "tokens": 4, "resolution": "analytic", "stream": 1}
    half = simulate_source(str(run), **options).results["none"]
    real = {"layer.0.qkv": np.zeros((3, 64), np.int64), "layer.0.o": np.full((3, 64), -1)}
    monkeypatch.setattr("crossvote.swstack.experiment.simulation.simulate._real_inputs", lambda *_: real)
    weighed = simulate_source(str(run), **options).results["none"]

    def reads(result, scope):
        return result.actions[scope]["cell_read"]

    assert reads(weighed, "layer.0.qkv") == 0 < reads(half, "layer.0.qkv")
    assert reads(weighed, "layer.0.o") == pytest.approx(2 * reads(half, "layer.0.o"), rel=1e-3)
    assert reads(weighed, "layer.1.o") == reads(half, "layer.1.o")


def test_a_run_takes_the_tokens_of_its_task(run):
    """No tokenizer here, so the task's longest input; a given number wins."""
    config = load_config(shipped_configs()["default"])
    done = simulate_source(str(run), schemes=["none"], resolution="analytic")
    assert done.results["none"].workload.tokens == config.task.max_length
    assert (
        simulate_source(str(run), schemes=["none"], tokens=5, resolution="analytic").results["none"].workload.tokens
        == 5
    )


def test_latency_and_throughput_are_both_measured(run):
    done = simulate_source(str(run), schemes=["none"], tokens=6, resolution="matrix", stream=8)
    assert done.results["none"].interval_ps is None
    assert done.streams["none"].interval_ps < done.results["none"].latency_ps
    assert simulate_source(str(run), schemes=["none"], tokens=6, resolution="matrix", stream=1).streams == {}


def test_the_costs_of_a_run_do_not_wait_for_every_length(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage tells of one length; a table over all of them would take as long as the rest."""
    tables = []
    monkeypatch.setattr(simulating, "_dev_lengths", lambda run, config: np.array([4, 5, 5]))
    monkeypatch.setattr(simulating, "length_rows", lambda *arguments: tables.append(arguments) or [["", "tokens"]])
    found = costs(run, SimulateConfig(stream=2, resolution="analytic"))
    assert found["tokens"] == 5
    assert not tables
    assert simulate_source(str(run), schemes=["none"], resolution="analytic", stream=1).lengths == [["", "tokens"]]


def test_lengths_are_weighted():
    chip = load_chip("crossvote")
    works = encoder_workloads(ENCODERS["minilm-l6"], chip, 8)
    rows = length_rows({DENSE: works[DENSE]}, chip, np.array([4, 4, 4, 16]))
    assert rows[1][:3] == [DENSE, "7.0", "16"]
    short, long = (simulate(dataclasses.replace(works[DENSE], tokens=n), chip, resolution="analytic") for n in (4, 16))
    assert float(rows[1][3]) == pytest.approx((3 * short.latency_ps + long.latency_ps) / 4e6, rel=1e-5)
    assert float(rows[1][4]) == pytest.approx(long.latency_ps / 1e6, rel=1e-5)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {
                "model_type": "bert",
                "num_hidden_layers": 2,
                "hidden_size": 64,
                "num_attention_heads": 4,
                "intermediate_size": 96,
            },
            Dimensions(2, 64, 96, 4, 64, 64),
        ),
        (
            {"model_type": "gpt2", "n_layer": 3, "n_embd": 48, "n_head": 4, "n_inner": None},
            Dimensions(3, 48, 192, 4, 48, 48, causal=True),
        ),
        (
            {
                "model_type": "llama",
                "num_hidden_layers": 2,
                "hidden_size": 64,
                "num_attention_heads": 8,
                "num_key_value_heads": 2,
                "intermediate_size": 128,
            },
            Dimensions(2, 64, 128, 8, 64, 16, gated=True, causal=True),
        ),
    ],
)
def test_any_transformer_by_its_configuration(tmp_path, config, expected):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert is_config(str(tmp_path))
    assert read_dimensions(str(tmp_path)) == read_dimensions(str(tmp_path / "config.json")) == expected
    done = simulate_source(str(tmp_path), tokens=4, resolution="analytic", stream=1)
    dense = done.results[DENSE].workload
    inner = expected.intermediate
    static = expected.hidden * (2 * expected.queries + 2 * expected.keys + (3 if expected.gated else 2) * inner)
    keys = 2.5 if expected.causal else 4
    assert dense.macs == expected.layers * 4 * (static + 2 * expected.queries * keys)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "a model's configuration cannot be read"),
        ("[]", "must be a table of keys"),
        ('{"hidden_size": 64}', "says the model's heads"),
        ('{"hidden_size": 64, "num_attention_heads": 0}', "num_attention_heads = 0 must be a whole number"),
        ('{"is_encoder_decoder": true}', "an encoder and a decoder"),
    ],
)
def test_a_configuration_that_says_too_little_is_one_sentence(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_dimensions(str(tmp_path))


def test_bert_large_is_known():
    chip = load_chip("crossvote", {"package": {"chips": 16}})
    works = encoder_workloads(ENCODERS["bert-large"], chip, 128)
    assert works[DENSE].macs == 128 * (24 * (4 * 1024**2 + 2 * 1024 * 4096) + 24 * 2 * 1024 * 128)


def test_a_chip_that_checks_checksums_is_compared_with_them():
    chip = load_chip("crossvote", {"opc": {"checksum_bits": 4}})
    works = encoder_workloads(ENCODERS["minilm-l6"], chip, 8)
    unchecked, checked = list(works)[-2:]
    assert checked == f"{unchecked}, checksums of 4 bits"
    lines = [sum(int(group.lines.sum()) for group in works[name].groups) for name in (unchecked, checked)]
    assert lines[1] > lines[0]
    assert len(encoder_workloads(ENCODERS["minilm-l6"], load_chip("crossvote"), 8)) == len(works) - 1
    for keys in ({"cell_bits": 2}, {"pair": "none"}):
        other = load_chip("crossvote", {"crossbar": keys, "opc": {"checksum_bits": 4}})
        assert len(encoder_workloads(ENCODERS["minilm-l6"], other, 8)) == len(works) - 1


def test_chip_keys_can_be_changed(run):
    slow = simulate_source(str(run), tokens=4, stream=1, schemes=["none"], overrides=["chip.crossbar.read_ps=200000"])
    fast = simulate_source(str(run), tokens=4, stream=1, schemes=["none"])
    assert slow.results["none"].latency_ps > fast.results["none"].latency_ps


def test_real_tokens_need_a_run_with_fault_maps(run):
    with pytest.raises(UserError, match="bert-base has no weights and no tokens"):
        simulate_source("bert-base", tokens=4, rtl="numpy")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"remap": True}, "--remap: minilm-l6 has no weights to map anew"),
        ({"schemes": ["paper"]}, "--scheme paper: minilm-l6 has no schemes of a run"),
    ],
)
def test_what_only_a_run_has_is_not_ignored_without_one(options, message):
    with pytest.raises(UserError, match=message):
        simulate_source("minilm-l6", tokens=4, **options)


def test_an_encoder_needs_no_run(tmp_path):
    done = simulate_source("minilm-l6", tokens=4, resolution="matrix", stream=1, folder=tmp_path / "out")
    assert len(done.results) == 5
    assert (tmp_path / "out" / "compare.csv").is_file()
    embedded = [r.placement.crossbars for name, r in done.results.items() if "in 30% pruned" in name]
    assert set(embedded) == {done.results[DENSE].placement.crossbars}


def test_a_chip_too_small_for_one_of_the_schemes_is_refused_for_the_largest():
    """Not for the first, so that what the message says is enough."""
    with pytest.raises(UserError, match=r"MSB x3 beside needs \d+ tiles.* \(package\.chips = 3 would do\)"):
        simulate_source("distilbert", tokens=4, stream=1, resolution="analytic", overrides=["chip.package.chips=1"])
    simulate_source("distilbert", tokens=4, stream=1, resolution="analytic", overrides=["chip.package.chips=3"])


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


def test_what_one_variant_cannot_have_is_refused_before_the_first_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object, **__: object) -> None:
        pytest.fail("a variant was simulated before the last was looked at")

    monkeypatch.setattr(simulating, "simulate", started)
    with pytest.raises(UserError, match=r"^MSB x3 beside: group qkv: replicas vote, but chip\.opc\.voter = false"):
        simulate_source("minilm-l6", overrides=["chip.opc.voter=false"], tokens=4, write=False)


def test_a_run_is_mapped_anew_onto_another_chip(run, monkeypatch):
    """The run's images are for crossbars of 128 x 128; the model itself fits any."""
    from crossvote.swstack.experiment.simulation import tokens as simulate_tokens

    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = BertForSequenceClassification(BertConfig(**sizes, vocab_size=30))
    monkeypatch.setattr(simulate_tokens, "load", lambda *_: (model, None))
    monkeypatch.setattr(simulate_tokens, "load_masks", lambda _: None)
    smaller = ["chip.crossbar.rows=64", "chip.crossbar.columns=64", "chip.opc.columns=64"]
    with pytest.raises(UserError, match=r"made for crossbars of 128 x 128.*mapped anew with --remap"):
        simulate_source(str(run), schemes=["none"], tokens=4, overrides=smaller)
    options = {"schemes": ["none"], "tokens": 4, "resolution": "analytic", "stream": 1}
    done = simulate_source(str(run), **options, overrides=smaller, remap=True)
    assert done.chip.crossbar.rows == 64
    assert done.results["none"].workload.layers[0].groups["ffn2"].row_blocks == 2
    assert done.results["none"].workload.layers[0].hidden == 48


def test_missing_parts_are_named(run):
    (run / "images" / "best.safetensors").unlink()
    with pytest.raises(UserError, match="no such image yet; make it with: crossvote map"):
        simulate_source(str(run), tokens=4)
    with pytest.raises(UserError, match="neither a run directory nor one of bert-base"):
        simulate_source(str(run / "nowhere"), tokens=4)
    (run / "pruned" / "model" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="does not say how many attention heads"):
        simulate_source(str(run), tokens=4)


def test_the_command_prints_the_tables(tmp_path):
    arguments = [
        "simulate",
        "minilm-l6",
        "--tokens",
        "4",
        "--resolution",
        "analytic",
        "--what-if",
        "--out",
        str(tmp_path),
    ]
    done = CliRunner().invoke(application(), [*arguments, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    for text in (
        "dense, unprotected",
        "bound by",
        "slack",
        "twice the ADCs",
        "system.json",
        "TOTAL energy",
        "What protection costs",
    ):
        assert text in done.output


@pytest.mark.parametrize("option", [["--rtl", "verilog"], ["--resolution", "cycle"], ["--chip", "isaak"]])
def test_a_wrong_option_is_exit_code_2(option):
    assert CliRunner().invoke(application(), ["simulate", "minilm-l6", *option]).exit_code == 2
