"""Encoders of pictures, and of text beside pictures."""

from __future__ import annotations

from crossvote.swstack.models.families import ALL, LAYOUTS, LayerLayout, roles

LAYOUTS.register("vit")(
    LayerLayout(
        ("vit", "deit"),
        roles("attention.q_proj attention.k_proj attention.v_proj", "attention.o_proj", "mlp.fc1", "mlp.fc2"),
        folding=ALL,
    )
)

LAYOUTS.register("clip")(
    LayerLayout(
        ("clip_text_model", "clip_vision_model", "siglip_vision_model"),
        roles("self_attn.q_proj self_attn.k_proj self_attn.v_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2"),
        folding=ALL,
    )
)
