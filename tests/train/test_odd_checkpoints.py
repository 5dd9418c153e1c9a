"""Checkpoints by other hands: byte-order marks, wrappers, settings that say how to run, numbers that are none."""

from __future__ import annotations

import json
import math

import pytest
import torch

from crossvote.sim.common.errors import UserError
from crossvote.swstack.experiment.simulation.encoders import read_dimensions
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.loading import load_model, save_model


def open_model(folder):
    return load_model(ModelConfig(source=str(folder)), 2, False, seed=0)


def logits(folder):
    model, tokenizer = open_model(folder)
    with torch.no_grad():
        return model(**tokenizer(["red not blue", "the"], padding=True, return_tensors="pt")).logits


def set_key(folder, file, key, value):
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))


def test_a_byte_order_mark_is_no_part_of_a_text(changed, tiny_directory, tmp_path):
    folder = changed()
    for path in (*folder.glob("*.json"), *folder.glob("*.txt")):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    model, tokenizer = open_model(folder)
    assert model.name_or_path == str(folder)
    assert read_dimensions(str(folder)) == read_dimensions(str(tiny_directory))
    expected = logits(tiny_directory)
    torch.testing.assert_close(logits(folder), expected)
    save_model(model, tokenizer, tmp_path / "again")
    torch.testing.assert_close(logits(tmp_path / "again"), expected)


def test_the_first_word_of_a_list_with_a_byte_order_mark_is_found(changed):
    folder = changed()
    for path in folder.iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            path.unlink()
    words = "\n".join(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "alpha", "beta", "red"))
    (folder / "vocab.txt").write_text(words, encoding="utf-8-sig")
    _, tokenizer = open_model(folder)
    assert tokenizer.pad_token_id == 0
    assert tokenizer("red")["input_ids"] == [2, 7, 3]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_weights_from_inside_a_wrapper_are_those_of_the_model(changed, tiny_directory, prefix):
    folder = changed(tensors=lambda held: {f"{prefix}{name}": tensor for name, tensor in held.items()})
    torch.testing.assert_close(logits(folder), logits(tiny_directory))


def test_weights_under_another_name_are_told_by_it(changed):
    folder = changed(tensors=lambda held: {f"net.{name}": tensor for name, tensor in held.items()})
    with pytest.raises(UserError, match=r"the first is bert\.emb\S+; the file calls that net\.bert\.emb"):
        open_model(folder)


@pytest.mark.parametrize(
    "setting",
    [
        {"return_dict": False},
        {"output_attentions": True, "output_hidden_states": True},
        {"chunk_size_feed_forward": 2},
        {"attn_implementation": "flash_attention_2"},
        {"_attn_implementation": "no_such_kernel"},
    ],
)
def test_settings_of_how_a_model_is_run_change_nothing(changed, tiny_directory, setting):
    torch.testing.assert_close(logits(changed(setting)), logits(tiny_directory))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("layer_norm_eps", math.nan, "must be a number"),
        ("layer_norm_eps", math.inf, "must be a number"),
        ("layer_norm_eps", -1e-12, "at least 0"),
        ("layer_norm_eps", 1e30, "far below 1"),
        ("attention_probs_dropout_prob", math.nan, "must be a number"),
        ("attention_probs_dropout_prob", 1.5, "from 0 to 1"),
        ("hidden_dropout_prob", -0.1, "from 0 to 1"),
        ("initializer_range", math.nan, "must be a number"),
        ("n_layers", -2, "at least 1"),
        ("head_dim", 0, "at least 1"),
        ("num_layers", 10**9, "the files hold"),
        ("rope_parameters", {"rope_theta": math.inf}, "must be a number"),
    ],
)
def test_a_number_of_the_configuration_that_can_not_be_meant_is_named(changed, key, value, message):
    folder = changed({key: value})
    with pytest.raises(UserError, match=message) as caught:
        open_model(folder)
    assert str(caught.value).startswith(f"{folder / 'config.json'}: '{key}")


def test_logits_that_are_no_numbers_are_refused_at_load(changed):
    """Every weight is a number, and what comes out is none."""
    folder = changed(tensors=lambda held: {name: 1e36 * tensor for name, tensor in held.items()})
    with pytest.raises(UserError, match=r"bert: logits of a short input are NaN or infinite"):
        open_model(folder)


def test_a_single_weight_of_another_shape_is_counted_as_one(changed):
    name = "bert.encoder.layer.0.output.dense.bias"
    folder = changed(tensors=lambda held: {**held, name: torch.zeros(16)})
    with pytest.raises(UserError, match=r"is 16 in the file and 32 by config\.json\.$"):
        open_model(folder)


def test_a_single_weight_that_is_absent_is_named_alone(changed):
    name = "bert.encoder.layer.0.output.dense.bias"
    folder = changed(tensors=lambda held: {key: tensor for key, tensor in held.items() if key != name})
    with pytest.raises(UserError, match=rf"does not provide 1 weight of BertForSequenceClassification, {name}\.$"):
        open_model(folder)


@pytest.mark.parametrize("limit", [math.nan, math.inf, 1e30])
def test_a_length_that_is_none_is_the_models(changed, limit):
    folder = changed()
    set_key(folder, "tokenizer_config.json", "model_max_length", limit)
    assert open_model(folder)[1].model_max_length == 32


def test_inputs_without_room_for_a_word_are_refused(changed):
    folder = changed()
    set_key(folder, "tokenizer_config.json", "model_max_length", 2)
    with pytest.raises(UserError, match=r"no longer than 2 tokens .* of which marks take 2"):
        open_model(folder)
