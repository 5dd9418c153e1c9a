"""Where attention happens: heads on the tiles of their layer, the bytes that move for it, and the time it takes.

The query goes to all tiles of the layer (a broadcast), every tile keeps its share of the keys and values. With more
tiles than heads, a head has several neighbouring ones: its keys are split over them by token, and their partial sums
come together in the first of them (three bytes a value, and four for a running maximum and sum, as in one-pass softmax)
before its part of the result goes home. With fewer, a tile has several heads, whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from crossvote.sim.chip.components.digital import CIM_MACS_PER_NS_BYTE
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.system.actions import attention_actions, size_bytes
from crossvote.sim.system.workload import LayerWork
from crossvote.sim.system.written_attention import written


@dataclass(frozen=True)
class Attention:
    """Attention of one token in one layer.

    Attributes:
        queries: (tiles, bytes) of each head, or of each tile that has several. scattered: (tile, bytes) of its key and
            value. exchanged: (tile, tile, bytes) of partial sums. gathered: (tile, bytes) of its results.
        occupied_ps: of the attention unit, for QK^T and for AV each. actions: of "qk" and of "av".
    """

    queries: tuple[tuple[tuple[int, ...], int], ...]
    scattered: tuple[tuple[int, int], ...]
    exchanged: tuple[tuple[int, int, int], ...]
    gathered: tuple[tuple[int, int], ...]
    occupied_ps: int
    actions: dict[str, dict[str, int]]


def plan_attention(
    chip: ChipConfig, layer: LayerWork, tiles: range, heads: int, keys: float, held: int | None = None
) -> Attention:
    """Attention of a query over ``keys`` tokens (a mean, where tokens see different numbers of others).

    held: tokens whose keys and values lie on the chip at the end; None: ``keys``.
    """
    bits = chip.opc.input_bits
    stored = size_bytes(-(-2 * layer.keys // len(tiles)), bits)
    values = layer.queries // heads
    owner = [tile * heads // len(tiles) for tile in range(len(tiles))]
    # A tile that is not the first of its head sends partial sums there; the first one sends the result.
    first = {head: tiles[owner.index(head)] for head in set(owner)}
    leads = sorted(set(first.values()))
    part = size_bytes(-(-layer.queries // len(leads)), bits)
    return Attention(
        tuple((tuple(tile for tile, o in zip(tiles, owner, strict=True) if o == head), part) for head in sorted(first)),
        tuple((tile, stored) for tile in tiles),
        tuple((tile, first[o], 3 * values + 4) for tile, o in zip(tiles, owner, strict=True) if tile != first[o]),
        tuple((tile, part) for tile in leads),
        _occupied_ps(chip, layer, len(tiles), heads, keys, held or math.ceil(keys)),
        {kind: _actions(chip, layer, heads, keys, kind) for kind in ("qk", "av")},
    )


def _actions(chip: ChipConfig, layer: LayerWork, heads: int, keys: float, kind: str) -> dict[str, int]:
    if chip.digital.attention == "reram-write":
        return written(chip, layer, heads).counts(kind, keys)
    return attention_actions(chip, layer, keys, layer.keys)


def _occupied_ps(chip: ChipConfig, layer: LayerWork, tiles: int, heads: int, keys: float, held: int) -> int:
    """Time that QK^T (or AV) of one token takes the units of a layer: the slower of arithmetic and memory."""
    macs, tile, clock = round(layer.queries * keys), chip.tile, chip.digital.clock_ps
    match chip.digital.attention:
        case "sram-cim":
            rate = tiles * tile.buffer_bytes * tile.kv_share * CIM_MACS_PER_NS_BYTE
            return max(clock, round(1e3 * macs / rate))
        case "reram-write":
            return written(chip, layer, heads).occupied_ps(held)
        case _:
            arithmetic = -(-macs // (tiles * chip.digital.macs_per_tile)) * clock
            moved = size_bytes(layer.keys, chip.opc.input_bits) * keys
            memory = round(moved * 8 / (tile.buffer_ports * tile.buffer_bits * tiles) * tile.buffer_ps)
            return max(arithmetic, memory)


def kv_places(layer_tiles: range, layer: LayerWork, chip: ChipConfig) -> int:
    """Tokens whose Q, K and V fit into the share of the layer's tile buffers that is meant for them; at least 1."""
    token = size_bytes(layer.queries + 2 * layer.keys, chip.opc.input_bits)
    return max(1, int(len(layer_tiles) * chip.tile.buffer_bytes * chip.tile.kv_share) // token)
