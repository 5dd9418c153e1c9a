"""The system model: a workload on a chip gives latency, throughput, energy and area."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from crossvote.sim.chip.bill import bill
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.kernel import Trace
from crossvote.sim.peripheral.support import row_blocks_refusal, variant_refusal
from crossvote.sim.system.actions import size_bytes
from crossvote.sim.system.attention import kv_places
from crossvote.sim.system.cosim import CosimRequest
from crossvote.sim.system.estimate import estimate
from crossvote.sim.system.placement import Placement, place
from crossvote.sim.system.result import Resolution, SystemResult
from crossvote.sim.system.run import SystemRun
from crossvote.sim.system.workload import Workload


def simulate(
    workload: Workload,
    chip: ChipConfig,
    *,
    resolution: Resolution = "crossbar",
    sequences: int = 1,
    computed: Mapping[str, CosimRequest] | None = None,
    trace: Trace | None = None,
    progress: Progress = no_progress,
) -> SystemResult:
    """Stream ``sequences`` sequences through the encoder, one behind the other.

    Args:
        resolution: "matrix", "tile" and "crossbar" simulate with that many servers per word-line group and give equal
            times and energies; "analytic" estimates them from each layer's own recursion, as if nothing waited for
            links or for places in queues, and simulates nothing.
        computed: word-line groups, by name, whose integers are computed with a real output peripheral in the loop;
            their tokens are real, and the peripheral's clock cycles set their time. Not for "analytic".

    Raises:
        UserError: the workload does not fit onto the chip: too few tiles, tile buffers that cannot hold a sequence,
            ADCs that would clip, or a structure that no model covers.
    """
    start = time.perf_counter()
    if sequences < 1:
        raise UserError(f"sequences = {sequences} must be at least 1.")
    bill(chip)  # refuses what no model covers, before anything runs
    placement = place(workload, chip)
    check(workload, placement)
    unknown = set(computed or ()) - {g.name for layer in workload.layers for g in layer.groups.values()}
    if unknown:
        raise UserError(f"{workload.name} has no word-line group '{min(unknown)}' that could be computed.")
    if resolution == "analytic":
        return estimate(workload, placement, sequences, start)
    run = SystemRun(workload, placement, resolution, sequences, trace, progress, computed or {})
    run.go()
    return run.result(start)


def check(workload: Workload, placement: Placement) -> None:
    """Refuse what would go wrong after the start.

    Raises:
        UserError: output peripherals that cannot serve a group, ADCs that clip although they should not, or tile
            buffers that cannot hold a sequence.
    """
    chip = placement.chip
    for group in workload.groups if chip.pipeline.peripheral == "rtl" else ():
        why = variant_refusal(chip, group.variant) or row_blocks_refusal(chip, group.vote, group.row_blocks)
        if why is not None:
            raise UserError(f"{workload.name}: group {group.name}: {why}.")
    driven = max((int(group.driven.max()) for group in workload.groups), default=0)
    largest = driven * ((1 << chip.crossbar.cell_bits) - 1) * ((1 << chip.dac.bits) - 1)
    last = chip.adc.full_scale or (1 << chip.adc.bits) - 1
    if largest > last and not chip.adc.may_clip:
        better = f"adc.full_scale = {largest}" if chip.adc.full_scale else f"adc.bits = {largest.bit_length()}"
        raise UserError(
            f"{workload.name}: {driven} driven word lines can add up to {largest}, but ADCs of {chip.adc.bits} bits "
            f"end at {last:g} on chip '{chip.name}': set {better}, or adc.may_clip = true."
        )
    for tiles, layer in zip(placement.layer_tiles, workload.layers, strict=True):
        places = kv_places(tiles, layer, chip)
        if places < workload.held:
            token = size_bytes(layer.queries + 2 * layer.keys, chip.opc.input_bits)
            needed = math.ceil(workload.held * token / len(tiles) / chip.tile.kv_share)
            raise UserError(
                f"{workload.name}: the {len(tiles)} tile buffers of {layer.name} hold Q, K and V of {places} tokens, "
                f"but a sequence has {workload.held}: set tile.buffer_bytes = {needed}, raise tile.kv_share, or "
                "shorten the sequence."
            )
