"""A tiny random model of every family that a layout claims, and of some that must be traced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import nn

WORDS, LENGTH = 40, 9
_SIZES = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 48,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GPT = {"vocab_size": WORDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 48, "bos_token_id": 1,
        "eos_token_id": 2, "pad_token_id": 0}  # fmt: skip
_IMAGE = {"image_size": 8, "patch_size": 4, "num_channels": 1}


@dataclass(frozen=True)
class Family:
    """name, how to make a model, and whether its layers are known (else they are traced)."""

    name: str
    make: Callable[[], nn.Module]
    known: bool = True


def _classifier(name: str, base: dict[str, Any] = _SIZES, **more: Any) -> Family:
    """A sequence classifier of transformers by the stem of its classes' names."""
    return _of_library(name, "ForSequenceClassification", base, **more)


def _of_library(
    name: str, head: str, base: dict[str, Any] = _SIZES, drop: tuple[str, ...] = (), known: bool = True, **more: Any
) -> Family:
    def make() -> nn.Module:
        keys = {key: value for key, value in base.items() if key not in drop}
        config = getattr(transformers, f"{name}Config")(**{**keys, **more})
        return getattr(transformers, f"{name}{head}")(config)

    return Family(name, make, known)


def _torch_encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu")
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def _gated_t5() -> nn.Module:
    return transformers.T5EncoderModel(transformers.T5Config(**_T5, feed_forward_proj="gated-gelu"))


_GROUPED = {"num_key_value_heads": 2}
_T5 = {"vocab_size": WORDS, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
_VIT = {key: value for key, value in _SIZES.items() if key.startswith(("hidden", "inter", "num_h", "num_a"))}

#: Attention or feed-forward of these is convolution; nothing maps it.
REFUSED: tuple[Family, ...] = (
    _classifier("SqueezeBert", embedding_size=32),
    _classifier("ConvBert", embedding_size=32, head_ratio=2, conv_kernel_size=3),
)

FAMILIES: tuple[Family, ...] = (
    _classifier("Bert"),
    _classifier("Roberta"),
    _classifier("XLMRoberta"),
    _classifier("Camembert"),
    _classifier("Electra", embedding_size=16),
    _classifier("DistilBert", {"vocab_size": WORDS, "dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4}),
    _classifier("Albert", embedding_size=16),
    _classifier("MPNet"),
    _classifier("DebertaV2", relative_attention=True, pos_att_type=["c2p", "p2c"], share_att_key=True,
                position_buckets=16, position_biased_input=False, type_vocab_size=0),
    _classifier("ModernBert", cls_token_id=1, sep_token_id=2),
    _classifier("XLNet", {"vocab_size": WORDS, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64}),
    _of_library("T5", "EncoderModel", _T5),
    Family("T5 (gated)", _gated_t5),
    _classifier("GPT2", _GPT),
    _classifier("GPTNeo", {"vocab_size": WORDS, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "pad_token_id": 0,
                           "attention_types": [[["global", "local"], 1]], "max_position_embeddings": 48}),
    _classifier("GPTJ", {**_GPT, "rotary_dim": 4}),
    _classifier("GPTNeoX"),
    _classifier("Bloom", {"vocab_size": WORDS, "hidden_size": 32, "n_layer": 2, "n_head": 4, "pad_token_id": 0}),
    _classifier("OPT", {**_SIZES, "ffn_dim": 64, "word_embed_proj_dim": 16}, drop=("intermediate_size",)),
    _classifier("Llama", **_GROUPED),
    _classifier("Mistral", **_GROUPED),
    _classifier("Qwen2", **_GROUPED),
    _classifier("Qwen3", **_GROUPED, head_dim=8),
    _classifier("Gemma", **_GROUPED, head_dim=8),
    _classifier("Phi"),
    _classifier("Phi3"),
    _of_library("ViT", "ForImageClassification", _VIT, **_IMAGE),
    _of_library("DeiT", "ForImageClassification", _VIT, **_IMAGE),
    Family("nn.TransformerEncoder", _torch_encoder),
    _classifier("Esm", mask_token_id=3, position_embedding_type="rotary"),  # BERT's modules, normed before instead
    _classifier("RoFormer", embedding_size=32),  # BERT's modules, but rotary positions
    _classifier("Deberta", known=False, relative_attention=True, pos_att_type=["c2p", "p2c"]),
    _classifier("Funnel", {"vocab_size": WORDS, "d_model": 32, "d_inner": 64, "n_head": 4, "d_head": 8,
                           "block_sizes": [1, 1]}, known=False),
    _classifier("MobileBert", known=False, embedding_size=32, intra_bottleneck_size=16),
)  # fmt: skip


def build(family: Family, seed: int = 0, spread: float = 0.15) -> nn.Module:
    """A model of the family in evaluation mode, with weights and biases that matter."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = family.make()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" not in name.lower() and "ln_" not in name:
                    parameter.copy_(torch.randn(parameter.shape) * spread)
    return model.eval()


def outputs(model: nn.Module, seed: int = 3) -> torch.Tensor:
    """What a model makes of a few random inputs: logits, or the last hidden state."""
    generator = torch.Generator().manual_seed(seed)
    config: Any = getattr(model, "config", None)
    dtype = next(model.parameters()).dtype
    with torch.no_grad():
        if config is None:
            return model(torch.randn(3, LENGTH, 32, generator=generator, dtype=torch.float64).to(dtype))
        if getattr(model, "main_input_name", "") == "pixel_values":
            return model(torch.rand(3, 1, 8, 8, generator=generator, dtype=torch.float64).to(dtype)).logits
        ids = torch.randint(3, WORDS, (3, LENGTH), generator=generator)
        found = model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return found.logits if hasattr(found, "logits") else found.last_hidden_state
