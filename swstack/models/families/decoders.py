"""Decoders."""

from __future__ import annotations

from crossvote.swstack.models.families import ALL, LAYOUTS, NO_BIASES, ROTARY, LayerLayout, roles

LAYOUTS.register("gpt2")(
    LayerLayout(
        ("gpt2",),
        roles("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
        attention="fused",
        folding=ALL,
    )
)

LAYOUTS.register("gpt_neo")(
    LayerLayout(
        ("gpt_neo",),
        roles(
            "attn.attention.q_proj attn.attention.k_proj attn.attention.v_proj",
            "attn.attention.out_proj",
            "mlp.c_fc",
            "mlp.c_proj",
        ),
        reason="query, key and value have no biases",
    )
)

LAYOUTS.register("gptj")(
    LayerLayout(
        ("gptj",),
        roles("attn.q_proj attn.k_proj attn.v_proj", "attn.out_proj", "mlp.fc_in", "mlp.fc_out"),
        folding=("feed-forward",),
        reason=ROTARY,
    )
)

LAYOUTS.register("gpt_neox")(
    LayerLayout(
        ("gpt_neox",),
        roles("attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
        attention="interleaved",
        folding=("value", "feed-forward"),
        reason=ROTARY,
    )
)

LAYOUTS.register("bloom")(
    LayerLayout(
        ("bloom",),
        roles("self_attention.query_key_value", "self_attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
        attention="interleaved",
        reason="its GELU is not one of the library's named activations",
    )
)

LAYOUTS.register("opt")(
    LayerLayout(
        ("opt", "xglm"),
        roles("self_attn.q_proj self_attn.k_proj self_attn.v_proj", "self_attn.out_proj", "fc1", "fc2"),
        folding=ALL,
    )
)

LAYOUTS.register("llama")(
    LayerLayout(
        ("llama", "mistral", "qwen2", "qwen3", "gemma", "olmo"),
        roles(
            "self_attn.q_proj self_attn.k_proj self_attn.v_proj",
            "self_attn.o_proj",
            "mlp.gate_proj mlp.up_proj",
            "mlp.down_proj",
        ),
        reason=NO_BIASES,
    )
)

LAYOUTS.register("phi")(
    LayerLayout(
        ("phi",),
        roles("self_attn.q_proj self_attn.k_proj self_attn.v_proj", "self_attn.dense", "mlp.fc1", "mlp.fc2"),
        folding=("value", "feed-forward"),
        reason=ROTARY,
    )
)

LAYOUTS.register("phi3")(
    LayerLayout(
        ("phi3",),
        roles("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"),
        attention="fused",
        reason=NO_BIASES,
    )
)
