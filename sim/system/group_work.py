"""What one word-line group asks of the chip, in plain numbers: from an image, or from sizes alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainSerializer, PlainValidator

from crossvote.sim.array.column_map import Vote
from crossvote.sim.array.image import GroupImage
from crossvote.sim.chip.components.base import Variant
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral.support import fixed_lines

#: int64[n]; a list of numbers where a result is saved.
Counts = Annotated[
    NDArray[np.int64],
    PlainValidator(lambda value: np.asarray(value, np.int64)),
    PlainSerializer(lambda value: value.tolist()),
]


@dataclass(frozen=True)
class DenseLayout:
    """How matrices of plain sizes lie in crossbars.

    Attributes:
        replicas: extra bit lines per output. vote: where they vote. pruned: share of the outputs that are pruned.
        embedded: replicas live in the bit lines of pruned outputs (blocks are added only when these do not suffice);
            otherwise they lie beside their output, and pruned outputs leave holes.
        whole_outputs: no output is split over two crossbars. flipped: how many planes, from the top one down, store
            1-bit in both crossbars of a pair. checksum_bits: bit lines of a checksum beside those that an output
            peripheral serves.
    """

    replicas: int = 0
    vote: Vote = "none"
    pruned: float = 0.0
    embedded: bool = False
    whole_outputs: bool = True
    flipped: int = 0
    checksum_bits: int = 0


UNPROTECTED = DenseLayout()


@dataclass(frozen=True, eq=False)
class GroupWork:
    """One word-line group as the chip sees it: a grid of row_blocks x column_blocks blocks of weights.

    A block is one crossbar, or a differential pair of them.

    Attributes:
        inputs, outputs: K and N, pruned ones included.
        driven: int64[row_blocks], word lines that are driven (pruned inputs are not).
        lines: int64[column_blocks], bit lines in use (replicas and checksums included, holes not).
        copies: int64[column_blocks], of these, how many are not the first of their output and plane.
        opc_lines: int64[output peripherals of a row block], bit lines that each of them serves.
        sums: column sums of one token vector that become a weighted plane after the vote, per row block.
        votes: of these, how many are the median of several replicas.
        vote: where the replicas vote. kept: outputs that are not pruned.
        conducting: cells on driven word lines, both signs together, in units of a cell at full conductance; cells at 0
            count by the on/off ratio. ones: share of input bits that are 1.
        programmed: cells in bit lines in use. variant: the smallest output peripheral that can serve this group.
    """

    name: str
    inputs: int
    outputs: int
    driven: Counts
    lines: Counts
    copies: Counts
    opc_lines: Counts
    sums: int
    votes: int
    vote: Vote
    kept: int
    conducting: float
    programmed: int
    variant: Variant
    ones: float = 0.5

    @property
    def read_blocks(self) -> int:
        """Blocks that are read: those with a driven word line and a bit line in use."""
        return int((self.driven > 0).sum()) * int((self.lines > 0).sum())

    @property
    def row_blocks(self) -> int:
        """How many blocks the inputs are spread over."""
        return len(self.driven)

    @property
    def column_blocks(self) -> int:
        """How many blocks the bit lines are spread over."""
        return len(self.lines)

    @property
    def blocks(self) -> int:
        """Crossbars, or pairs of them."""
        return self.row_blocks * self.column_blocks

    @classmethod
    def from_image(cls, group: GroupImage, chip: ChipConfig) -> GroupWork:
        """The load of a group of an image: replicas, votes and column map are charged, pruned lines are credited."""
        kept = np.zeros(group.row_blocks * group.rows, np.int64)
        kept[: group.inputs] = group.kept_inputs
        places = group.column_map.vote_groups
        used, read = group.column_map.used, group.column_map.read
        votes = sum(len(p.output) for p in places if p.lines.shape[1] > 1)
        slices = -(-group.planes // group.cell_bits)
        return cls(
            name=group.name,
            inputs=group.inputs,
            outputs=group.outputs,
            driven=kept.reshape(group.row_blocks, group.rows).sum(axis=1),
            lines=read.reshape(-1, group.columns).sum(axis=1, dtype=np.int64),
            copies=group.column_map.repeats.reshape(-1, group.columns).sum(axis=1, dtype=np.int64),
            opc_lines=np.array(
                [len(bundle.lines) for bundle in group.bundles(chip.opc.columns, chip.opc.outputs)], np.int64
            ),
            sums=sum(len(p.output) for p in places),
            votes=votes,
            vote=group.vote,
            kept=len(np.unique(group.column_map.output[used])),
            conducting=_conducting(group, chip),
            programmed=2 * int(read.sum()) * int(group.kept_inputs.sum()),
            variant="map + voter" if votes else "plain" if fixed_lines(group.column_map, slices) else "map",
        )

    @classmethod
    def dense(
        cls,
        name: str,
        inputs: int,
        matrices: tuple[int, ...],
        chip: ChipConfig,
        layout: DenseLayout = UNPROTECTED,
    ) -> GroupWork:
        """A group from plain sizes; every matrix starts in a crossbar of its own.

        Without weights, the cells that conduct are those of normally distributed ones (``plane_density``).

        Args:
            matrices: outputs of each matrix.
        """
        columns, slices, replicas = chip.crossbar.columns, chip.slices, layout.replicas
        width = slices if layout.embedded else slices + replicas
        # Beside checksums: bit lines of outputs behind an output peripheral, and in a crossbar.
        served = min(chip.opc.columns, columns) - layout.checksum_bits
        room = columns - layout.checksum_bits * -(-columns // chip.opc.columns)
        if width > room:
            raise UserError(f"an output of {width} bit lines does not fit into a crossbar of {room} (group {name}).")
        if slices + replicas + layout.checksum_bits > chip.opc.columns:
            raise UserError(
                f"an output of {slices + replicas + layout.checksum_bits} bit lines does not fit into an output "
                f"peripheral of {chip.opc.columns} (group {name})."
            )
        lines: list[NDArray[np.int64]] = []
        copies: list[NDArray[np.int64]] = []
        kept_total = 0
        for outputs in matrices:
            kept = outputs - round(outputs * layout.pruned)
            kept_total += kept
            whole, per_block = (n // width * width if layout.whole_outputs else n for n in (columns, room))
            used = kept * (slices + replicas)
            blocks = -(-outputs * width // per_block)
            if layout.embedded:  # checksums, too
                blocks = max(-(-outputs * width // whole), -(-used // per_block))
            lines.append(spread(used, blocks))
            copies.append(lines[-1] * replicas // (slices + replicas))
        placed = np.concatenate(lines)
        opcs = -(-placed // served)
        read = placed + opcs * layout.checksum_bits
        checks = int(opcs.sum()) * layout.checksum_bits
        row_blocks = -(-inputs // chip.crossbar.rows)
        driven = np.full(row_blocks, chip.crossbar.rows, np.int64)
        driven[-1] = inputs - (row_blocks - 1) * chip.crossbar.rows
        density = plane_density(chip)
        signs = chip.signs
        times = np.ones(slices)
        times[-1] += replicas
        share = np.where(np.arange(slices) >= slices - layout.flipped, signs - density, density)
        share += (signs - share) * _off(chip)
        check = 0.5 + (signs - 0.5) * _off(chip)  # remainders are even; they are in the positive crossbar
        return cls(
            name=name,
            inputs=inputs,
            outputs=sum(matrices),
            driven=driven,
            lines=read,
            copies=np.concatenate(copies),
            opc_lines=np.concatenate([spread(n, k) for n, k in zip(read.tolist(), opcs.tolist(), strict=True)]),
            sums=kept_total * slices,
            votes=kept_total * (replicas // 2),
            vote=layout.vote if replicas else "none",
            kept=kept_total,
            conducting=float(kept_total * inputs * (share * times).sum() + checks * inputs * check),
            programmed=signs * (kept_total * (slices + replicas) + checks) * inputs,
            variant="map + voter" if replicas else "map" if layout.flipped or checks else "plain",
        )


def plane_density(chip: ChipConfig) -> NDArray[np.float64]:
    """Mean conductance of a cell over that of a full one, slice by slice, lowest first; both signs together.

    Weights are taken as normally distributed with the largest at five standard deviations, as in a matrix of about a
    million; that is what makes high planes sparse. Weights that are not in pairs are stored with an offset: half.
    """
    if chip.signs == 1:
        return np.full(chip.slices, 0.5)
    planes, bits = chip.opc.planes, chip.crossbar.cell_bits
    top = (1 << planes) - 1
    edges = (np.arange(top + 2) - 0.5) * 5 / top / math.sqrt(2)
    below = np.array([math.erf(edge) for edge in edges])
    chance = np.diff(np.maximum(below, 0.0))
    chance[-1] += 1 - below[-1]
    values = np.arange(top + 1)
    levels = (1 << bits) - 1
    return np.array([(((values >> (bits * s)) & levels) * chance).sum() / levels for s in range(chip.slices)])


def _off(chip: ChipConfig) -> float:
    """Conductance of a cell at 0 over that of a full one."""
    return 1 / chip.cell.on_off_ratio if chip.cell.on_off_ratio else 0.0


def _conducting(group: GroupImage, chip: ChipConfig) -> float:
    """Cells of an image that conduct on kept word lines, in units of a cell at full conductance."""
    total = 0
    kept = np.zeros(group.row_blocks * group.rows, np.bool_)
    kept[: group.inputs] = group.kept_inputs
    for block in range(group.row_blocks):
        rows = kept[block * group.rows : (block + 1) * group.rows]
        if group.cell_bits == 1:
            packed = group.cells[:, block * group.rows : (block + 1) * group.rows][:, rows]
            total += int(np.bitwise_count(packed).sum(dtype=np.int64))
        else:
            total += int(group.block_cells(block)[:, rows].sum(dtype=np.int64))
    full = total / group.last_level
    cells = 2 * int(kept.sum()) * int(group.column_map.read.sum())
    return full + (cells - full) * _off(chip)


def ones_share(x: NDArray[np.integer], bits: int) -> float:
    """Share of ones among the two's complement bits of inputs, int[tokens, K]."""
    unsigned = np.asarray(x, np.int64) & ((1 << bits) - 1)
    return float(np.bitwise_count(unsigned).sum()) / (bits * unsigned.size) if unsigned.size else 0.0


def spread(total: int, parts: int) -> NDArray[np.int64]:
    """``total`` things spread evenly over ``parts``, int64[parts]."""
    return np.diff(np.arange(parts + 1, dtype=np.int64) * total // parts)
