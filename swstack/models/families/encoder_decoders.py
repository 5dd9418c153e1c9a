"""Encoders with a decoder."""

from __future__ import annotations

from crossvote.swstack.models.families import LAYOUTS, NO_BIASES, LayerLayout, roles

LAYOUTS.register("t5")(
    LayerLayout(
        ("t5",),
        roles(
            "layer.0.SelfAttention.q layer.0.SelfAttention.k layer.0.SelfAttention.v",
            "layer.0.SelfAttention.o",
            "layer.1.DenseReluDense.wi",
            "layer.1.DenseReluDense.wo",
        ),
        reason=NO_BIASES,
    )
)

LAYOUTS.register("t5-gated")(
    LayerLayout(
        ("t5", "mt5", "umt5"),
        roles(
            "layer.0.SelfAttention.q layer.0.SelfAttention.k layer.0.SelfAttention.v",
            "layer.0.SelfAttention.o",
            "layer.1.DenseReluDense.wi_0 layer.1.DenseReluDense.wi_1",
            "layer.1.DenseReluDense.wo",
        ),
        reason=NO_BIASES,
    )
)
