"""What a protected image is compared with: the same pruned weights without protection, and the dense model."""

from __future__ import annotations

import dataclasses

import numpy as np

from crossvote.sim.array.column_map import ColumnMap
from crossvote.sim.array.image import GroupImage, Image
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.system.group_work import GroupWork
from crossvote.sim.system.workload import LayerWork, Workload


def unprotected(group: GroupImage) -> GroupImage:
    """The group with one plain line of full weight for every plane that it has: no replicas, copies or flips.

    The first line of each (output, plane) stays where it is; the others are freed, their cells cleared.
    """
    own = group.column_map
    keep = own.used & ~own.repeats
    zeros = np.zeros_like(own.plane)
    column_map = ColumnMap(np.where(keep, own.output, -1).astype(np.int32), own.plane, zeros, zeros.astype(np.bool_))
    bits = np.repeat(keep, group.cell_bits)
    flipped = np.repeat(keep & own.flipped, group.cell_bits)
    cells = (group.cells ^ np.packbits(flipped)) & np.packbits(bits)
    return dataclasses.replace(group, column_map=column_map, cells=cells, vote="none")


def pruned_workload(image: Image, chip: ChipConfig, heads: int, tokens: int, name: str) -> Workload:
    """The image's weights without protection: what pruning alone gives, behind plain output peripherals.

    Where the image's code leaves planes out, so does this; an image that holds all of them is the better source.
    """
    plain = dataclasses.replace(image, groups=tuple(unprotected(group) for group in image.groups))
    work = Workload.from_image(plain, chip, heads, tokens, name)
    layers = tuple(
        LayerWork(layer.name, {role: dataclasses.replace(g, variant="plain") for role, g in layer.groups.items()})
        for layer in work.layers
    )
    head = tuple(dataclasses.replace(group, variant="plain") for group in work.head)
    return dataclasses.replace(work, layers=layers, head=head)


def dense_workload(image: Image, chip: ChipConfig, heads: int, tokens: int, name: str) -> Workload:
    """The same matrices unpruned and unprotected: every output with one bit line per plane.

    Its weights are not in the image; cells conduct as often as those that were kept do.
    """
    pruned = pruned_workload(image, chip, heads, tokens, name)
    layers = tuple(
        LayerWork(layer.name, {role: _dense(work, chip) for role, work in layer.groups.items()})
        for layer in pruned.layers
    )
    return dataclasses.replace(pruned, layers=layers, head=tuple(_dense(work, chip) for work in pruned.head))


def _dense(work: GroupWork, chip: ChipConfig) -> GroupWork:
    # As in the mapping, the matrices of a group follow each other without a gap.
    group = GroupWork.dense(work.name, work.inputs, (work.outputs,), chip)
    share = work.conducting / work.programmed if work.programmed else 0.0
    return dataclasses.replace(group, conducting=share * group.programmed)
