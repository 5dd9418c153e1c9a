"""Where the layers of known transformers keep their matrices: one entry per arrangement of modules.

A family needs an entry of its own only if its modules are called otherwise; many share one. What an entry claims is
checked when a model is loaded (``crossvote.swstack.models.accounting``), so that a family which merely looks alike is
refused instead of being mapped by halves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

#: How query, key and value lie in their matrices: one matrix each; side by side in one; or per head in one.
Attention = Literal["separate", "fused", "interleaved"]
#: Constants that can be folded without changing a logit; see ``crossvote.swstack.pruning.folding``.
Folding = Literal["value", "query", "feed-forward"]


@dataclass(frozen=True)
class LayerLayout:
    """One arrangement of a layer.

    families: model types for which a test proves what is said here; others may be arranged alike and are then mapped
        alike, but nothing of them is folded.
    roles: role -> module paths inside the layer; matrices of a role share their inputs.
    attention: how query, key and value lie in the matrices of ``qkv``.
    folding: which constants of pruned columns may be folded; an empty one needs a ``reason``.
    digital: module paths inside the layer that stay in digital arithmetic, with the reason.
    """

    families: tuple[str, ...]
    roles: Mapping[str, tuple[str, ...]]
    attention: Attention = "separate"
    folding: tuple[Folding, ...] = ()
    reason: str = ""
    digital: Mapping[str, str] = field(default_factory=dict)


def _roles(qkv: str, o: str, ffn1: str, ffn2: str) -> dict[str, tuple[str, ...]]:
    """Roles from blank-separated module paths; a role without a path is left out."""
    named = {"qkv": qkv, "o": o, "ffn1": ffn1, "ffn2": ffn2}
    return {role: tuple(paths.split()) for role, paths in named.items() if paths}


_ALL: tuple[Folding, ...] = ("value", "query", "feed-forward")
_NO_BIASES = "its layers have no biases that could take a constant up"
_ROTARY = "rotary positions turn query and key columns into each other"

LAYOUTS: tuple[LayerLayout, ...] = (
    LayerLayout(
        ("bert", "roberta", "xlm-roberta", "camembert", "electra"),
        _roles(
            "attention.self.query attention.self.key attention.self.value",
            "attention.output.dense",
            "intermediate.dense",
            "output.dense",
        ),
        folding=_ALL,
    ),
    LayerLayout(
        ("distilbert",),
        _roles("attention.q_lin attention.k_lin attention.v_lin", "attention.out_lin", "ffn.lin1", "ffn.lin2"),
        folding=_ALL,
    ),
    LayerLayout(  # one set of matrices for all layers: programmed once, used once per layer
        ("albert",),
        _roles("attention.query attention.key attention.value", "attention.dense", "ffn", "ffn_output"),
        folding=_ALL,
    ),
    LayerLayout(  # the relative position bias is added to the scores of all columns, so folding is as in BERT
        ("mpnet",),
        _roles(
            "attention.attn.q attention.attn.k attention.attn.v",
            "attention.attn.o",
            "intermediate.dense",
            "output.dense",
        ),
        folding=_ALL,
    ),
    LayerLayout(
        ("deberta-v2", "deberta-v3"),
        _roles(
            "attention.self.query_proj attention.self.key_proj attention.self.value_proj",
            "attention.output.dense",
            "intermediate.dense",
            "output.dense",
        ),
        folding=("value", "feed-forward"),
        reason="a key's constant meets position queries, so it differs from key to key and query columns stay",
    ),
    LayerLayout(
        ("modernbert",), _roles("attn.Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo"), attention="fused", reason=_NO_BIASES
    ),
    LayerLayout(  # once ``crossvote.swstack.models.unpacking`` has made matrices of its attention
        ("xlnet",),
        _roles("rel_attn.q rel_attn.k rel_attn.v", "rel_attn.o", "ff.layer_1", "ff.layer_2"),
        folding=("feed-forward",),
        reason="its attention has no biases that could take a constant up",
        digital={"rel_attn": "what is projected of positions and segments is the same for every input"},
    ),
    LayerLayout(
        ("t5",),
        _roles(
            "layer.0.SelfAttention.q layer.0.SelfAttention.k layer.0.SelfAttention.v",
            "layer.0.SelfAttention.o",
            "layer.1.DenseReluDense.wi",
            "layer.1.DenseReluDense.wo",
        ),
        reason=_NO_BIASES,
    ),
    LayerLayout(
        ("t5", "mt5", "umt5"),
        _roles(
            "layer.0.SelfAttention.q layer.0.SelfAttention.k layer.0.SelfAttention.v",
            "layer.0.SelfAttention.o",
            "layer.1.DenseReluDense.wi_0 layer.1.DenseReluDense.wi_1",
            "layer.1.DenseReluDense.wo",
        ),
        reason=_NO_BIASES,
    ),
    LayerLayout(
        ("gpt2",),
        _roles("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
        attention="fused",
        folding=_ALL,
    ),
    LayerLayout(
        ("gpt_neo",),
        _roles(
            "attn.attention.q_proj attn.attention.k_proj attn.attention.v_proj",
            "attn.attention.out_proj",
            "mlp.c_fc",
            "mlp.c_proj",
        ),
        reason="query, key and value have no biases",
    ),
    LayerLayout(
        ("gptj",),
        _roles("attn.q_proj attn.k_proj attn.v_proj", "attn.out_proj", "mlp.fc_in", "mlp.fc_out"),
        folding=("feed-forward",),
        reason=_ROTARY,
    ),
    LayerLayout(
        ("gpt_neox",),
        _roles("attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
        attention="interleaved",
        folding=("value", "feed-forward"),
        reason=_ROTARY,
    ),
    LayerLayout(
        ("bloom",),
        _roles("self_attention.query_key_value", "self_attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
        attention="interleaved",
        reason="its GELU is not one of the library's named activations",
    ),
    LayerLayout(
        ("opt", "xglm"),
        _roles("self_attn.q_proj self_attn.k_proj self_attn.v_proj", "self_attn.out_proj", "fc1", "fc2"),
        folding=_ALL,
    ),
    LayerLayout(
        ("llama", "mistral", "qwen2", "qwen3", "gemma", "olmo"),
        _roles(
            "self_attn.q_proj self_attn.k_proj self_attn.v_proj",
            "self_attn.o_proj",
            "mlp.gate_proj mlp.up_proj",
            "mlp.down_proj",
        ),
        reason=_NO_BIASES,
    ),
    LayerLayout(
        ("phi",),
        _roles("self_attn.q_proj self_attn.k_proj self_attn.v_proj", "self_attn.dense", "mlp.fc1", "mlp.fc2"),
        folding=("value", "feed-forward"),
        reason=_ROTARY,
    ),
    LayerLayout(
        ("phi3",),
        _roles("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"),
        attention="fused",
        reason=_NO_BIASES,
    ),
    LayerLayout(
        ("vit", "deit"),
        _roles("attention.q_proj attention.k_proj attention.v_proj", "attention.o_proj", "mlp.fc1", "mlp.fc2"),
        folding=_ALL,
    ),
    LayerLayout(
        ("clip_text_model", "clip_vision_model", "siglip_vision_model"),
        _roles("self_attn.q_proj self_attn.k_proj self_attn.v_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2"),
        folding=_ALL,
    ),
    LayerLayout(  # torch.nn, once ``crossvote.swstack.models.unpacking`` has made matrices of its attention
        ("torch.nn.TransformerEncoder",),
        _roles("self_attn.in_proj", "self_attn.out_proj", "linear1", "linear2"),
        attention="fused",
        folding=_ALL,
    ),
)
