"""The campaigns that come with the repository: each can be planned as it stands, and runs when its sizes are small."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from crossvote.sim.common.schema import build, to_mapping
from crossvote.swstack.experiment.campaign.database import Database
from crossvote.swstack.experiment.campaign.exploration import (
    ExplorationSpec,
    campaign_of,
    explore,
    front,
    load_exploration,
)
from crossvote.swstack.experiment.campaign.folder import database_path
from crossvote.swstack.experiment.campaign.running import run_campaign
from crossvote.swstack.experiment.campaign.spec import CampaignSpec, load_spec, variants
from crossvote.swstack.experiment.campaign.summary import export
from crossvote.swstack.experiment.campaign.trials import expand
from crossvote.swstack.experiment.config import load_config
from crossvote.swstack.experiment.shipped import find_config
from crossvote.swstack.report.paper import RATES
from crossvote.swstack.report.pareto import pareto_figure

FILES = Path(__file__).parents[2] / "benchmarks" / "campaigns"
SCHEMES = ("none", "none-column", "paper", "best", "code")
#: What makes every stage of any task small.
SMALL = {
    "task.train_limit": 48,
    "task.eval_limit": 24,
    "task.max_length": 32,
    "finetune.epochs": 1,
    "prune.gate_epochs": 1,
    "prune.final_epochs": 0,
}


@pytest.mark.parametrize(("name", "tasks"), [("paper_rates", ["sst2", "mrpc"]), ("default_rates", ["grammar-single"])])
def test_a_campaign_of_the_papers_rates_is_whole(name, tasks):
    spec = load_spec(FILES / f"{name}.toml")
    assert (spec.rates, spec.schemes, spec.chips) == (RATES, SCHEMES, 30)
    if spec.base == "runs/default":  # no run here: its configuration
        spec = build(CampaignSpec, {**to_mapping(spec), "base": "default"}, name)
    known = variants(spec)
    assert [variant.refused for variant in known] == [None] * len(tasks)
    assert [variant.config.task.name for variant in known] == tasks
    trials = list(expand(spec, known))
    assert len({trial.key for trial in trials}) == len(trials) == len(tasks) * len(SCHEMES) * (9 * 30 + 1)
    comment = (FILES / f"{name}.toml").read_text().partition("\n\n")[0]
    assert f"{len(trials):,} trials" in comment


def test_mrpc_has_its_own_configuration_in_the_campaign():
    own = to_mapping(load_config(find_config("mrpc")))
    _, variant = variants(load_spec(FILES / "paper_rates.toml"))
    found = to_mapping(variant.config)
    found["task"].pop("train_limit")  # the whole train set, which the configuration does not limit
    for one in (own, found):
        one["map"].pop("schemes")  # the campaign names its own
    for table in ("task", "model", "finetune", "prune", "map"):
        assert found[table] == own[table], table


def small_glue(folder: Path, model: Path) -> Path:
    """GLUE's files of the two tasks with sentences of words that the model knows."""
    words = sorted(word for word in AutoTokenizer.from_pretrained(model).get_vocab() if word.isalpha())

    def sentence(n: int) -> str:
        return " ".join(words[(n * (i + 3)) % len(words)] for i in range(5))

    for name, header, row in (
        ("SST-2", "sentence\tlabel", lambda n: f"{sentence(n)}\t{n % 2}"),
        (
            "MRPC",
            "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
            lambda n: f"{n % 2}\t{n}\t{n}\t{sentence(n)}\t{sentence(n + 1)}",
        ),
    ):
        (folder / name).mkdir(parents=True)
        for file, rows in (("train", 64), ("dev", 32)):
            text = "\n".join([header, *(row(n) for n in range(rows))]) + "\n"
            (folder / name / f"{file}.tsv").write_text(text)
    return folder


@pytest.mark.slow
def test_the_campaign_on_glue_runs_from_its_file_when_small(tiny_bert, tmp_path):
    spec = load_spec(FILES / "paper_rates.toml")
    limits = {"model.source": str(tiny_bert), "task.glue_dir": str(small_glue(tmp_path / "glue", tiny_bert)), **SMALL}
    keys = {
        **to_mapping(spec),
        "set": limits,
        "points": [{k: v for k, v in point.items() if k not in SMALL} for point in spec.points],
        "rates": list(spec.rates[-1:]),
        "chips": 1,
    }
    counts = run_campaign(tmp_path / "c", build(CampaignSpec, keys, "small"), "serial")
    assert counts == {"open": 0, "done": 2 * len(SCHEMES) * 2, "failed": 0, "enough": 0}
    with Database.open(database_path(tmp_path / "c")) as database:
        files = {path.name: path for path in export(database, tmp_path / "tables")}
    rows = list(csv.DictReader(files["summary.csv"].open()))
    assert {row["scheme"] for row in rows} == set(SCHEMES)
    assert len(rows) == 2 * len(SCHEMES) * 2


@pytest.mark.slow
def test_the_exploration_runs_from_its_file_when_small(tiny_bert, tmp_path):
    pytest.importorskip("optuna")
    spec = load_exploration(FILES / "default_chips.toml")
    assert spec.candidates >= 200
    keys = {
        **to_mapping(spec),
        "base": "default",
        "set": {**spec.set, "model.source": str(tiny_bert), **SMALL},
        "candidates": 4,
        "chips": 1,
        "max_lost": 100.0,
    }
    small = build(ExplorationSpec, keys, "small")
    found = explore(tmp_path / "e", small)
    assert len(found) == 4
    assert [candidate.refused for candidate in found] == [None] * 4
    assert front(found, small)
    assert (tmp_path / "e" / "front.svg").is_file()


def test_every_choice_of_the_exploration_is_a_chip_that_can_be():
    """Each value alone beside the first of all others; combinations may still be refused, and are then told."""
    spec = load_exploration(FILES / "default_chips.toml")
    spec = build(ExplorationSpec, {**to_mapping(spec), "base": "default"}, "default_chips")
    first = {key: values[0] for key, values in spec.space.items()}
    for key, values in spec.space.items():
        for value in values:
            (variant,) = variants(campaign_of(spec, {**first, key: value}))
            assert variant.refused is None, (key, value)


def test_numbers_of_the_front_lie_beside_each_other_and_beside_its_marks():
    """Marks that all but touch, as on a front they do; those that stand alone are all numbered."""
    crowd = [{"candidate": number, "cost": 1 + 0.01 * number, "points lost": 0.5} for number in range(20)]
    alone = [{"candidate": 100 + number, "cost": 3 + number, "points lost": 2 + number} for number in range(3)]
    figure = pareto_figure([], crowd + alone, ("cost", "points lost"), None, 1.0)
    (panel,) = figure.axes
    figure.draw_without_rendering()
    boxes = {text.get_text(): text.get_window_extent() for text in panel.texts}
    assert {"100", "101", "102"} < set(boxes) < {str(row["candidate"]) for row in crowd + alone}
    places = panel.transData.transform([(row["cost"], row["points lost"]) for row in crowd + alone])
    for name, box in boxes.items():
        assert not any(box.overlaps(other) for text, other in boxes.items() if text != name)
        assert not any(box.contains(*place) for place in places)
