"""Checkpoints as people have them: cut off, quantized, with more or less in them than their configuration says."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from crossvote.sim.common.errors import UserError
from crossvote.swstack.models import sources
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.heads import Head
from crossvote.swstack.models.loading import load, load_model
from crossvote.swstack.models.sources import locate
from crossvote.swstack.tasks import Example
from crossvote.swstack.tasks.batches import collate, encode

NLI = ("entailment", "neutral", "contradiction")


def open_model(folder, labels=2):
    return load_model(ModelConfig(source=str(folder)), labels, False, seed=0)


def with_tensor(name, tensor):
    return lambda tensors: {**tensors, name: tensor}


def without_prefix(tensors):
    return {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}


def without_a_head(tensors):
    """What transformers 4 saved after prune_heads."""
    attention = "bert.encoder.layer.0.attention"
    for part in ("query", "key", "value"):
        for kind in ("weight", "bias"):
            name = f"{attention}.self.{part}.{kind}"
            tensors[name] = tensors[name][:16].clone()
    tensors[f"{attention}.output.dense.weight"] = tensors[f"{attention}.output.dense.weight"][:, :16].clone()
    return tensors


def not_finite(value):
    def change(tensors):
        tensors["bert.encoder.layer.1.output.dense.weight"][3, 4] = value
        return tensors

    return change


QUERY = "bert.encoder.layer.0.attention.self.query.weight"
DISTANCE = "bert.encoder.layer.0.attention.self.distance_embedding.weight"
LORA = "bert.encoder.layer.0.attention.self.query.lora_A.default.weight"


@pytest.mark.parametrize(
    ("config", "tensors", "message"),
    [
        (
            {"num_hidden_layers": 1},
            None,
            r"holds 16 encoder weights that .* would drop, the first is bert\.enc.*layer\.1",
        ),
        ({"num_hidden_layers": 1}, without_prefix, r"holds 16 encoder weights .* first is encoder\.layer\.1"),
        ({"position_embedding_type": "relative_key"}, with_tensor(DISTANCE, torch.zeros(63, 16)), DISTANCE),
        ({}, with_tensor(LORA, torch.zeros(4, 32)), f"{LORA}; merge adapters"),
        ({"pruned_heads": {"0": [1]}}, without_a_head, r"other shapes after its heads were pruned: .* 16.* and .* 32"),
        ({"hidden_size": 64}, None, r"other shapes: .* 32 in the file and 64 by config\.json"),
        ({}, not_finite(float("nan")), r"layer\.1\.output\.dense\.weight is NaN or infinite in 1 place"),
        ({}, not_finite(float("-inf")), "NaN or infinite"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, None, "quantized already .bitsandbytes"),
        ({"model_type": "no-such-family"}, None, "has no family .no-such-family."),
        ({"hidden_act": "no-such-activation"}, None, "cannot be loaded"),
        ({"model_type": None}, None, "has no 'model_type'"),
        ({"num_attention_heads": 0}, None, "'num_attention_heads' = 0: must be at least 1"),
        ({"num_attention_heads": 3}, None, "not a multiple of the number of attention heads"),
        ({"id2label": {"a": "b"}}, None, "'id2label' must be a table"),
        ({"id2label": ["a", "b"]}, None, "'id2label' must be a table"),
        ({"hidden_dropout_prob": 2.0}, None, "must be from 0 to 1"),
        (
            {},
            with_tensor(QUERY, torch.ones(32, 32, dtype=torch.int8)),
            f"{QUERY} is stored as I8 and not in floating point",
        ),
        ({}, with_tensor(QUERY, torch.ones(32, 32).to(torch.float8_e4m3fn)), f"{QUERY} is stored as F8_E4M3"),
        ({}, with_tensor(QUERY, torch.full((32, 32), 1e300, dtype=torch.float64)), "NaN or infinite"),
        ({}, with_tensor(QUERY, torch.ones(32, 32, dtype=torch.bool)), f"{QUERY} is stored as BOOL"),
        ({}, with_tensor(QUERY, torch.ones(32, 32, dtype=torch.int64)), f"{QUERY} is stored as I64"),
        ({}, with_tensor(QUERY, torch.tensor(1.0)), "is a single number in the file and 32 x 32 by"),
        ({"num_hidden_layers": 10**9}, None, r"'num_hidden_layers' = 1000000000: the files hold \d+ weights of"),
        ({"hidden_size": 10**9}, None, "'hidden_size' = 1000000000: the files hold"),
        (
            {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}},
            None,
            r"config\.json: transformers [\w.]+ has no family 'own'; code that the checkpoint brings .* is never run",
        ),
        ({"model_type": "own"}, None, r"config\.json: transformers [\w.]+ has no family 'own'\.$"),
    ],
)
def test_what_would_be_dropped_or_made_up_is_refused_by_name(changed, config, tensors, message):
    with pytest.raises(UserError, match=message):
        open_model(changed(config, tensors))


def test_buffers_of_older_versions_are_no_content(changed):
    open_model(changed(tensors=with_tensor("bert.embeddings.position_ids", torch.arange(32)[None])))


def test_indices_and_counters_are_no_quantized_weights(changed):
    open_model(changed(tensors=with_tensor("norm.num_batches_tracked", torch.tensor(3))))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "Git LFS pointer"),
        ("tokenizer.json", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "Git LFS pointer"),
        ("model.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{", "damaged or cut off"),
        ("model.safetensors", b"", "damaged or cut off"),
        ("config.json", b"{", "not a JSON file"),
        ("config.json", b"[]", "must hold a JSON object"),
        ("config.json", b"[" * 100_000, "not a JSON file"),
        ("tokenizer.json", b"{}", "tokenizer of model .* cannot be loaded"),
        ("tokenizer.json", b"{", r"tokenizer\.json: not a JSON file"),
        ("tokenizer_config.json", b"\xff", r"tokenizer_config\.json: not a JSON file"),
        ("config.json", b"\xff\xfe{}", "not a JSON file"),
        ("model.safetensors.index.json", b'{"weight_map": 3}', "'weight_map' must be a table"),
        ("model.safetensors.index.json", b'{"weight_map": {"a": 5}}', "'weight_map' must be a table"),
        *(
            ("model.safetensors.index.json", b'{"metadata": {}, "weight_map": ' + places + b"}", message)
            for places, message in (
                (b'{"a": "model-2.safetensors"}', r"model-2\.safetensors is missing, which"),
                (
                    b'{"a": "model.bin"}',
                    r"names 'model\.bin': weights are read from \.safetensors files beside it only",
                ),
                (b'{"a": "../model.safetensors"}', r"names '\.\./model\.safetensors': weights are read from"),
                (b'{"a": "/model.safetensors"}', "beside it only"),
                (b"{}", "'weight_map' must be a table"),
            )
        ),
        ("model.safetensors.index.json", b'{"metadata": {}}', "'weight_map' must be a table"),
        (
            "model.safetensors.index.json",
            b'{"weight_map": {"a": "model.safetensors"}}',
            r"index\.json: 'metadata' must be a table \(it may be empty\)",
        ),
    ],
)
def test_damaged_files_are_named(changed, name, content, message):
    folder = changed()
    if name == "model.safetensors.index.json":  # which is read where there is no whole file
        (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        open_model(folder)
    assert str(folder) in str(caught.value)


def test_beside_a_whole_file_of_weights_others_do_not_count(
    changed: Callable[..., Path], tiny_directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The index of an earlier saving, whose files are gone, and what trainers leave."""
    folder = changed()
    weight_map = {"a": "model-00001-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / "optimizer.safetensors").write_bytes(b"cut off")
    save_file({"weight": torch.ones(2, dtype=torch.int8)}, folder / "model-00002-of-00002.safetensors")
    expected = weights_of(tiny_directory)
    with caplog.at_level(logging.WARNING):
        found = weights_of(folder)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert f"{folder}: model.safetensors is read, and model.safetensors.index.json beside it is left out" in caplog.text


def test_an_adapter_alone_is_no_model(changed):
    folder = changed()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    with pytest.raises(UserError, match="holds an adapter only"):
        open_model(folder)


def test_an_adapter_beside_a_model_is_not_left_out_in_silence(changed):
    folder = changed()
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="an adapter beside the model, which would run without it"):
        open_model(folder)


def pickled(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def in_shards(folder):
    """Two files and their index, as large models are saved."""
    tensors, placed = load_file(folder / "model.safetensors"), {}
    for number, names in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2]), start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in names}, folder / file, metadata={"format": "pt"})
        placed |= dict.fromkeys(names, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    (folder / "model.safetensors").unlink()


def one_shard_lost(folder):
    in_shards(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def all_shards_lost(folder):
    one_shard_lost(folder)
    (folder / "model-00001-of-00002.safetensors").unlink()


def index_lost(folder):
    in_shards(folder)
    (folder / "model.safetensors.index.json").unlink()


def shards_exchanged(folder):
    in_shards(folder)
    shutil.copy(folder / "model-00001-of-00002.safetensors", folder / "model-00002-of-00002.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pickled, "pickled weights are not read"),
        (one_shard_lost, r"model-00002-of-00002\.safetensors is missing, which model\.safetensors\.index\.json names"),
        (all_shards_lost, "is missing, which"),
        (index_lost, r"no model\.safetensors or model\.safetensors\.index\.json .* beside model-00001-of"),
        (shards_exchanged, "does not provide"),
    ],
)
def test_weights_that_are_not_all_there_are_named(changed, change, message):
    folder = changed()
    change(folder)
    with pytest.raises(UserError, match=message):
        open_model(folder)


@pytest.mark.parametrize(
    ("index", "files"),
    [("pytorch_model.bin.index.json", "pytorch_model-00001.bin"), ("tf_model.h5.index.json", "a.h5")],
)
@pytest.mark.parametrize("shards", [False, True])
def test_an_index_of_weights_that_are_not_read_is_no_matter(
    changed: Callable[..., Path], index: str, files: str, shards: bool
) -> None:
    """Who fetches a model without its pickled weights has their index all the same."""
    folder = changed()
    if shards:
        in_shards(folder)
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": {"a": files}}))
    open_model(folder)


def weights_of(folder):
    model, _ = open_model(folder)
    return {name: parameter for name, parameter in model.named_parameters() if "classifier" not in name}


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64, "shards", "old names"])
def test_weights_come_as_they_were_saved(changed, tiny_directory, kind):
    def other_form(tensors):
        if kind == "old names":
            return {
                name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
                for name, tensor in tensors.items()
            }
        return tensors if kind == "shards" else {name: tensor.to(kind) for name, tensor in tensors.items()}

    folder = changed({"dtype": "float16"}, other_form)
    if kind == "shards":
        in_shards(folder)
    expected = weights_of(tiny_directory)
    for name, parameter in weights_of(folder).items():
        wanted = expected[name].to(kind).float() if isinstance(kind, torch.dtype) else expected[name]
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, wanted), name


def test_an_architecture_of_another_family_is_said(changed, caplog):
    folder = changed({"architectures": ["GPT2LMHeadModel"]})
    with caplog.at_level(logging.WARNING):
        open_model(folder)
    assert "family 'bert', which its config.json names, but the architecture GPT2LMHeadModel" in caplog.text


def test_a_tokenizer_without_a_word_for_what_it_does_not_know_is_named(changed):
    folder = changed()
    for path in folder.iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            path.unlink()
    (folder / "vocab.txt").write_text("the\nred\nblue\n")
    with pytest.raises(UserError, match=r"fails at a word it does not know .*UNK"):
        open_model(folder)


@pytest.mark.parametrize("settings", [{"padding_side": "left"}, {"pad_token": None}, {"cls_token": None}])
def test_a_short_sentence_scores_the_same_beside_a_long_one(tiny_directory, tmp_path, settings):
    """Whatever the tokenizer says of its padding: positions count from the first token of the sentence."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_directory, folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    model, tokenizer = open_model(folder)
    encoded = encode(tokenizer, (Example("red", None, 0), Example("red blue green the red", None, 1)), 16)
    with torch.no_grad():
        alone, together = (model(**collate(encoded, np.array(at)).inputs).logits for at in ([0], [0, 1]))
    torch.testing.assert_close(alone[0], together[0])


def test_words_that_only_sentencepiece_can_read_are_said_with_the_way_out(
    changed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = changed({"model_type": "albert"})
    for file in folder.glob("*token*.json"):
        file.unlink()
    words = folder / "spiece.model"
    words.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n")
    with pytest.raises(UserError, match=r"spiece\.model: is a Git LFS pointer"):
        open_model(folder)
    words.write_bytes(b"\x0a\x00")
    for absent, said in {
        ("sentencepiece",): "'sentencepiece' is not installed; run pip install sentencepiece, or",
        ("google.protobuf",): "'protobuf' is not installed; run pip install protobuf, or",
        ("sentencepiece", "google.protobuf"): "'sentencepiece' and 'protobuf' are not installed; run pip install sent",
    }.items():
        monkeypatch.setattr(sources, "is_installed", lambda module, absent=absent: module not in absent)
        with pytest.raises(UserError, match=rf"spiece\.model has the words of the tokenizer, and {said}"):
            open_model(folder)


def test_a_directory_without_tokenizer_files_is_refused(changed):
    folder = changed()
    for path in folder.iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            path.unlink()
    with pytest.raises(UserError, match=r"no tokenizer files .*every word would be unknown"):
        open_model(folder)


def test_the_head_is_put_into_the_order_of_the_tasks_labels(changed):
    own = {"0": "CONTRADICTION", "1": "NEUTRAL", "2": "ENTAILMENT"}
    tensors = with_tensor("classifier.weight", torch.arange(3.0)[:, None].repeat(1, 32))
    folder = changed({"id2label": own}, lambda held: {**tensors(held), "classifier.bias": torch.arange(3.0)})
    model, _ = load(ModelConfig(source=str(folder)), Head(outputs=3, labels=NLI), seed=0)
    assert model.config.id2label == dict(enumerate(NLI))
    assert model.config.label2id == {"entailment": 0, "neutral": 1, "contradiction": 2}
    assert model.classifier.bias.tolist() == [2.0, 1.0, 0.0]
    assert model.classifier.weight[:, 0].tolist() == [2.0, 1.0, 0.0]


def test_a_head_with_other_classes_is_said(changed, caplog):
    folder = changed({"id2label": {"0": "spam", "1": "ham"}})
    with caplog.at_level(logging.WARNING):
        model, _ = load(ModelConfig(source=str(folder)), Head(outputs=2, labels=("no", "yes")), seed=0)
    assert "spam, ham; they are taken, in this order, for no, yes" in caplog.text
    assert model.config.id2label == {0: "no", 1: "yes"}


@pytest.mark.parametrize("names", [{"0": 0, "1": 1}, {"0": None, "1": None}, {"0": "no", "1": 1.5}])
def test_class_names_that_are_no_text_are_taken_as_they_are_written(changed, caplog, names):
    folder = changed({"id2label": names})
    with caplog.at_level(logging.WARNING):
        model, _ = load(ModelConfig(source=str(folder)), Head(outputs=2, labels=("no", "yes")), seed=0)
    assert f"classes {names['0']}, {names['1']}; they are taken, in this order, for no, yes" in caplog.text
    assert model.config.id2label == {0: "no", 1: "yes"}


def test_a_head_whose_classes_have_no_names_is_said(changed, caplog):
    folder = changed({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}})
    with caplog.at_level(logging.WARNING):
        load(ModelConfig(source=str(folder)), Head(outputs=2, labels=("no", "yes")), seed=0)
    assert "has a head for classes without names; they are taken, in this order, for no, yes" in caplog.text


def test_a_fresh_head_just_takes_the_names(changed, caplog):
    folder = changed({"id2label": {"0": "spam", "1": "ham"}})
    with caplog.at_level(logging.WARNING):
        model, _ = load(ModelConfig(source=str(folder)), Head(outputs=3, labels=NLI), seed=0)
    assert not caplog.records
    assert model.config.id2label == dict(enumerate(NLI))


def save(folder, tiny_directory, model, **tokenizer_config):
    """`model` beside the tiny checkpoint's tokenizer."""
    shutil.copytree(tiny_directory, folder)
    model.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **tokenizer_config}))
    return folder


SIZES = {
    "vocab_size": 15,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def logits_of(folder, first, second=None, length=64):
    model, tokenizer = open_model(folder)
    tokens = tokenizer(first, second, truncation=True, max_length=min(length, tokenizer.model_max_length),
                       return_tensors="pt", padding=True)  # fmt: skip
    with torch.no_grad():
        return tokens, model(**tokens).logits


def test_inputs_are_no_longer_than_the_positions(tiny_directory, tmp_path):
    roberta = RobertaConfig(max_position_embeddings=20, pad_token_id=0, type_vocab_size=1, **SIZES)
    folder = save(tmp_path / "roberta", tiny_directory, RobertaForSequenceClassification(roberta))
    tokens, logits = logits_of(folder, ["red blue " * 40])
    assert tokens["input_ids"].shape[1] == 19  # positions count from the padding index + 1
    assert torch.isfinite(logits).all()
    bert = BertForSequenceClassification(BertConfig(max_position_embeddings=12, **SIZES))
    tokens, _ = logits_of(save(tmp_path / "bert", tiny_directory, bert), ["red blue " * 40])
    assert tokens["input_ids"].shape[1] == 12


def test_a_pair_for_a_model_with_one_token_type(tiny_directory, tmp_path):
    roberta = RobertaConfig(max_position_embeddings=40, pad_token_id=0, type_vocab_size=1, **SIZES)
    folder = save(tmp_path / "roberta", tiny_directory, RobertaForSequenceClassification(roberta))
    tokens, logits = logits_of(folder, ["red blue"], ["green the"])
    assert "token_type_ids" not in tokens
    assert logits.shape == (1, 2)


def test_a_padding_token_outside_the_embeddings_is_replaced(tiny_directory, tmp_path):
    bert = BertForSequenceClassification(BertConfig(max_position_embeddings=32, **SIZES))
    folder = save(tmp_path / "bert", tiny_directory, bert)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "<pad added later>"})
    assert tokenizer.pad_token_id >= 15
    tokenizer.save_pretrained(folder)
    tokens, logits = logits_of(folder, ["red", "red blue green"])
    assert int(tokens["input_ids"].max()) < 15
    torch.testing.assert_close(logits[:1], logits_of(folder, ["red"])[1])


def test_a_model_without_a_padding_token_takes_batches(tiny_directory, tmp_path):
    gpt2 = GPT2ForSequenceClassification(
        GPT2Config(vocab_size=15, n_embd=32, n_layer=2, n_head=2, bos_token_id=3, eos_token_id=3)
    )
    folder = save(tmp_path / "gpt2", tiny_directory, gpt2)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / name
        if path.is_file():
            path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "pad_token"}))
    tokens, logits = logits_of(folder, ["red", "red blue green"])
    assert "token_type_ids" not in tokens
    torch.testing.assert_close(logits[:1], logits_of(folder, ["red"])[1])


@pytest.mark.parametrize("limit", [0, -1, "many", None, True])
def test_a_tokenizer_that_says_no_length_has_the_models(tiny_directory, tmp_path, limit):
    bert = BertForSequenceClassification(BertConfig(max_position_embeddings=12, **SIZES))
    folder = save(tmp_path / "bert", tiny_directory, bert, model_max_length=limit)
    tokens, _ = logits_of(folder, ["red blue " * 40])
    assert tokens["input_ids"].shape[1] == 12


def test_words_without_embeddings_are_refused_when_they_occur(tiny_directory, tmp_path):
    bert = BertForSequenceClassification(BertConfig(max_position_embeddings=32, **{**SIZES, "vocab_size": 12}))
    _, tokenizer = open_model(save(tmp_path / "bert", tiny_directory, bert))
    assert encode(tokenizer, (Example("red", None, 0),), 16).lengths.tolist() == [3]
    with pytest.raises(UserError, match="makes token 12, but the model has embeddings for 12 tokens only"):
        encode(tokenizer, (Example("red not", None, 0),), 16)


def test_a_mistyped_path_is_no_hub_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "base").mkdir(parents=True)
    with pytest.raises(UserError, match=r"models/bsae: no such directory; did you mean models/base\?"):
        locate("models/bsae")
    (tmp_path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="is a file; the directory"):
        locate("weights.safetensors")


def test_a_hub_that_cannot_be_reached_is_asked_once(monkeypatch):
    calls = []

    class Session:
        def head(self, url, timeout):
            calls.append((url, timeout))
            raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.get_session", Session)
    with pytest.raises(UserError, match=r"no such directory, and the Hugging Face hub cannot be reached .*no route"):
        locate("nobody/nothing-of-this-name")
    assert len(calls) == 1
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="is switched off"):
        locate("nobody/nothing-of-this-name")
    with pytest.raises(UserError, match="neither a directory nor a possible"):
        locate("no such model")
    assert len(calls) == 1
