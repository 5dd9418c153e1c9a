"""The public face: the ten lines of a program, and one matrix by every path."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
import torch

import crossvote as cv
from crossvote.sim.common.errors import UserError
from crossvote.sim.system.summary import summary
from crossvote.swstack.evaluation.product import Path as ProductPath
from crossvote.swstack.evaluation.results import Trial


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A tiny random BERT with a tokenizer, in save_pretrained layout."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from crossvote.swstack.models.config import EMBEDDED_MODEL
    from crossvote.swstack.models.packaged import packaged_directory

    tokenizer = AutoTokenizer.from_pretrained(packaged_directory(EMBEDDED_MODEL))
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    folder = tmp_path_factory.mktemp("source")
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data():
    return cv.task("grammar-single", train_limit=64, eval_limit=24, max_length=32)


@pytest.fixture(scope="module")
def pruned(source, data):
    return cv.prune(cv.load(str(source), data), data, columns=0.30, gate_epochs=1, final_epochs=0, saliency_steps=1)


def test_importing_the_face_loads_nothing_heavy():
    script = "import sys, crossvote; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    assert set(cv.__all__) <= set(dir(cv))


def test_what_is_written_comes_back(pruned, data, tmp_path):
    """Every noun has the same two methods; results are equal bytes for equal results."""
    image, (chip,) = cv.map(pruned, "best"), cv.chips(rate=0.01)
    scores = cv.evaluate(image, pruned, data, [chip], limit=8)
    scores.save(tmp_path / "scores.json")
    assert cv.Scores.load(tmp_path / "scores.json") == scores
    proof = cv.cosim(image, pruned, data, chip, tokens=2, backend="numpy")
    proof.save(tmp_path / "proof.json")
    again = cv.Proof.load(tmp_path / "proof.json")
    assert (again, again.equal, again.backend) == (proof, True, "numpy")
    for resolution in ({"tokens": 16}, {"tokens": 8, "sequences": 6, "embeddings": True}):
        cost = cv.simulate(image, pruned, **resolution)
        cost.save(tmp_path / "cost.json")
        again = cv.SystemResult.load(tmp_path / "cost.json")
        assert summary(again) == summary(cost)
        assert (again.chip, again.actions, again.usage) == (cost.chip, cost.actions, cost.usage)
        np.testing.assert_array_equal(again.crossbar_operations, cost.crossbar_operations)
        again.save(tmp_path / "again.json")
        assert (tmp_path / "again.json").read_bytes() == (tmp_path / "cost.json").read_bytes()
    described = cv.chip("isaac-ce")
    described.save(tmp_path / "chip.toml")
    assert cv.ChipConfig.load(tmp_path / "chip.toml") == described == cv.chip(tmp_path / "chip.toml")
    for noun in (cv.ChipConfig, cv.Image, cv.Model, cv.Proof, cv.Scores, cv.Silicon, cv.SystemResult):
        assert callable(noun.save)
        assert callable(noun.load)


def test_scores_of_outputs_that_are_no_numbers_come_back(tmp_path):
    scores = cv.Scores((Trial("none", 0.0, -1, 0, {"accuracy": float("nan")}),), (), {})
    scores.save(tmp_path / "scores.json")
    assert np.isnan(cv.Scores.load(tmp_path / "scores.json").trials[0].metrics["accuracy"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "another kind of file; one of scores is needed"),
        ('{"kind": "proof", "format": 1, "records": []}', "another kind of file; one of scores is needed"),
        ('{"kind": "scores", "format": 2}', "not of format 1"),
        ('{"kind": "scores", "format": 1, "trials": [], "points": []}', "key 'conditions': "),
        ('{"kind": "scores", "format": 1, "trials": [], "points": [], "conditions": {}, "x": 1}', "it has 'x'"),
        ('{"kind": "scores", "format": 1, "trials": [{"scheme": 3}]}', "damaged result"),
    ],
)
def test_a_file_that_is_no_such_result_is_refused_in_a_sentence(text, message, tmp_path):
    (tmp_path / "scores.json").write_text(text)
    with pytest.raises(UserError) as refused:
        cv.Scores.load(tmp_path / "scores.json")
    assert str(tmp_path / "scores.json") in str(refused.value)
    assert message in str(refused.value)


def test_the_ten_lines(pruned, data, tmp_path):
    image = cv.map(pruned, scheme="best", chip="crossvote")
    chips = cv.chips(rate=0.01, number=2, seed=0)
    scores = cv.evaluate(image, pruned, data, chips)
    cost = cv.simulate(image, pruned, tokens=16)
    (proof,) = cv.cosim(image, pruned, data, chips[0], tokens=2, backend="numpy")
    assert [point.chips for point in scores.of_metric("accuracy")] == [1, 2]
    assert cost.elapsed_ps > 0
    assert (proof.equal, proof.backend) == (True, "numpy")
    image.save(tmp_path / "image.safetensors")
    assert cv.Image.load(tmp_path / "image.safetensors").content_hash == image.content_hash


def test_verbs_leave_their_arguments_as_they_are(source, data):
    model = cv.load(str(source), data)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    trained = cv.finetune(model, data, epochs=1)
    assert all(value.equal(before[name]) for name, value in model.module.state_dict().items())
    assert not all(value.equal(before[name]) for name, value in trained.module.state_dict().items())


def test_a_model_on_a_chip_is_called_like_any_other(pruned, data):
    import torch

    image = cv.map(pruned, scheme="none")
    (chip,) = cv.chips(rate=0.02)
    inputs = pruned.tokenizer([data.dev[0].sentence1], return_tensors="pt")
    with torch.no_grad():
        perfect, faulty = (cv.on_chip(image, pruned, chip)(**inputs).logits for chip in (None, chip))
        again = cv.on_chip(image, pruned, chip)(**inputs).logits
    assert not torch.equal(perfect, faulty)
    assert torch.equal(faulty, again)
    with pytest.raises(UserError, match="save the model it was made from"):
        cv.on_chip(image, pruned).save_pretrained("nowhere")


def test_the_head_goes_on_crossbars_where_asked_for(source, data, tmp_path):
    pruned = cv.prune(cv.load(str(source), data, head=True), data, columns=0.30, gate_epochs=1, final_epochs=0)
    pruned.save(tmp_path / "model")
    again = cv.Model.load(tmp_path / "model", data)
    image = cv.map(again, scheme="best")
    assert [group.name for group in image.groups][-2:] == ["bert.pooler.dense.head", "classifier.head"]
    assert pruned.masks["classifier"].columns.all()
    scores = cv.evaluate(image, again, data, cv.chips(rate=0.01), limit=4)
    assert len(scores.of_metric("accuracy")) == 2
    cost = cv.simulate(image, again, tokens=16)
    assert cost.elapsed_ps == cv.simulate(cv.map(pruned, scheme="best"), pruned, tokens=16).elapsed_ps
    assert cost.placement.crossbars == image.crossbars
    assert [group.name for group in cost.workload.head] == ["bert.pooler.dense.head", "classifier.head"]
    assert not cost.workload.head_every
    words = again.module.get_input_embeddings().weight
    table = cv.simulate(image, again, tokens=16, embeddings=True).workload.table
    assert (table.words, table.width) == tuple(words.shape)
    with pytest.raises(UserError, match="unknown key 'heads'; did you mean 'head'"):
        cv.load(str(source), data, heads=True)


def test_a_source_may_be_a_path_or_a_module_that_answers(source, data, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertModel

    assert cv.load(source, data).module.config.num_labels == 2
    with pytest.raises(UserError, match="no such directory"):
        cv.load(tmp_path / "nowhere", data)
    with pytest.raises(UserError, match="source is a int"):
        cv.load(3, data)
    tokenizer = AutoTokenizer.from_pretrained(source)
    with pytest.raises(UserError, match="needs its tokenizer"):
        cv.load(BertModel.from_pretrained(source), data, tokenizer="bert")
    with pytest.raises(UserError, match="does not answer the task 'grammar-single'"):
        cv.load(BertModel.from_pretrained(source), data, tokenizer=tokenizer)
    three = AutoModelForSequenceClassification.from_pretrained(source, num_labels=3, ignore_mismatched_sizes=True)
    with pytest.raises(UserError, match="head gives 3 numbers, but the task 'grammar-single' asks for 2"):
        cv.load(three, data, tokenizer=tokenizer)
    two = AutoModelForSequenceClassification.from_pretrained(source, num_labels=2)
    assert cv.load(two, data, tokenizer=tokenizer).module is two


def test_a_module_comes_as_itself_with_numbers_and_without_adapters(source, data):
    from torch import nn
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source)

    def refused(change):
        module = AutoModelForSequenceClassification.from_pretrained(source, num_labels=2)
        with pytest.raises(UserError) as caught:
            cv.load(change(module), data, tokenizer=tokenizer)
        return str(caught.value)

    def with_adapter(module):
        """As peft leaves a model whose adapter is not merged."""
        attention = module.bert.encoder.layer[0].attention.self
        adapted = nn.Sequential(attention.query)
        adapted.lora_A, attention.query = nn.ModuleDict({"default": nn.Linear(32, 4)}), adapted
        return module

    def without_a_number(module):
        module.classifier.weight.data[0, 0] = float("nan")
        return module

    assert "query.lora_A.default.weight is of an adapter" in refused(with_adapter)
    assert "classifier.weight is NaN or infinite in 1 place." in refused(without_a_number)
    assert "(DataParallel) around a model; hand over its .module" in refused(nn.DataParallel)
    assert "(OptimizedModule) around a model; hand over its ._orig_mod" in refused(torch.compile)


def test_a_module_of_bfloat16_is_measured_and_a_frozen_one_does_not_learn(source, data):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    module = AutoModelForSequenceClassification.from_pretrained(source, num_labels=2).to(torch.bfloat16)
    model = cv.load(module, data, tokenizer=AutoTokenizer.from_pretrained(source))
    scores = cv.evaluate(cv.map(model, "none"), model, data, cv.chips(0.01, 1), limit=4)
    assert {trial.rate for trial in scores.trials} == {0.0, 0.01}
    model.module.requires_grad_(False)
    with pytest.raises(UserError, match="nothing of the model can learn: requires_grad is False"):
        cv.finetune(model, data, epochs=1)


def test_an_image_goes_to_a_path_however_it_is_written(pruned, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    image = cv.map(pruned)
    image.save(str(tmp_path / "first"))
    image.save("~/second")
    assert (tmp_path / "second").is_file()
    for path in (tmp_path / "first", str(tmp_path / "first"), "~/second"):
        assert cv.Image.load(path).content_hash == image.content_hash


def test_a_number_of_numpy_is_a_number(data) -> None:
    assert cv.chips(rate=np.float32(0.5), number=np.int64(2), seed=np.int64(1))
    assert len(cv.task("grammar-single", train_limit=np.int64(3)).train) == 3


def test_a_model_comes_back_with_what_was_pruned(pruned, data, tmp_path):
    pruned.save(tmp_path / "model")
    again = cv.Model.load(tmp_path / "model", data)
    assert cv.map(again).content_hash == cv.map(pruned).content_hash


@pytest.mark.parametrize("scheme", ["none", "paper", "best", "mean5", "code"])
def test_a_matrix_by_every_path_on_the_same_silicon(scheme):
    rng = np.random.default_rng(0)
    q = rng.integers(-127, 128, (150, 12))
    q[:, ::3] = 0
    x = rng.integers(-128, 128, (3, 150))
    (silicon,) = cv.chips(rate=0.02, seed=4)
    expected = cv.multiply(q, x, scheme, silicon, "numpy")
    clean = cv.multiply(q, x, scheme, path="numpy")
    assert (expected != clean).any()
    if scheme not in ("mean5", "code"):  # these leave low planes out
        np.testing.assert_array_equal(clean, x @ q)
    # Amaranth's simulator is slow: votes and sums once each are enough.
    paths = get_args(ProductPath) if scheme in ("best", "mean5", "code") else ("fast", "explicit", "verilator")
    for path in paths:
        np.testing.assert_array_equal(cv.multiply(q, x, scheme, silicon, path), expected, err_msg=path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cv.task("nothing"), "unknown task"),
        (lambda: cv.task("grammar-single", train_limits=3), "did you mean 'train_limit'?"),
        (lambda: cv.chips(rate=1.5), "must be above 0 and at most 1"),
        (lambda: cv.chips(rate=0.1, number=0), "chips: number = 0: a whole number 1 to 10,000 is needed"),
        (lambda: cv.chips(rate=0.1, number=10**12), "number = 1000000000000: a whole number 1 to 10,000"),
        (lambda: cv.multiply(np.ones((0, 2), int), np.zeros((1, 0), int)), "at least one input and one output"),
        (lambda: cv.multiply(np.full((3, 2), 2**64 - 1, np.uint64), np.zeros((1, 3), int)), "from -127 to 127"),
        (lambda: cv.Image.load("nowhere/image"), "nowhere/image: no such file"),
        (lambda: cv.SystemResult.load("nowhere/cost"), "nowhere/cost: no such file"),
        (lambda: cv.ChipConfig.load("nowhere/chip"), "nowhere/chip: no such file"),
        (lambda: cv.Image.load(5), "5 is no path"),
        (lambda: cv.chips(rate="0.1"), "chips: rate = '0.1': a fault rate"),
        (lambda: cv.chips(rate=float("nan")), "rate = nan: a fault rate"),
        (lambda: cv.chips(rate=0.1, number=2.5), "number = 2.5: a whole number"),
        (lambda: cv.chips(rate=0.1, seed=-1), "seed = -1: a whole number of at least 0"),
        (lambda: cv.chips(rate=0.1, seed=True), "seed = True: a whole number"),
        (lambda: cv.task("grammar-single", seed=1.5), "seed = 1.5: a whole number"),
        (lambda: cv.task("own", train=5, dev=[("a", 0)]), "a int is no list of rows"),
        (lambda: cv.task("own", train={"a": 1}, dev=[("a", 0)]), "a dict is no list of rows"),
        (lambda: cv.task("own", train="~nobody-here/a.csv", dev="b.csv"), "there is no such user"),
        (lambda: cv.task("sst2", glue_dir=5), "glue_dir"),
        (lambda: cv.task("sst2", glue_dir={1}), "a set is no value of a configuration"),
        (lambda: cv.load("minilm-l6", "sst2"), "load: data = 'sst2': a Task, which task gives, is needed"),
        (lambda: cv.finetune("model", "sst2"), "finetune: model = 'model': a Model, which load"),
        (lambda: cv.map(torch.nn.Linear(2, 2)), "a Model, which load, finetune and prune give, is needed"),
        (lambda: cv.evaluate([], None, None, []), "evaluate: image = []: an Image, which map gives, is needed"),
        (lambda: cv.multiply(np.ones((3, 2), int), np.zeros((1, 3), int), scheme=5), "multiply: scheme = 5: the name"),
        (lambda: cv.multiply(np.ones((3, 2), int), np.zeros((1, 3), int), "none", "x"), "silicon = 'x': a Silicon"),
        (lambda: cv.multiply(np.full((3, 2), 128), np.zeros((1, 3), int)), "from -127 to 127"),
        (lambda: cv.multiply(np.ones((3, 2)), np.zeros((1, 3), int)), "integers [inputs, outputs]"),
        (lambda: cv.multiply(np.ones((3, 2), int), np.full((1, 3), 128)), "from -128 to 127"),
        (lambda: cv.multiply(np.ones((3, 2), int), np.zeros((1, 3), int), path="slow"), "must be one of fast"),
        (lambda: cv.multiply(np.ones((3, 2), int), np.zeros((1, 3), int), scheme="guess"), "unknown protection"),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(call, message):
    with pytest.raises(UserError) as refused:
        call()
    assert message in str(refused.value)
