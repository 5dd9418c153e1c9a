"""Chance level: the best constant answer on the labels that are measured, and what luck adds to it."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from crossvote.swstack.tasks.batches import encode
from crossvote.swstack.tasks.chance import Chance, chance_level, chance_without_input
from crossvote.swstack.tasks.own import task_from_rows

LABELS = [1] * 68 + [0] * 32


@pytest.mark.parametrize(
    ("metric", "score", "noise"),
    # Of a guess with the right frequencies p, q on n examples: accuracy 2 p q / sqrt(n - 1), F1 q / sqrt(n - 1).
    [
        ("accuracy", 68.0, 196 * 2 * 0.68 * 0.32 / 99**0.5),
        ("f1", 100 * 2 * 0.68 / 1.68, 196 * 0.32 / 99**0.5),
        ("matthews", 0.0, 196 / 99**0.5),
    ],
)
def test_every_metric_has_the_chance_level_of_its_best_constant_answer(metric, score, noise):
    found = chance_level((metric,), LABELS, 2, regression=False)[metric]
    assert found.score == pytest.approx(score)
    assert found.noise == pytest.approx(noise, rel=0.15)
    assert found.examples == 100


def test_the_majority_is_that_of_the_measured_labels_and_of_any_class():
    found = chance_level(("accuracy",), [2, 2, 2, 0, 1], 3, regression=False)["accuracy"]
    assert found.score == pytest.approx(60.0)


def test_a_constant_explains_nothing_of_a_score():
    scores = np.random.default_rng(0).normal(size=400).tolist()
    found = chance_level(("pearson", "spearman"), scores, 1, regression=True)
    for chance in found.values():
        assert chance.score == 0.0
        assert chance.noise == pytest.approx(196 / 399**0.5, rel=0.15)


def test_labels_of_one_class_leave_no_room_for_luck():
    assert chance_level(("accuracy",), [0, 0, 0], 2, regression=False)["accuracy"] == Chance("accuracy", 100.0, 0.0, 3)


def test_of_a_metric_of_which_less_is_better_less_is_above_chance():
    chance = Chance("perplexity", 500.0, 20.0, 100)
    assert not chance.holds(30.0)
    assert chance.holds(490.0)
    assert chance.holds(1000.0)
    assert chance.holds(float("nan"))


def test_within_the_noise_is_chance_and_above_it_is_not():
    chance = Chance("accuracy", 50.0, 3.0, 1000)
    assert [chance.holds(score) for score in (12.0, 50.0, 53.0, float("nan"), 53.1, 97.0)] == [
        *[True] * 4,
        *[False] * 2,
    ]


@pytest.fixture(scope="module")
def tokenizer():
    names = ["[PAD]", "[UNK]", "[MASK]", *(f"w{i}" for i in range(20))]
    words = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]"
    )  # fmt: skip


def test_of_tags_the_best_is_one_class_for_all_and_finds_no_entity(tokenizer):
    rows = [{"words": ["w1", "w2", "w3", "w4"], "tags": ["O", "B-X", "I-X", "O"]}] * 9
    rows += [{"words": ["w5", "w6"], "tags": ["B-X", "O"]}]
    task = task_from_rows("tags", rows, rows)
    found = chance_without_input(("accuracy", "entity_f1"), encode(tokenizer, task.dev, 16), task.labels)
    assert found["accuracy"].score == pytest.approx(100 * 19 / 38)
    # B-X for every word: every word is an entity; the one of a single word is right.
    assert found["entity_f1"].score == pytest.approx(100 * 2 * 1 / (38 + 10))
    assert all(0 < chance.noise < 40 for chance in found.values())
    assert found["accuracy"].examples == 10


def test_of_answers_the_best_is_as_many_first_words(tokenizer):
    context = " ".join(f"w{i}" for i in range(10))
    rows = [{"question": "w3", "context": context, "answers": "w0 w1"}] * 3
    rows += [{"question": "w3", "context": context, "answers": f"w{i}"} for i in (4, 5, 6, 7, 8)]
    task = task_from_rows("answers", rows, rows)
    found = chance_without_input(("exact_match", "answer_f1"), encode(tokenizer, task.dev, 32), ())
    assert found["exact_match"].score == pytest.approx(100 * 3 / 8)
    assert found["answer_f1"].score >= found["exact_match"].score
    assert all(chance.noise > 0 for chance in found.values())


@pytest.mark.parametrize("kind", ["causal-lm", "masked-lm"])
def test_of_text_the_best_is_the_most_frequent_token(tokenizer, kind):
    rows = [{"text": "w1 w2 w1 w3 w1 w4 w1 w5"}] * 40
    task = task_from_rows("text", rows, rows, kind=kind)
    encoded = encode(tokenizer, task.dev, 16)
    found = chance_without_input(("token_accuracy", "perplexity"), encoded, ())
    shares = np.array([0.5, *[0.125] * 4])
    assert found["token_accuracy"].score == pytest.approx(50, abs=0.5 if kind == "causal-lm" else 25)
    assert found["perplexity"].score == pytest.approx(
        np.exp(-(shares * np.log(shares)).sum()), rel=0.01 if kind == "causal-lm" else 0.4
    )
    assert found["token_accuracy"].noise > 0
    assert found["perplexity"].noise == pytest.approx(0, abs=1e-9)
