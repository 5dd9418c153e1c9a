"""What a mapping takes of crossbars and bit lines, on real tile counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crossvote.sim.array.image import GroupImage, Image
from crossvote.swstack.mapping.placement import dense_lines, home_lines


@dataclass(frozen=True)
class GroupMapping:
    """What the mapping of one word-line group takes, against the dense unprotected mapping of all its outputs.

    The dense mapping is the in-place layout of all N outputs without replicas, whole outputs per crossbar, the same
    row blocks. Zero space cost holds when no more crossbars than that are used.

    Attributes:
        outputs, kept_outputs, inputs, kept_inputs: sizes before and after pruning.
        crossbars, dense_crossbars: both signs of the pair counted.
        zero_space: crossbars <= dense_crossbars.
        hosts_needed: bit lines of replicas and summed copies beside the originals. hosts_available: bit lines that
            pruned outputs free in the dense layout.
        appended_lines: used bit lines beyond the dense column blocks, those of checksums included (here and below).
        outputs_protected_in_dense: kept outputs all of whose bit lines are within the dense column blocks.
        former_holes, occupied_holes: bit lines of pruned outputs in the dense layout, and how many are used now.
        column_map_entries: used bit lines whose content is not where the dense layout has it.
        column_map_bits: their number times ceil(log2(N * bit lines of an output)), the address of what they hold.
    """

    name: str
    outputs: int
    kept_outputs: int
    inputs: int
    kept_inputs: int
    crossbars: int
    dense_crossbars: int
    zero_space: bool
    hosts_needed: int
    hosts_available: int
    appended_lines: int
    outputs_protected_in_dense: int
    former_holes: int
    occupied_holes: int
    column_map_entries: int
    column_map_bits: int

    @property
    def overhead(self) -> float:
        """Extra crossbars as a share of the dense ones; negative when crossbars are saved."""
        return self.crossbars / self.dense_crossbars - 1.0


def mapping_report(image: Image) -> tuple[GroupMapping, ...]:
    """The cost of every word-line group of an image, on real tile counts."""
    return tuple(_group_mapping(group) for group in image.groups)


def _group_mapping(group: GroupImage) -> GroupMapping:
    column_map, width = group.column_map, math.ceil(group.planes / group.cell_bits)
    lines_dense = dense_lines(group.outputs, width, group.columns)
    kept = np.zeros(group.outputs, np.bool_)
    kept[column_map.output[column_map.used]] = True

    home = home_lines(group.outputs, width, group.columns)
    former_holes = home[~kept].ravel()
    used = np.zeros(max(lines_dense, len(column_map)), np.bool_)
    used[: len(column_map)] = column_map.read

    lines = np.flatnonzero(column_map.read)
    at_home = (
        (home[column_map.output[lines], column_map.plane[lines] // group.cell_bits] == lines)
        & ~column_map.repeats[lines]
        & column_map.used[lines]
    )
    entries = int(len(lines) - at_home.sum())
    outside = np.zeros(group.outputs, np.bool_)
    beyond = lines[lines >= lines_dense]
    outside[column_map.output[beyond[column_map.used[beyond]]]] = True
    crossbars, dense_crossbars = 2 * group.pairs, 2 * group.row_blocks * lines_dense // group.columns
    return GroupMapping(
        name=group.name,
        outputs=group.outputs,
        kept_outputs=int(kept.sum()),
        inputs=group.inputs,
        kept_inputs=int(group.kept_inputs.sum()),
        crossbars=crossbars,
        dense_crossbars=dense_crossbars,
        zero_space=crossbars <= dense_crossbars,
        hosts_needed=int(column_map.repeats.sum()),
        hosts_available=len(former_holes),
        appended_lines=int((lines >= lines_dense).sum()),
        outputs_protected_in_dense=int((kept & ~outside).sum()),
        former_holes=len(former_holes),
        occupied_holes=int(used[former_holes].sum()),
        column_map_entries=entries,
        column_map_bits=entries * math.ceil(math.log2(max(2, group.outputs * width))),
    )
