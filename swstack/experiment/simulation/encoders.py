"""Transformers by their sizes alone: well-known names, and any model's ``config.json`` as Hugging Face writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossvote.sim.common.errors import UserError
from crossvote.sim.system.dimensions import BERT_BASE, MINILM_L6, Dimensions

#: Devlin et al. (NAACL 2019); Sanh et al. (2019): half of BERT-base's layers; all-MiniLM-L6-v2; SmolLM2-135M, whose
#: three heads of keys and values serve nine of queries.
ENCODERS: dict[str, Dimensions] = {
    "bert-base": BERT_BASE,
    "bert-large": Dimensions(layers=24, hidden=1024, intermediate=4096, heads=16),
    "distilbert": Dimensions(layers=6, hidden=768, intermediate=3072, heads=12),
    "minilm-l6": MINILM_L6,
    "smollm2-135m": Dimensions(
        layers=30, hidden=576, intermediate=1536, heads=9, queries=576, keys=192, gated=True, causal=True
    ),
}
#: Names that model families give to the same size; the first that is there counts.
_KEYS: dict[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "n_layers", "n_layer", "num_layers"),
    "hidden": ("hidden_size", "dim", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_heads", "n_head", "num_heads"),
    "intermediate": ("intermediate_size", "hidden_dim", "n_inner", "d_ff", "ffn_dim"),
}
#: Families whose feed-forward part has a gate beside the first matrix.
_GATED = (
    "llama",
    "mistral",
    "mixtral",
    "gemma",
    "gemma2",
    "gemma3",
    "qwen2",
    "qwen3",
    "phi3",
    "olmo",
    "olmo2",
    "modernbert",
)
#: Families that read text from left to right.
_CAUSAL = (*_GATED[:-1], "gpt2", "gpt_neo", "gpt_neox", "opt", "gptj", "bloom", "falcon", "phi")


def is_config(source: str) -> bool:
    """Whether a source is a model's ``config.json``, or a folder with one that is no run."""
    path = Path(source)
    return path.suffix == ".json" or ((path / "config.json").is_file() and not (path / "config.toml").is_file())


def read_dimensions(source: str) -> Dimensions:
    """Sizes from a ``config.json`` or the folder that has it.

    Raises:
        UserError: no such file, no JSON, a size that is not said or no number, an encoder-decoder.
    """
    path = Path(source) / "config.json" if Path(source).is_dir() else Path(source)
    try:
        config: Any = json.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows put a byte-order mark
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: a model's configuration cannot be read from it ({error}).") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: a model's configuration must be a table of keys.")
    if config.get("is_encoder_decoder"):
        raise UserError(f"{path}: the model has an encoder and a decoder; only one stack of layers can be simulated.")
    hidden, heads = _size(config, "hidden", path), _size(config, "heads", path)
    inner = _optional(config, "intermediate", path)
    head = config.get("head_dim") or hidden // heads
    keys = (config.get("num_key_value_heads") or heads) * head
    return Dimensions(
        layers=_size(config, "layers", path),
        hidden=hidden,
        intermediate=inner or 4 * hidden,
        heads=heads,
        queries=heads * head,
        keys=keys,
        gated=config.get("model_type") in _GATED,
        causal=is_causal(config),
    )


def is_causal(config: Mapping[str, Any]) -> bool:
    """Whether a model with this configuration reads text from left to right; tracing may have found it out."""
    if config.get("crossvote_causal") is not None:
        return bool(config["crossvote_causal"])
    return config.get("model_type") in _CAUSAL or bool(config.get("is_decoder"))


def _optional(config: Mapping[str, Any], what: str, path: Path) -> int | None:
    for key in _KEYS[what]:
        value = config.get(key)
        if value is not None:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UserError(f"{path}: {key} = {value!r} must be a whole number of at least 1.")
            return value
    return None


def _size(config: Mapping[str, Any], what: str, path: Path) -> int:
    value = _optional(config, what, path)
    if value is None:
        raise UserError(f"{path}: none of {', '.join(_KEYS[what])} says the model's {what}.")
    return value
