"""The sweep compares schemes on the same chips, resumes trial by trial, and its statistics are right."""

from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import BertConfig, BertForSequenceClassification

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.read_model import ReadModel
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import build
from crossvote.swstack.evaluation import evaluation
from crossvote.swstack.evaluation.calibration import static_steps
from crossvote.swstack.evaluation.chips import Chip, sample_chips
from crossvote.swstack.evaluation.config import EvalConfig, FaultsConfig
from crossvote.swstack.evaluation.evaluation import rows, summarize, sweep
from crossvote.swstack.evaluation.results import Scores, Trial
from crossvote.swstack.inference.calibration import calibrate
from crossvote.swstack.inference.embedding_faults import embedding_crossbars
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.mapping.protection import PRESETS
from crossvote.swstack.models.layouts import word_line_groups
from crossvote.swstack.tasks import Example, Task
from crossvote.swstack.tasks.batches import encode
from crossvote.swstack.training.predict import predict

FAULTS = FaultsConfig(rates=(0.001, 0.2), chips=2)


class Words:
    """A tokenizer of a few words, for models that were never trained."""

    pad_token_id = 0
    model_max_length = 512

    def __call__(self, first, second=None, **_):
        ids = [[1 + int(word) for word in text.split()] for text in first]
        return {"input_ids": ids, "attention_mask": [[1] * len(i) for i in ids]}


@pytest.fixture(scope="module")
def subject():
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=20,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            initializer_range=0.3,
        )
    ).eval()
    rng = np.random.default_rng(0)
    examples = tuple(
        Example(" ".join(map(str, rng.integers(0, 19, rng.integers(3, 9)))), None, int(rng.integers(2)))
        for _ in range(60)
    )
    task = Task("toy", examples, examples, ("a", "b"), ("accuracy", "f1"), "60 random sentences", 16)
    groups = word_line_groups(model)
    images = {name: build_image(model, groups, None, PRESETS[name], name=name) for name in ("none", "best")}
    return model, Words(), task, images


@pytest.fixture(scope="module")
def whole(subject) -> Scores:
    return measure(subject)


def measure(subject, **options) -> Scores:
    model, tokenizer, task, images = subject
    return sweep(model, tokenizer, task, images, sample_chips(FAULTS, 7, list(images.values())), **options)


def test_every_scheme_is_measured_without_faults_and_on_every_chip(whole):
    result = whole
    expected = [(0.0, -1), (0.001, 0), (0.001, 1), (0.2, 0), (0.2, 1)]
    for scheme in ("none", "best"):
        own = [trial for trial in result.trials if trial.scheme == scheme]
        assert [(trial.rate, trial.chip) for trial in own] == expected
        assert own[0].faults == 0
        assert all(trial.faults > 0 for trial in own[1:])
        assert list(own[0].metrics) == ["accuracy", "f1"]
    conditions = result.conditions
    assert conditions["schemes"]["none"]["scale"] == "tensor"
    assert conditions["schemes"]["best"]["scale"] == "column"
    assert (conditions["examples"], conditions["data"]) == (60, "60 random sentences")
    assert conditions["activations"] == "token"
    assert conditions["fault_scope"]
    json.dumps(conditions)
    assert len({trial.metrics["accuracy"] for trial in result.trials}) > 1  # faults were felt
    assert rows(result.trials)[1].keys() == {"scheme", "rate", "chip", "faults", "accuracy", "f1"}


def test_equal_seeds_give_equal_numbers(subject, whole):
    assert measure(subject).trials == whole.trials


def test_trials_side_by_side_give_the_same_numbers_in_the_same_order(subject, whole, tmp_path):
    torch.set_num_threads(3)
    try:
        assert measure(subject, work_dir=tmp_path).trials == whole.trials
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)
    assert len(list(tmp_path.iterdir())) == len(whole.trials)


def test_a_refused_chip_ends_the_sweep(subject):
    model, tokenizer, task, images = subject
    small = Chip(0.1, 0, lambda: FaultMap.empty(128, 128, 2))
    with pytest.raises(UserError, match="sample a larger chip"):
        sweep(model, tokenizer, task, images, [small])


def test_static_steps_come_from_train_examples(subject):
    model, tokenizer, task, images = subject
    first = measure(subject, activations="static")
    other = dataclasses.replace(task, train=(Example("1 1 1", None, 0),))
    chips = sample_chips(FAULTS, 7, list(images.values()))
    assert sweep(model, tokenizer, other, images, chips, activations="static").trials != first.trials
    assert first.conditions["activations"] == "static"


def test_calibration_leaves_padding_out_and_does_not_depend_on_how_examples_are_batched(subject):
    model, tokenizer, task, images = subject
    model = copy.deepcopy(model)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[0] *= 40  # whatever stands for padding
    encoded = encode(tokenizer, task.train, task.max_length)
    groups = images["none"].groups
    steps = [calibrate(model, groups, 8, lambda size=size: predict(model, encoded, size)) for size in (1, 7, 60)]
    for other in steps[1:]:
        assert other == pytest.approx(steps[0], rel=1e-5)
    assert static_steps(model, tokenizer, task, images["none"]) == pytest.approx(steps[0], rel=1e-5)


def test_static_trials_do_not_depend_on_the_batch_size(subject):
    first, other = (measure(subject, config=EvalConfig(batch_size=size), activations="static") for size in (64, 3))
    assert first.trials == other.trials


def test_a_chip_does_not_depend_on_the_other_chips_drawn(subject):
    images = list(subject[3].values())
    few = sample_chips(FaultsConfig(rates=(0.2,), chips=1), 7, images)
    many = sample_chips(FAULTS, 7, images)
    assert few[0].load().content_hash == many[2].load().content_hash
    assert len({chip.load().content_hash for chip in many}) == 4
    largest = max(image.crossbars for image in images)
    assert all(chip.load().crossbars == largest for chip in many)


def test_faulty_embeddings_and_short_adcs_are_measured_too(subject, whole):
    model, tokenizer, task, images = subject
    one = {"best": images["best"]}
    faults = FaultsConfig(rates=(0.2,), chips=1, embeddings=True)
    chips = sample_chips(faults, 7, list(one.values()), model)
    assert chips[0].load().crossbars == images["best"].crossbars
    assert chips[0].load_table is not None
    assert chips[0].load_table().crossbars == embedding_crossbars(model, 128, 128)
    result = sweep(model, tokenizer, task, one, chips, faulty_embeddings=True)
    assert "embedding" in result.conditions["fault_scope"]
    assert "embedding" not in whole.conditions["fault_scope"]
    with pytest.raises(UserError, match="needs the model"):
        sample_chips(faults, 7, list(one.values()))
    short = sweep(model, tokenizer, task, one, (), read=ReadModel(adc_bits=2))
    assert short.conditions["read"]["adc_bits"] == 2
    assert short.trials[0].metrics != whole.trials[5].metrics  # the fault-free point of "best"


def test_the_pattern_decides_where_faults_lie(subject):
    images = list(subject[3].values())
    lines = FaultsConfig(rates=(0.01,), chips=1, pattern="bit_lines")
    chip = sample_chips(lines, 7, images)[0]
    fault_map = chip.load()
    assert len(fault_map.cells) % fault_map.rows == 0
    assert fault_map.content_hash == chip.load().content_hash


def test_a_stopped_sweep_continues_with_the_trials_it_has(subject, whole, tmp_path, monkeypatch):
    done = 0

    def stop_after_three(*args, **kwargs):
        nonlocal done
        done += 1
        if done > 3:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    original = evaluation.evaluate
    monkeypatch.setattr(evaluation, "evaluate", stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        measure(subject, work_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    (damaged,) = tmp_path.glob("none-rate-0.001-chip-0-*.json")
    damaged.write_text("{", encoding="utf-8")

    calls = []
    monkeypatch.setattr(evaluation, "evaluate", lambda *a, **k: calls.append(a) or original(*a, **k))
    assert measure(subject, work_dir=tmp_path).trials == whole.trials
    assert len(calls) == 10 - 3 + 1
    calls.clear()
    assert measure(subject, work_dir=tmp_path).trials == whole.trials
    assert calls == []
    # Another setting does not take up what was measured under this one.
    measure(subject, work_dir=tmp_path, config=EvalConfig(limit=10))
    assert len(calls) == 10


def test_stored_trials_of_another_model_are_not_used(subject, tmp_path):
    model, tokenizer, task, images = subject
    measure(subject, work_dir=tmp_path)
    changed = BertForSequenceClassification(model.config).eval()
    changed.load_state_dict(model.state_dict())
    changed.classifier.weight.data *= -1
    chips = sample_chips(FAULTS, 7, list(images.values()))
    fresh = sweep(changed, tokenizer, task, images, chips, work_dir=None)
    assert sweep(changed, tokenizer, task, images, chips, work_dir=tmp_path).trials == fresh.trials


def test_points_summarize_chips():
    scores = [80.0, 70.0, 90.0, 60.0]
    trials = [Trial("a", 0.1, chip, 5, {"accuracy": score}) for chip, score in zip((2, 0, 1, 3), scores, strict=True)]
    (point,) = summarize(trials)
    interval = stats.t.interval(0.95, 3, np.mean(scores), stats.sem(scores))
    assert (point.mean, point.min, point.max, point.chips) == (75.0, 60.0, 90.0, 4)
    assert point.sd == pytest.approx(np.std(scores, ddof=1))
    assert (point.low, point.high) == pytest.approx(interval)
    assert point.scores == (70.0, 90.0, 80.0, 60.0)
    (single,) = summarize([Trial("a", 0.0, -1, 0, {"accuracy": 50.0})])
    assert (single.sd, single.low, single.high) == (0.0, 50.0, 50.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rates": [0.1, 2.0]}, "at most 1"),
        ({"rates": [0.0]}, "above 0"),
        ({"rates": []}, "rates"),
        ({"rates": [0.1, 0.1]}, "named once"),
        ({"chips": 0}, "chips"),
        ({"sa0_sa1": [0, 0]}, "above 0"),
        ({"sa0_sa1": [-1, 2]}, "at least 0"),
        ({"sa0_sa1": [1e308, 1e308]}, "sum finite"),
        ({"chips": True}, "key 'chips' = True: .*integer"),
        ({"chips": "3"}, "key 'chips' = '3': .*integer"),
        ({"chips": 3.0}, "key 'chips' = 3.0: .*integer"),
        ({"chips": 10**9}, "less than or equal to 10000"),
        ({"embeddings": 1}, "boolean"),
        ({"pattern": {"kind": "clustered", "cluster_radius": 1e9}}, "key 'pattern': .*cluster_radius.* 256"),
        ({"rate": [0.1]}, "did you mean 'rates'"),
    ],
)
def test_impossible_fault_settings_are_one_sentence(values, message):
    with pytest.raises(UserError, match=message):
        build(FaultsConfig, values, "run.toml")


def test_schemes_on_crossbars_of_different_sizes_cannot_share_a_chip(subject):
    model = subject[0]
    other = build_image(model, word_line_groups(model), None, PRESETS["none"], rows=64)
    with pytest.raises(UserError, match="one size"):
        sample_chips(FAULTS, 0, [*subject[3].values(), other])
