"""What the chip has to do, in plain numbers: layers, word-line groups, heads, tokens. No weights, no model library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.array.image import GroupImage, Image, Vote
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError

Role = Literal["qkv", "o", "ffn1", "ffn2"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, eq=False)
class GroupWork:
    """One word-line group as the chip sees it: a grid of row_blocks x column_blocks blocks of weights.

    A block is one crossbar, or a differential pair of them.

    Attributes:
        inputs, outputs: K and N, pruned ones included.
        driven: int64[row_blocks], word lines that are driven (pruned inputs are not).
        lines: int64[column_blocks], bit lines in use (replicas included, holes not).
        opc_lines: int64[output peripherals of a row block], bit lines that each of them serves.
        sums: column sums of one token vector that become a weighted plane after the vote, per row block.
        votes: of these, how many are the median of several replicas.
        vote: where the replicas vote.
    """

    name: str
    inputs: int
    outputs: int
    driven: NDArray[np.int64]
    lines: NDArray[np.int64]
    opc_lines: NDArray[np.int64]
    sums: int
    votes: int
    vote: Vote

    @property
    def row_blocks(self) -> int:
        return len(self.driven)

    @property
    def column_blocks(self) -> int:
        return len(self.lines)

    @property
    def blocks(self) -> int:
        return self.row_blocks * self.column_blocks

    @classmethod
    def from_image(cls, group: GroupImage, chip: ChipConfig) -> GroupWork:
        """The load of a group of an image: replicas, votes and column map are charged, pruned lines are credited."""
        kept = np.zeros(group.row_blocks * group.rows, np.int64)
        kept[: group.inputs] = group.kept_inputs
        places = group.column_map.vote_groups
        return cls(
            name=group.name,
            inputs=group.inputs,
            outputs=group.outputs,
            driven=kept.reshape(group.row_blocks, group.rows).sum(axis=1),
            lines=group.column_map.used.reshape(-1, group.columns).sum(axis=1, dtype=np.int64),
            opc_lines=np.array(
                [len(bundle.lines) for bundle in group.bundles(chip.opc.columns, chip.opc.outputs)], np.int64
            ),
            sums=sum(len(p.output) for p in places),
            votes=sum(len(p.output) for p in places if p.lines.shape[1] > 1),
            vote=group.vote,
        )

    @classmethod
    def dense(
        cls,
        name: str,
        inputs: int,
        matrices: tuple[int, ...],
        chip: ChipConfig,
        *,
        replicas: int = 0,
        vote: Vote = "none",
        pruned: float = 0.0,
        embedded: bool = False,
        whole_outputs: bool = True,
    ) -> GroupWork:
        """A group from plain sizes; every matrix starts in a crossbar of its own.

        Args:
            matrices: outputs of each matrix. replicas: extra bit lines per output.
            pruned: share of the outputs that are pruned.
            embedded: replicas live in the bit lines of pruned outputs (blocks are added only when these do not
                suffice); otherwise they lie beside their output, and pruned outputs leave holes.
            whole_outputs: no output is split over two crossbars.
        """
        columns, slices = chip.crossbar.columns, chip.slices
        width = slices if embedded else slices + replicas
        if width > columns:
            raise UserError(f"an output of {width} bit lines does not fit into a crossbar of {columns} (group {name}).")
        lines: list[NDArray[np.int64]] = []
        kept_total = 0
        for outputs in matrices:
            kept = outputs - round(outputs * pruned)
            kept_total += kept
            per_block = columns // width * width if whole_outputs else columns
            needed = outputs * width
            if embedded:
                needed = max(needed, kept * (slices + replicas))
            blocks = -(-needed // per_block)
            used = kept * (slices + replicas)
            lines.append(spread(used, blocks))
        row_blocks = -(-inputs // chip.crossbar.rows)
        driven = np.full(row_blocks, chip.crossbar.rows, np.int64)
        driven[-1] = inputs - (row_blocks - 1) * chip.crossbar.rows
        return cls(
            name=name,
            inputs=inputs,
            outputs=sum(matrices),
            driven=driven,
            lines=np.concatenate(lines),
            opc_lines=np.concatenate([spread(n, -(-n // chip.opc.columns)) for n in np.concatenate(lines).tolist()]),
            sums=kept_total * slices,
            votes=kept_total * (replicas // 2),
            vote=vote if replicas else "none",
        )


def spread(total: int, parts: int) -> NDArray[np.int64]:
    """``total`` things spread evenly over ``parts``, int64[parts]."""
    return np.diff(np.arange(parts + 1, dtype=np.int64) * total // parts)


@dataclass(frozen=True)
class LayerWork:
    """One transformer layer; ``groups`` has a ``GroupWork`` for each of ``ROLES``."""

    name: str
    groups: dict[Role, GroupWork]

    @property
    def hidden(self) -> int:
        return self.groups["o"].outputs

    @property
    def intermediate(self) -> int:
        return self.groups["ffn1"].outputs

    @property
    def blocks(self) -> int:
        return sum(group.blocks for group in self.groups.values())


@dataclass(frozen=True)
class Workload:
    """Encoder layers that every token passes in order, with full attention over ``tokens`` tokens.

    Attributes:
        heads: attention heads per layer. tokens: sequence length.
    """

    name: str
    layers: tuple[LayerWork, ...]
    heads: int
    tokens: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sequence, unpruned: static matrices and attention."""
        static = sum(g.inputs * g.outputs for layer in self.layers for g in layer.groups.values())
        attention = sum(2 * layer.hidden * self.tokens for layer in self.layers)
        return self.tokens * (static + attention)

    @classmethod
    def from_image(cls, image: Image, chip: ChipConfig, heads: int, tokens: int, name: str = "image") -> Workload:
        """The layers of an image, whose groups are called ``LAYER.qkv``, ``.o``, ``.ffn1`` and ``.ffn2``.

        Raises:
            UserError: groups of other names, or a layer without one of the four.
        """
        layers: dict[str, dict[Role, GroupWork]] = {}
        for group in image.groups:
            layer, _, role = group.name.rpartition(".")
            if role not in ROLES:
                raise UserError(f"group {group.name}: its name must end in one of {', '.join('.' + r for r in ROLES)}.")
            layers.setdefault(layer, {})[role] = GroupWork.from_image(group, chip)
        for layer, groups in layers.items():
            missing = [role for role in ROLES if role not in groups]
            if missing:
                raise UserError(f"layer {layer} of the image has no group '{layer}.{missing[0]}'.")
        return cls(name, tuple(LayerWork(layer, groups) for layer, groups in layers.items()), heads, tokens)


@dataclass(frozen=True)
class Dimensions:
    """Sizes of a BERT encoder."""

    layers: int
    hidden: int
    intermediate: int
    heads: int


#: BERT-base (Devlin et al., NAACL 2019) and the six-layer MiniLM shape of all-MiniLM-L6-v2.
BERT_BASE = Dimensions(layers=12, hidden=768, intermediate=3072, heads=12)
MINILM_L6 = Dimensions(layers=6, hidden=384, intermediate=1536, heads=12)


def bert_workload(
    dimensions: Dimensions,
    chip: ChipConfig,
    tokens: int = 128,
    *,
    replicas: int = 0,
    vote: Vote = "none",
    pruned: float = 0.0,
    embedded: bool = False,
    whole_outputs: bool = True,
    name: str = "bert",
) -> Workload:
    """A BERT encoder of plain sizes; the options are those of ``GroupWork.dense``.

    Raises:
        UserError: sizes that are not positive, or heads that do not divide the hidden size.
    """
    d = dimensions
    if min(d.layers, d.hidden, d.intermediate, d.heads, tokens) < 1:
        raise UserError(f"layers, hidden size, intermediate size, heads and tokens must be positive: {d}, {tokens}.")
    if d.hidden % d.heads:
        raise UserError(f"{d.heads} heads do not divide a hidden size of {d.hidden}.")
    sizes: dict[Role, tuple[int, tuple[int, ...]]] = {
        "qkv": (d.hidden, (d.hidden,) * 3),
        "o": (d.hidden, (d.hidden,)),
        "ffn1": (d.hidden, (d.intermediate,)),
        "ffn2": (d.intermediate, (d.hidden,)),
    }
    groups = {
        role: GroupWork.dense(
            role,
            inputs,
            matrices,
            chip,
            replicas=replicas,
            vote=vote,
            pruned=pruned,
            embedded=embedded,
            whole_outputs=whole_outputs,
        )
        for role, (inputs, matrices) in sizes.items()
    }
    return Workload(name, tuple(LayerWork(f"layer{i}", groups) for i in range(d.layers)), d.heads, tokens)
