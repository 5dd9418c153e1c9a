"""What one token vector does to the hardware, counted: energy follows from these counts and the prices of the chip."""

from __future__ import annotations

import math

from crossvote.sim.chip.bill import with_followers
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.system.placement import GroupPlace
from crossvote.sim.system.workload import LayerWork, Workload

Counts = dict[str, int]


def size_bytes(values: int, bits: int) -> int:
    """Bytes of ``values`` numbers of ``bits``, packed."""
    return -(-values * bits // 8)


def offer_ps(workload: Workload, chip: ChipConfig) -> int:
    """Time until the next token can follow: the host sends its embedding, or its number, which is then looked up."""
    link = chip.package.link_byte_ps
    if workload.table is None:
        return size_bytes(workload.layers[0].hidden, chip.opc.input_bits) * link
    return max(4 * link, workload.table.lookup_ps(chip))


def group_actions(chip: ChipConfig, place: GroupPlace) -> Counts:
    """Actions of one token vector in the crossbars of a group, network apart.

    What is not used is not paid for: unused bit lines are neither held nor converted, pruned inputs are not driven,
    crossbars without a driven word line or a bit line in use are not read. What conducts is.
    """
    group = place.group
    lines, driven = int(group.lines.sum()), int(group.driven.sum())
    row_blocks, column_blocks = int((group.driven > 0).sum()), int((group.lines > 0).sum())
    codes = lines * row_blocks * chip.reads
    votes_per = 1 if group.vote == "output" else row_blocks
    steps = lines * votes_per
    vector = size_bytes(group.inputs, chip.opc.input_bits)
    tiles = len(place.tiles)
    counts = {
        "cell_read": round(group.conducting * group.ones * chip.reads),
        "row_drive": driven * column_blocks * chip.signs * chip.reads,
        "sample_hold": codes * chip.signs,
        "conversion": codes * chip.digitised,
        # Partial sums of row blocks that are not added before the vote, and the bias of every output.
        "partial_add": group.kept * (row_blocks if group.vote != "output" else 1),
        "input_byte": size_bytes(driven, chip.opc.input_bits) * column_blocks,
        "output_byte": 3 * group.kept * row_blocks,
        # Inputs are written to and read from the buffer of every tile, outputs are written and read once.
        "buffer_byte": 2 * vector * tiles + 2 * int(place.output_bytes.sum()),
        "bus_byte": vector * tiles + int(place.output_bytes.sum()),
    }
    if chip.pipeline.peripheral == "cycles":
        counts |= {"shift_add": codes * chip.digitised + group.sums * votes_per, "scale": group.kept}
    else:
        # An IMA's crossbars are read together. Outputs that their OPCs have scaled are not scaled once more.
        pairs = chip.tile.crossbars_per_ima / chip.signs
        counts |= {
            "read_step": math.ceil(group.read_blocks / pairs) * chip.reads,
            "requantise": 0 if chip.opc.scale_bits else group.kept,
            "opc_pair": codes,
            "opc_step": steps,
            "map_lookup": 0 if group.variant == "plain" else steps,
            "vote": group.votes * votes_per,
        }
    return with_followers(chip, counts)


def attention_actions(chip: ChipConfig, layer: LayerWork, keys: float, width: int) -> Counts:
    """Actions of one token in QK^T or AV over ``keys`` tokens, with ``width`` values of K or V per token.

    Digital: every K (or V) is read once per query. In memory: it stays where it is. Written into crossbars: see
    ``crossvote.sim.system.written_attention``.
    """
    macs = round(layer.queries * keys)
    if chip.digital.attention == "sram-cim":
        return {"cim_mac": macs, "cim_write": size_bytes(width, chip.opc.input_bits)}
    return {"mac": macs, "buffer_byte": round(size_bytes(width, chip.opc.input_bits) * keys)}
