"""What the report takes beside the stages' results: the first layer's timeline, area by part, heads, sensitivity."""

from __future__ import annotations

import json

import pytest

from crossvote.sim.chip.config import load_chip
from crossvote.sim.common.errors import UserError
from crossvote.sim.kernel import Trace
from crossvote.sim.system import energy
from crossvote.swstack.experiment.beside import attention_heads, sensitivity_rows
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.pipeline import identify
from crossvote.swstack.experiment.shipped import shipped_configs
from crossvote.swstack.experiment.simulation.cost import first_layer
from crossvote.swstack.experiment.stages.report import STAGE


def test_the_first_layers_timeline_closes_short_pauses_and_leaves_the_network_out():
    trace = Trace()
    trace.span("network.in-0", 0, "", 0, 10)
    trace.span("layer0.o.crossbars.units", 0, "", 500_000, 600_000)
    for start in (0, 100_100, 300_000):
        trace.span("layer0.qkv.crossbars.units", 0, "", start, start + 100_000)
    trace.span("layer1.qkv.crossbars.units", 0, "", 0, 900_000)
    assert first_layer(trace, steps=100) == [
        {"unit": "qkv.crossbars.units", "start_us": 0.0, "end_us": 0.2001},
        {"unit": "qkv.crossbars.units", "start_us": 0.3, "end_us": 0.4},
        {"unit": "o.crossbars.units", "start_us": 0.5, "end_us": 0.6},
    ]
    assert first_layer(Trace()) == []


def test_the_areas_of_the_parts_are_the_area():
    chip = load_chip("crossvote")
    few = energy.Powered(chips=1, tiles=3, opcs=20, variant="map", busy={})
    parts = energy.area_by_part_mm2(chip, few)
    assert sum(parts.values()) == pytest.approx(energy.area_mm2(chip, few))
    assert list(parts.values()) == sorted(parts.values(), reverse=True)
    many = energy.area_by_part_mm2(chip, energy.Powered(chips=1, tiles=3, opcs=40, variant="map", busy={}))
    changed = {part for part in parts if many[part] != parts[part]}
    assert changed == {"output peripheral"}
    assert many["output peripheral"] == pytest.approx(2 * parts["output peripheral"])


@pytest.mark.parametrize(
    ("config", "heads"),
    [
        ({"num_attention_heads": 12}, (12, 12)),
        ({"num_attention_heads": 8, "num_key_value_heads": 2}, (8, 2)),
        ({"n_head": 4}, (4, 4)),
        ({"hidden_size": 4}, (1, 1)),
    ],
)
def test_heads_are_those_of_the_models_configuration(config, heads, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert attention_heads(tmp_path) == heads


def test_sensitivity_comes_back_in_numbers_or_is_refused_in_a_sentence(tmp_path):
    path = tmp_path / "sensitivity.csv"
    assert sensitivity_rows(path) == []
    path.write_text("part,rate,points lost\nlayer.0,0.01,1.5\n")
    assert sensitivity_rows(path) == [{"part": "layer.0", "rate": 0.01, "points lost": 1.5}]
    path.write_text("part,rate\nlayer.0,much\n")
    with pytest.raises(UserError, match=r"sensitivity\.csv: not a table"):
        sensitivity_rows(path)


def test_a_new_sensitivity_makes_the_report_anew(tmp_path):
    config, run = load_config(shipped_configs()["quick"]), RunDirectory(tmp_path)
    keys = [identify(STAGE, config, run).key({})]
    (tmp_path / paths.SENSITIVITY).parent.mkdir()
    for text in ("part\n", "part\nlayer.0\n"):
        (tmp_path / paths.SENSITIVITY).write_text(text)
        keys.append(identify(STAGE, config, run).key({}))
    assert len(set(keys)) == 3
