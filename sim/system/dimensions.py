"""Transformers of plain sizes as work for the chip."""

from __future__ import annotations

from dataclasses import dataclass

from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.system.group_work import UNPROTECTED, DenseLayout, GroupWork
from crossvote.sim.system.workload import LayerWork, Role, Workload


@dataclass(frozen=True)
class Dimensions:
    """Sizes of a transformer.

    Attributes:
        queries, keys: widths of Q and of K and V; None: as the hidden size. gated: the first feed-forward matrix has a
            gate of the same size beside it. causal: tokens see only those before them.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    queries: int | None = None
    keys: int | None = None
    gated: bool = False
    causal: bool = False


#: BERT-base (Devlin et al., NAACL 2019) and the six-layer MiniLM shape of all-MiniLM-L6-v2.
BERT_BASE = Dimensions(layers=12, hidden=768, intermediate=3072, heads=12)
MINILM_L6 = Dimensions(layers=6, hidden=384, intermediate=1536, heads=12)


def bert_workload(
    dimensions: Dimensions,
    chip: ChipConfig,
    tokens: int = 128,
    layout: DenseLayout = UNPROTECTED,
    name: str = "bert",
) -> Workload:
    """A transformer of plain sizes.

    Raises:
        UserError: sizes that are not positive, or heads that do not divide the hidden size.
    """
    d = dimensions
    if min(d.layers, d.hidden, d.intermediate, d.heads, tokens) < 1:
        raise UserError(f"layers, hidden size, intermediate size, heads and tokens must be positive: {d}, {tokens}.")
    queries, keys = d.queries or d.hidden, d.keys or d.hidden
    if queries % d.heads:
        raise UserError(f"{d.heads} heads do not divide a hidden size of {queries}.")
    sizes: dict[Role, tuple[int, tuple[int, ...]]] = {
        "qkv": (d.hidden, (queries, keys, keys)),
        "o": (queries, (d.hidden,)),
        "ffn1": (d.hidden, (d.intermediate,) * (2 if d.gated else 1)),
        "ffn2": (d.intermediate, (d.hidden,)),
    }
    groups = {role: GroupWork.dense(role, inputs, matrices, chip, layout) for role, (inputs, matrices) in sizes.items()}
    layers = tuple(LayerWork(f"layer{i}", groups) for i in range(d.layers))
    return Workload(name, layers, d.heads, tokens, d.causal)
