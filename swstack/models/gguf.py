"""GGUF, the single-file format of llama.cpp, as a model in ``save_pretrained`` layout: nothing is unpickled.

The format is documented at https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: a header of typed keys (sizes,
tokenizer), a table of tensors, and their data in blocks. Read here are the families and block formats of the models
that CrossVote installs: Llama's layers and a byte-level BPE tokenizer; F32, F16, Q8_0, Q4_0 and Q4_1.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.common.errors import UserError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SCALARS = {0: "B", 1: "b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "?", 10: "<Q", 11: "<q", 12: "<d"}
_TEXT, _LIST = 8, 9
#: Kind of a token that stands for no text.
_CONTROL = 3
#: Most dimensions of a tensor that the format allows.
_DIMENSIONS = 4


def _plain(dtype: str) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    return lambda data: data.view(dtype).astype(np.float32)


def _q8_0(data: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Blocks of 32: a half-precision step and 32 signed bytes."""
    blocks = data.reshape(-1, 34)
    step = blocks[:, :2].copy().view("<f2").astype(np.float32)
    return (blocks[:, 2:].view(np.int8).astype(np.float32) * step).ravel()


def _nibbles(packed: NDArray[np.uint8]) -> NDArray[np.float32]:
    """32 values of 16 bytes: the low halves first, then the high ones."""
    return np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32)


def _q4_0(data: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Blocks of 32: a half-precision step and 32 values of 4 bits, 8 taken off."""
    blocks = data.reshape(-1, 18)
    step = blocks[:, :2].copy().view("<f2").astype(np.float32)
    return ((_nibbles(blocks[:, 2:]) - 8) * step).ravel()


def _q4_1(data: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Blocks of 32: a half-precision step, a half-precision minimum, and 32 values of 4 bits."""
    blocks = data.reshape(-1, 20)
    step, least = (blocks[:, at : at + 2].copy().view("<f2").astype(np.float32) for at in (0, 2))
    return (_nibbles(blocks[:, 4:]) * step + least).ravel()


@dataclass(frozen=True)
class _Format:
    """A block format: values and bytes of a block, and how blocks become numbers."""

    values: int
    size: int
    decode: Callable[[NDArray[np.uint8]], NDArray[np.float32]]


_FORMATS: Mapping[int, _Format] = {
    0: _Format(1, 4, _plain("<f4")),
    1: _Format(1, 2, _plain("<f2")),
    2: _Format(32, 18, _q4_0),
    3: _Format(32, 20, _q4_1),
    8: _Format(32, 34, _q8_0),
}


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies: its shape as torch has it, its format's number, its first byte in the file."""

    shape: tuple[int, ...]
    format: int
    start: int


class GgufFile:
    """Keys and tensors of a GGUF file.

    keys: the header. Tensors are read when asked for.

    Raises:
        UserError: a file that is none, is cut off, or is of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            try:
                self._data: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError:
                raise UserError(f"{path}: is empty.") from None
        self._at = 0
        self.keys: dict[str, Any] = {}
        self._places: dict[str, _Place] = {}
        try:
            self._read_header()
        except (struct.error, UnicodeDecodeError, KeyError, MemoryError, OverflowError):
            raise UserError(f"{path}: damaged or cut off in its header.") from None

    def _read_header(self) -> None:
        if self._data[:4] != _MAGIC:
            raise UserError(f"{self.path}: is no GGUF file.")
        self._at = 4
        version, tensors, keys = self._scalar("<I"), self._scalar("<Q"), self._scalar("<Q")
        if version not in _VERSIONS:
            raise UserError(f"{self.path}: GGUF version {version}; read are {' and '.join(map(str, _VERSIONS))}.")
        for _ in range(keys):
            name = self._text()
            self.keys[name] = self._value(self._scalar("<I"))
        places = {}
        for _ in range(tensors):
            name, dimensions = self._text(), self._scalar("<I")
            if dimensions > _DIMENSIONS:
                raise UserError(f"{self.path}: tensor {name} has {dimensions} dimensions.")
            shape = tuple(self._scalar("<Q") for _ in range(dimensions))[::-1]
            places[name] = _Place(shape, self._scalar("<I"), self._scalar("<Q"))
        unit = int(self.keys.get("general.alignment", 32))
        first = -(-self._at // unit) * unit
        self._places = {name: _Place(p.shape, p.format, first + p.start) for name, p in places.items()}

    def _scalar(self, kind: str) -> Any:
        (value,) = struct.unpack_from(kind, self._data, self._at)
        self._at += struct.calcsize(kind)
        return value

    def _text(self) -> str:
        size = self._scalar("<Q")
        if self._at + size > len(self._data):
            raise struct.error
        text: str = self._data[self._at : self._at + size].decode()
        self._at += size
        return text

    def _value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self._text()
        if kind == _LIST:
            of = self._scalar("<I")
            return [self._value(of) for _ in range(self._scalar("<Q"))]
        return self._scalar(_SCALARS[kind])

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors."""
        return tuple(self._places)

    def tensor(self, name: str) -> NDArray[np.float32]:
        """The numbers of a tensor, in torch's shape.

        Raises:
            UserError: there is none of that name, it is cut off, or its format is not known.
        """
        place = self._places.get(name)
        if place is None:
            raise UserError(f"{self.path}: has no tensor {name}.")
        form = _FORMATS.get(place.format)
        if form is None:
            raise UserError(f"{self.path}: tensor {name} is in format number {place.format}, which is not read.")
        count = int(np.prod(place.shape, dtype=np.int64))
        size = count // form.values * form.size
        if count % form.values or place.start + size > len(self._data):
            raise UserError(f"{self.path}: tensor {name} is cut off.")
        data = np.frombuffer(self._data, np.uint8, size, place.start)
        return form.decode(data).reshape(place.shape)


def to_directory(source: Path, directory: Path) -> None:
    """Write the model of a GGUF file into an existing folder, in ``save_pretrained`` layout, weights as float32.

    Raises:
        UserError: a family, a tokenizer or a format that is not read.
    """
    from safetensors.numpy import save_file

    file = GgufFile(source)
    config = llama_config(file)
    (directory / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    _write_tokenizer(file, directory)
    save_file(llama_weights(file, config), directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "model.safetensors").chmod(0o644)  # the library writes it for the owner alone


def llama_config(file: GgufFile) -> dict[str, Any]:
    """What ``config.json`` says of a Llama model.

    Raises:
        UserError: another family, or a size that is not said.
    """
    keys = file.keys
    family = keys.get("general.architecture")
    if family != "llama":
        raise UserError(f"{file.path}: a model of the family {family!r}; only Llama's layers are read from GGUF.")
    try:
        heads, hidden = keys["llama.attention.head_count"], keys["llama.embedding_length"]
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": len(keys["tokenizer.ggml.tokens"]),
            "hidden_size": hidden,
            "intermediate_size": keys["llama.feed_forward_length"],
            "num_hidden_layers": keys["llama.block_count"],
            "num_attention_heads": heads,
            "num_key_value_heads": keys.get("llama.attention.head_count_kv", heads),
            "head_dim": keys.get("llama.rope.dimension_count", hidden // heads),
            "max_position_embeddings": keys["llama.context_length"],
            "rope_theta": keys.get("llama.rope.freq_base", 10_000.0),
            # Stored in single precision; six digits are what was written.
            "rms_norm_eps": float(f"{keys['llama.attention.layer_norm_rms_epsilon']:.6g}"),
            "hidden_act": "silu",
            "tie_word_embeddings": "output.weight" not in file.tensors,
            "bos_token_id": keys.get("tokenizer.ggml.bos_token_id"),
            "eos_token_id": keys.get("tokenizer.ggml.eos_token_id"),
            "pad_token_id": keys.get("tokenizer.ggml.padding_token_id"),
        }
    except KeyError as error:
        raise UserError(f"{file.path}: the key {error.args[0]} is missing.") from None


def llama_weights(file: GgufFile, config: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
    """The weights under transformers' names, queries and keys with the halves of a head in transformers' order."""
    weights = {
        "model.embed_tokens.weight": file.tensor("token_embd.weight"),
        "model.norm.weight": file.tensor("output_norm.weight"),
    }
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = file.tensor("output.weight")
    for layer in range(config["num_hidden_layers"]):
        old, new = f"blk.{layer}", f"model.layers.{layer}"
        for theirs, ours, heads in (
            ("attn_q", "self_attn.q_proj", config["num_attention_heads"]),
            ("attn_k", "self_attn.k_proj", config["num_key_value_heads"]),
            ("attn_v", "self_attn.v_proj", 0),
            ("attn_output", "self_attn.o_proj", 0),
            ("ffn_gate", "mlp.gate_proj", 0),
            ("ffn_up", "mlp.up_proj", 0),
            ("ffn_down", "mlp.down_proj", 0),
            ("attn_norm", "input_layernorm", 0),
            ("ffn_norm", "post_attention_layernorm", 0),
        ):
            weight = file.tensor(f"{old}.{theirs}.weight")
            weights[f"{new}.{ours}.weight"] = np.ascontiguousarray(halves_apart(weight, heads) if heads else weight)
    return weights


def halves_apart(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of every head reordered: rotary pairs are neighbours in GGUF, and half a head apart in transformers."""
    outputs, inputs = weight.shape
    return weight.reshape(heads, outputs // heads // 2, 2, inputs).swapaxes(1, 2).reshape(outputs, inputs)


def _write_tokenizer(file: GgufFile, directory: Path) -> None:
    """A byte-level BPE tokenizer as ``tokenizer.json``, with its special tokens and chat template.

    Raises:
        UserError: a tokenizer of another kind.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    keys = file.keys
    kind, splits = keys.get("tokenizer.ggml.model"), keys.get("tokenizer.ggml.pre", "default")
    if kind != "gpt2" or splits not in ("smollm", "gpt-2", "default"):
        raise UserError(f"{file.path}: a tokenizer of the kind {kind!r} with splits {splits!r} is not read from GGUF.")
    tokens, merges = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.merges"]
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, pairs))
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    digits = pre_tokenizers.Split(Regex(r"\p{N}"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, words]) if splits == "smollm" else words
    tokenizer.decoder = decoders.ByteLevel()
    kinds = keys.get("tokenizer.ggml.token_type", [])
    control = [token for token, kind in zip(tokens, kinds, strict=False) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in control])
    tokenizer.save(str(directory / "tokenizer.json"))
    special = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    for name, key in special.items():
        index = keys.get(f"tokenizer.ggml.{key}_token_id")
        if index is not None:
            settings[name] = tokens[index]
    settings["model_max_length"] = keys.get("llama.context_length")
    if "tokenizer.chat_template" in keys:
        settings["chat_template"] = keys["tokenizer.chat_template"]
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
