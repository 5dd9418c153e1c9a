"""Where the weights live: blocks of crossbars on tiles, tiles on chips. Weights are stationary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.system.group_work import GroupWork, spread
from crossvote.sim.system.workload import LayerWork, Role, Workload
from crossvote.sim.system.written_attention import written


@dataclass(frozen=True, eq=False)
class GroupPlace:
    """The tiles of a word-line group.

    Blocks are laid out column block by column block, so that the row blocks of an output tend to share a tile, where
    their partial sums are added.

    Attributes:
        group: what is placed. block_tile: int64[blocks], tile of each block, in layout order.
        output_bytes: int64[tiles of the group], bytes per token vector that each tile sends on: one byte per finished
            output, three per partial sum of an output that is spread over tiles.
    """

    group: GroupWork
    block_tile: NDArray[np.int64]
    output_bytes: NDArray[np.int64]

    @cached_property
    def tiles(self) -> NDArray[np.int64]:
        """int64[n], the tiles, ascending."""
        return np.unique(self.block_tile)

    @property
    def home(self) -> int:
        """The tile in the middle, where results are collected."""
        tiles = self.tiles
        return int(tiles[len(tiles) // 2])


@dataclass(frozen=True, eq=False)
class Placement:
    """All groups of a workload on the tiles of one or more chips.

    Attributes:
        groups: one dictionary by role per layer. layer_tiles: the tiles of each layer; a layer starts on a fresh tile,
            so that its digital units are its own.
        blocks_used: int64[tiles], blocks in use per tile. head: groups behind the layers, on tiles of their own.
        table_tiles: how many tiles hold the token embeddings; they are the last ones.
    """

    chip: ChipConfig
    groups: tuple[dict[Role, GroupPlace], ...]
    layer_tiles: tuple[range, ...]
    blocks_used: NDArray[np.int64]
    head: tuple[GroupPlace, ...] = ()
    table_tiles: int = 0

    @property
    def places(self) -> Iterator[GroupPlace]:
        """All groups: those of the layers in their order, then those of the head."""
        for layer in self.groups:
            yield from layer.values()
        yield from self.head

    @property
    def tiles(self) -> int:
        """How many tiles are in use."""
        return len(self.blocks_used)

    @property
    def chips(self) -> int:
        """How many chips they are on."""
        return -(-self.tiles // self.chip.package.tiles)

    @property
    def crossbars(self) -> int:
        """Crossbars that hold weights."""
        return int(self.blocks_used.sum()) * self.chip.signs

    def crossbar_name(self, tile: int, crossbar: int) -> str:
        """Hierarchical name of a crossbar of a tile, for example ``chip0.tile3.ima2.xb5``."""
        chip, local = divmod(tile, self.chip.package.tiles)
        ima, xb = divmod(crossbar, self.chip.tile.crossbars_per_ima)
        return f"chip{chip}.tile{local}.ima{ima}.xb{xb}"


def tiles_needed(workload: Workload, chip: ChipConfig) -> int:
    """Tiles that a workload takes; every layer starts on a fresh one."""
    per_tile = chip.crossbars_per_tile // chip.signs
    head = -(-sum(group.blocks for group in workload.head) // per_tile)
    table = -(-_table_blocks(workload, chip) // per_tile)
    return (
        table
        + head
        + sum(-(-(layer.blocks + written_blocks(chip, layer, workload)) // per_tile) for layer in workload.layers)
    )


def check_capacity(workloads: Iterable[Workload], chip: ChipConfig) -> None:
    """Refuse workloads that do not all fit, each alone.

    Raises:
        UserError: the chips have too few tiles for the largest; the message says how many are missing.
    """
    largest = max(workloads, key=lambda workload: tiles_needed(workload, chip))
    needed, available = tiles_needed(largest, chip), chip.package.tiles * chip.package.chips
    if needed > available:
        raise UserError(
            f"{largest.name} needs {needed} tiles, but {chip.package.chips} chip(s) '{chip.name}' have {available}: "
            f"{needed - available} tiles are missing (package.chips = {-(-needed // chip.package.tiles)} would do)."
        )


def place(workload: Workload, chip: ChipConfig) -> Placement:
    """Fill tiles in layer order.

    Raises:
        UserError: the chips have too few tiles; the message says how many are missing.
    """
    check_capacity([workload], chip)
    per_tile = chip.crossbars_per_tile // chip.signs
    groups: list[dict[Role, GroupPlace]] = []
    spans: list[range] = []
    used: list[NDArray[np.int64]] = []
    tile = 0
    for layer in workload.layers:
        block = 0
        placed: dict[Role, GroupPlace] = {}
        for role, group in layer.groups.items():
            placed[role] = _place(group, tile, block, per_tile)
            block += group.blocks
        used.append(_filled(block + written_blocks(chip, layer, workload), per_tile))
        spans.append(range(tile, tile + len(used[-1])))
        groups.append(placed)
        tile += len(used[-1])
    head, block = [], 0
    for group in workload.head:
        head.append(_place(group, tile, block, per_tile))
        block += group.blocks
    used.append(_filled(block, per_tile))
    used.append(_filled(_table_blocks(workload, chip), per_tile))
    return Placement(chip, tuple(groups), tuple(spans), np.concatenate(used), tuple(head), len(used[-1]))


def _table_blocks(workload: Workload, chip: ChipConfig) -> int:
    return -(-workload.table.crossbars(chip) // chip.signs) if workload.table else 0


def _place(group: GroupWork, tile: int, block: int, per_tile: int) -> GroupPlace:
    """A group from a block on, counted from the start of a tile."""
    block_tile = tile + (block + np.arange(group.blocks)) // per_tile
    return GroupPlace(group, block_tile, _output_bytes(group, block_tile))


def _filled(blocks: int, per_tile: int) -> NDArray[np.int64]:
    """int64[tiles]: how many blocks each tile holds; all but the last are full."""
    return np.diff(np.minimum(np.arange(-(-blocks // per_tile) + 1, dtype=np.int64) * per_tile, blocks))


def _output_bytes(group: GroupWork, block_tile: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bytes per token vector each tile of the group sends; outputs are spread evenly over the column blocks."""
    per_column = block_tile.reshape(group.column_blocks, group.row_blocks)
    # Blocks without a bit line in use make nothing, and pruned outputs are not sent.
    used = np.cumsum(group.lines > 0)
    outputs = np.where(group.lines > 0, spread(group.kept, max(1, int(used[-1])))[used - 1], 0)
    tiles = np.unique(block_tile)
    sent = np.zeros(len(tiles), np.int64)
    split = per_column[:, 0] != per_column[:, -1]
    np.add.at(sent, np.searchsorted(tiles, per_column[~split, 0]), outputs[~split])
    for column in np.flatnonzero(split):
        sent[np.searchsorted(tiles, np.unique(per_column[column]))] += 3 * outputs[column]
    return sent


def written_blocks(chip: ChipConfig, layer: LayerWork, workload: Workload) -> int:
    """Blocks of crossbars that hold K and V of one sequence when these are written into cells; else 0."""
    if chip.digital.attention != "reram-write":
        return 0
    return written(chip, layer, workload.heads).blocks(workload.held)
