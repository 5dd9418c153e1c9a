"""Batches hold every example once and little padding."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from crossvote.sim.common.errors import UserError
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.tasks import Example
from crossvote.swstack.tasks.batches import batch_indices, batches, encode
from crossvote.swstack.tasks.words import dropped_share


@pytest.mark.parametrize("rng", [None, np.random.default_rng(0)])
def test_every_example_is_in_exactly_one_batch(rng):
    lengths = np.random.default_rng(1).integers(3, 40, size=107)
    cut = batch_indices(lengths, 8, rng)
    assert sorted(np.concatenate(cut)) == list(range(107))
    assert sorted(len(batch) for batch in cut) == [3] + [8] * 13
    padded = sum(len(batch) * lengths[batch].max() for batch in cut)
    assert padded < 1.2 * lengths.sum()


def test_shuffled_batches_follow_the_generator():
    lengths = np.random.default_rng(1).integers(3, 40, size=107)
    first, same, other = (batch_indices(lengths, 8, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_padding_is_masked(tiny_directory, tiny_task):
    _, tokenizer = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)
    encoded = encode(tokenizer, tiny_task.dev, 16)
    assert encode(tokenizer, tiny_task.dev, 16) is encoded
    for batch in batches(encoded, 7):
        ids, mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
        assert torch.equal(mask.sum(dim=1), torch.from_numpy(encoded.lengths[batch.indices]))
        assert (ids[mask == 0] == tokenizer.pad_token_id).all()
        assert torch.equal(batch.labels, encoded.labels[torch.from_numpy(batch.indices)])


def texts(*sentences):
    return tuple(Example(sentence, None, 0) for sentence in sentences)


def test_the_share_of_unknown_tokens_is_counted_said_and_limited(tiny_directory, caplog):
    _, tokenizer = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)
    assert encode(tokenizer, texts("red green", "blue"), 16).unknown == 0.0
    assert not caplog.records
    assert encode(tokenizer, texts("red green blue", "red the colour", "the"), 16).unknown == pytest.approx(1 / 7)
    assert "14.3 % of the tokens are unknown" in caplog.text
    with pytest.raises(UserError, match=r"75\.0 % of the tokens are unknown .* another model"):
        encode(tokenizer, texts("der Apfel ist red"), 16)


def test_letters_that_get_no_token_are_unknown_too(tiny_directory, tmp_path, caplog):
    """A tokenizer of bytes with the words of a BERT leaves out what it does not know, and has no token for it."""
    shutil.copytree(tiny_directory, tmp_path / "model")
    path = tmp_path / "model" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_class": "GPT2Tokenizer"}))
    _, tokenizer = load_model(ModelConfig(source=str(tmp_path / "model")), 2, False, seed=0)
    with pytest.raises(UserError, match=r"\d\d\.\d % of the letters are in no token of .* another model"):
        encode(tokenizer, texts("red green", "blue"), 16)
    _, known = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)
    whole = ("red green blue and the",) * 9
    assert dropped_share(known, texts(*whole, "red \u200b\u200b\u200b\u200b\u200b")) == pytest.approx(
        5 / (9 * 18 + 3 + 5)
    )
    assert "2.9 % of the letters are in no token of the model's tokenizer" in caplog.text


def test_an_example_without_a_token_is_named():
    class Mute:
        """A tokenizer that makes nothing of anything, as one of another model may."""

        model_max_length, pad_token_id, all_special_ids = 32, 0, ()

        def __call__(self, first, second=None, **_):
            return {"input_ids": [[1] if text == "a" else [] for text in first]}

    with pytest.raises(UserError, match="no token of example 2; it is of another model, or the text is empty"):
        encode(Mute(), texts("a", "b"), 16)


def test_truncation_by_the_model_is_said(tiny_directory, caplog):
    _, tokenizer = load_model(ModelConfig(source=str(tiny_directory)), 2, False, seed=0)
    assert encode(tokenizer, texts("red " * 60), 64).lengths.tolist() == [32]
    assert "the model takes 32 tokens at most, fewer than max_length = 64" in caplog.text
