"""Encoders of text."""

from __future__ import annotations

from crossvote.swstack.models.families import ALL, LAYOUTS, NO_BIASES, LayerLayout, roles

LAYOUTS.register("bert")(
    LayerLayout(
        ("bert", "roberta", "xlm-roberta", "camembert", "electra"),
        roles(
            "attention.self.query attention.self.key attention.self.value",
            "attention.output.dense",
            "intermediate.dense",
            "output.dense",
        ),
        folding=ALL,
    )
)

LAYOUTS.register("distilbert")(
    LayerLayout(
        ("distilbert",),
        roles("attention.q_lin attention.k_lin attention.v_lin", "attention.out_lin", "ffn.lin1", "ffn.lin2"),
        folding=ALL,
    )
)

# One set of matrices for all layers: programmed once, used once per layer.
LAYOUTS.register("albert")(
    LayerLayout(
        ("albert",),
        roles("attention.query attention.key attention.value", "attention.dense", "ffn", "ffn_output"),
        folding=ALL,
    )
)

# The relative position bias is added to the scores of all columns, so folding is as in BERT.
LAYOUTS.register("mpnet")(
    LayerLayout(
        ("mpnet",),
        roles(
            "attention.attn.q attention.attn.k attention.attn.v",
            "attention.attn.o",
            "intermediate.dense",
            "output.dense",
        ),
        folding=ALL,
    )
)

LAYOUTS.register("deberta")(
    LayerLayout(
        ("deberta-v2", "deberta-v3"),
        roles(
            "attention.self.query_proj attention.self.key_proj attention.self.value_proj",
            "attention.output.dense",
            "intermediate.dense",
            "output.dense",
        ),
        folding=("value", "feed-forward"),
        reason="a key's constant meets position queries, so it differs from key to key and query columns stay",
    )
)

LAYOUTS.register("modernbert")(
    LayerLayout(("modernbert",), roles("attn.Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo"), attention="fused", reason=NO_BIASES)
)

# Once ``crossvote.swstack.models.unpacking`` has made matrices of its attention.
LAYOUTS.register("xlnet")(
    LayerLayout(
        ("xlnet",),
        roles("rel_attn.q rel_attn.k rel_attn.v", "rel_attn.o", "ff.layer_1", "ff.layer_2"),
        folding=("feed-forward",),
        reason="its attention has no biases that could take a constant up",
        digital={"rel_attn": "what is projected of positions and segments is the same for every input"},
    )
)

# Torch.nn, once ``crossvote.swstack.models.unpacking`` has made matrices of its attention.
LAYOUTS.register("torch.nn")(
    LayerLayout(
        ("torch.nn.TransformerEncoder",),
        roles("self_attn.in_proj", "self_attn.out_proj", "linear1", "linear2"),
        attention="fused",
        folding=ALL,
    )
)
