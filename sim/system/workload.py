"""What the chip has to do, in plain numbers: layers, word-line groups, heads, tokens. No weights, no model library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from crossvote.sim.array.image import Image
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.system.group_work import GroupWork
from crossvote.sim.system.token_table import TokenTable

Role = Literal["qkv", "o", "ffn1", "ffn2"]
ROLES: tuple[Role, ...] = get_args(Role)
#: Role of groups behind the layers.
HEAD = "head"


@dataclass(frozen=True)
class LayerWork:
    """One transformer layer; ``groups`` has a ``GroupWork`` for each of ``ROLES``."""

    name: str
    groups: dict[Role, GroupWork]

    @property
    def hidden(self) -> int:
        """Width of a token between layers."""
        return self.groups["o"].outputs

    @property
    def queries(self) -> int:
        """Width of Q, and of what attention gives."""
        return self.groups["o"].inputs

    @property
    def keys(self) -> int:
        """Width of K, and of V: less than that of Q when heads share them."""
        return (self.groups["qkv"].outputs - self.queries) // 2

    @property
    def intermediate(self) -> int:
        """Width between the two feed-forward matrices."""
        return self.groups["ffn2"].inputs

    @property
    def gated(self) -> bool:
        """The first feed-forward matrix has a gate beside it, as in gated linear units."""
        return self.groups["ffn1"].outputs == 2 * self.intermediate

    @property
    def blocks(self) -> int:
        """Crossbars, or pairs of them, of all groups."""
        return sum(group.blocks for group in self.groups.values())


@dataclass(frozen=True)
class Workload:
    """Transformer layers that every token passes in order, with attention over ``tokens`` tokens.

    Attributes:
        heads: attention heads per layer. tokens: sequence length. causal: a token sees itself and those before it, as
            when a decoder reads its prompt, and need not wait for the others. context: tokens before the sequence,
            whose keys and values the chip holds already and which every token sees: with one token, a step of
            generation.
        head: groups behind the layers, in order; none where the head is digital. head_every: every token goes through
            them, as in a language model; otherwise one vector of a sequence does, as in a classifier.
        table: of token embeddings that lies in crossbars; without it the host sends embedded tokens.
    """

    name: str
    layers: tuple[LayerWork, ...]
    heads: int
    tokens: int
    causal: bool = False
    context: int = 0
    head: tuple[GroupWork, ...] = ()
    head_every: bool = False
    table: TokenTable | None = None

    @property
    def groups(self) -> Iterator[GroupWork]:
        """All groups: those of the layers in their order, then those of the head."""
        for layer in self.layers:
            yield from layer.groups.values()
        yield from self.head

    @property
    def keys(self) -> float:
        """Tokens that a token sees, on average."""
        return self.context + ((self.tokens + 1) / 2 if self.causal else self.tokens)

    @property
    def held(self) -> int:
        """Tokens whose keys and values the chip holds at the end."""
        return self.context + self.tokens

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sequence, unpruned: static matrices and attention."""
        static = sum(g.inputs * g.outputs for layer in self.layers for g in layer.groups.values())
        attention = sum(round(2 * layer.queries * self.keys) for layer in self.layers)
        behind = sum(group.inputs * group.outputs for group in self.head)
        return self.tokens * (static + attention) + behind * (self.tokens if self.head_every else 1)

    def with_ones(self, shares: Mapping[str, float]) -> Workload:
        """The same work with the share of ones among the input bits of each group, by its name."""
        layers = []
        for layer in self.layers:
            groups = {r: replace(g, ones=shares.get(g.name, g.ones)) for r, g in layer.groups.items()}
            layers.append(LayerWork(layer.name, groups))
        head = tuple(replace(group, ones=shares.get(group.name, group.ones)) for group in self.head)
        return replace(self, layers=tuple(layers), head=head)

    @classmethod
    def from_image(cls, image: Image, chip: ChipConfig, heads: int, tokens: int, name: str = "image") -> Workload:
        """The layers of an image, whose groups are called ``LAYER.qkv``, ``.o``, ``.ffn1`` and ``.ffn2``.

        Groups called ``.head`` follow the layers.

        Raises:
            UserError: groups of other names, or a layer without one of the four.
        """
        layers: dict[str, dict[Role, GroupWork]] = {}
        head = []
        for group in image.groups:
            layer, _, role = group.name.rpartition(".")
            if role == HEAD:
                head.append(GroupWork.from_image(group, chip))
                continue
            if role not in ROLES:
                raise UserError(
                    f"group {group.name}: its name must end in one of {', '.join('.' + r for r in ROLES)}; a traced "
                    "model has other names where its layers are no chain of attention and feed-forward, and is not "
                    "simulated."
                )
            layers.setdefault(layer, {})[role] = GroupWork.from_image(group, chip)
        for layer, groups in layers.items():
            missing = [role for role in ROLES if role not in groups]
            if missing:
                raise UserError(f"layer {layer} of the image has no group '{layer}.{missing[0]}'.")
        found = tuple(LayerWork(layer, groups) for layer, groups in layers.items())
        return cls(name, found, heads, tokens, head=tuple(head))
