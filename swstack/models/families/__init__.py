"""Where the layers of known transformers keep their matrices: one entry per arrangement of modules, in the files here.

A family needs an entry of its own only if its modules are called otherwise; many share one. What an entry claims is
checked when a model is loaded (``crossvote.swstack.models.accounting``), so that a family which merely looks alike is
refused instead of being mapped by halves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from crossvote.sim.common.registry import Registry

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


def roles(qkv: str, o: str, ffn1: str, ffn2: str) -> dict[str, tuple[str, ...]]:
    """Roles from blank-separated module paths; a role without a path is left out."""
    named = {"qkv": qkv, "o": o, "ffn1": ffn1, "ffn2": ffn2}
    return {role: tuple(paths.split()) for role, paths in named.items() if paths}


#: A layer has one of them at most, for none's modules are among another's.
LAYOUTS: Registry[LayerLayout] = Registry("layer layout", __name__)

#: What several of them say.
ALL: tuple[Folding, ...] = ("value", "query", "feed-forward")
NO_BIASES = "its layers have no biases that could take a constant up"
ROTARY = "rotary positions turn query and key columns into each other"
