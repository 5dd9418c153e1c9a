"""The compiler: quantized weights and their replicas placed on crossbars, and what that costs.

Two placements (vocabulary and layouts: module ``crossvote.sim.array.image``):

* ``in_place``: the dense layout. Output j of a group occupies B adjacent bit lines of column block j // (C // B); the
  bit lines of pruned outputs are holes, and replicas are embedded there (arXiv 2401.11664, Algorithm 2).
* ``packed``: only kept outputs, each with all its planes and replicas in one crossbar, next-fit in output order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from crossvote.sim.array.image import ColumnMap, GroupImage, Image, MatrixImage
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.common.schema import to_mapping
from crossvote.swstack.mapping.config import QuantizationConfig
from crossvote.swstack.mapping.protection import Placement, Protection, Scale
from crossvote.swstack.mapping.quantization import quantize_weights
from crossvote.swstack.models.layouts import WordLineGroup, matrix_bias, matrix_weight
from crossvote.swstack.models.masks import MatrixMask


@dataclass(frozen=True, eq=False)
class QuantizedGroup:
    """The integers of one word-line group, before placement.

    Attributes:
        q: int32[K, N], outputs of all matrices side by side; pruned rows and columns are 0.
        matrices: name, outputs, scale and bias of each matrix.
        kept_inputs: bool[K], inputs that at least one matrix uses. kept_outputs: bool[N].
    """

    name: str
    q: NDArray[np.int32]
    matrices: tuple[MatrixImage, ...]
    kept_inputs: NDArray[np.bool_]
    kept_outputs: NDArray[np.bool_]


def quantize_group(
    model: nn.Module, group: WordLineGroup, masks: Mapping[str, MatrixMask] | None, weight_bits: int, scale: Scale
) -> QuantizedGroup:
    """Masked, quantized weights of a word-line group; a matrix without a mask is kept whole.

    Raises:
        UserError: a mask of the wrong size, matrices that do not share their inputs, or NaN or infinite weights.
    """
    parts: list[NDArray[np.int32]] = []
    matrices: list[MatrixImage] = []
    kept_inputs: list[NDArray[np.bool_]] = []
    kept_outputs: list[NDArray[np.bool_]] = []
    for name in group.matrices:
        weight = matrix_weight(model, name).to("cpu", torch.float32).numpy()
        rows, columns = _kept(masks, name, weight.shape)
        try:
            q, step = quantize_weights(np.where(rows[:, None] & columns, weight, np.float32(0)), weight_bits, scale)
        except UserError as error:
            raise UserError(f"matrix {name}: {error}") from None
        bias = matrix_bias(model, name)
        matrices.append(
            MatrixImage(
                name,
                sum(part.shape[1] for part in parts),
                q.shape[1],
                step,
                None if bias is None else bias.to("cpu", torch.float32, copy=True).numpy(),
            )
        )
        parts.append(q)
        kept_inputs.append(rows)
        kept_outputs.append(columns)
    if len({part.shape[0] for part in parts}) != 1:
        raise UserError(f"group {group.name}: its matrices have {[p.shape[0] for p in parts]} inputs, not one number.")
    return QuantizedGroup(
        group.name,
        np.concatenate(parts, axis=1),
        tuple(matrices),
        np.any(kept_inputs, axis=0),
        np.concatenate(kept_outputs),
    )


def _kept(
    masks: Mapping[str, MatrixMask] | None, name: str, shape: tuple[int, ...]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    if masks is None or name not in masks:
        return np.ones(shape[0], np.bool_), np.ones(shape[1], np.bool_)
    rows, columns = masks[name].rows, masks[name].columns
    if (rows.size, columns.size) != shape:
        raise UserError(
            f"the mask of matrix {name} is for {rows.size} inputs x {columns.size} outputs, "
            f"the matrix has {shape[0]} x {shape[1]}."
        )
    return rows, columns


def build_image(
    model: nn.Module,
    groups: Sequence[WordLineGroup],
    masks: Mapping[str, MatrixMask] | None,
    protection: Protection,
    quantization: QuantizationConfig | None = None,
    *,
    rows: int = 128,
    columns: int = 128,
    adc_bits: int = 8,
    input_bits: int = 8,
    cell_bits: int = 1,
    name: str = "",
    progress: Progress = no_progress,
) -> Image:
    """Quantize and place the word-line groups of a model on crossbars of ``rows`` x ``columns`` cells.

    Groups take consecutive crossbars in the order given. ``name`` names the scheme in the image. Time grows with the
    number of cells; the largest temporary is one row block of one group.

    Raises:
        UserError: a crossbar too narrow for one output, or anything ``quantize_group`` refuses.
    """
    quantization = quantization or QuantizationConfig()
    images: list[GroupImage] = []
    first_pair = 0
    for done, group in enumerate(groups):
        progress(f"map {name}".rstrip(), done, len(groups))
        quantized = quantize_group(model, group, masks, quantization.weight_bits, protection.scale)
        images.append(place_group(quantized, protection, quantization.planes, rows, columns, first_pair, cell_bits))
        first_pair += images[-1].pairs
    progress(f"map {name}".rstrip(), len(groups), len(groups))
    return Image(tuple(images), {"name": name, **to_mapping(protection)}, input_bits=input_bits, adc_bits=adc_bits)


def place_group(
    quantized: QuantizedGroup,
    protection: Protection,
    planes: int,
    rows: int,
    columns: int,
    first_pair: int = 0,
    cell_bits: int = 1,
) -> GroupImage:
    """Place one quantized word-line group under a protection scheme.

    With cells of two bits, planes 0 and 1, 2 and 3, ... share a bit line; it is flipped or replicated as the most
    protected of its planes.

    Raises:
        UserError: a crossbar too narrow for one output.
    """
    firsts = np.arange(0, planes, cell_bits)
    column_map = place_outputs(
        quantized.kept_outputs,
        np.maximum.reduceat(protection.replica_counts(planes), firsts),
        np.logical_or.reduceat(protection.flipped_planes(planes), firsts),
        columns,
        protection.placement,
        quantized.name,
        cell_bits,
    )
    return GroupImage(
        name=quantized.name,
        inputs=len(quantized.q),
        planes=planes,
        rows=rows,
        columns=columns,
        matrices=quantized.matrices,
        column_map=column_map,
        cells=program(quantized.q, column_map, rows, cell_bits),
        kept_inputs=quantized.kept_inputs,
        vote=protection.vote,
        first_pair=first_pair,
        cell_bits=cell_bits,
    )


def place_outputs(
    kept: NDArray[np.bool_],
    counts: NDArray[np.int64],
    flipped: NDArray[np.bool_],
    columns: int,
    placement: Placement,
    name: str = "",
    cell_bits: int = 1,
) -> ColumnMap:
    """Give every plane (with cells of two bits: every pair of planes) and replica of every kept output a bit line.

    Args:
        kept: bool[N]. counts: int64[B / cell_bits, rounded up], replicas of each. flipped: bool, likewise.
        columns: bit lines of a crossbar.

    In place, replicas go to holes of their own column block first, then to those of the nearest block (the lower one
    of two), and to appended blocks when no hole is left. At least one column block is taken.

    Raises:
        UserError: one output does not fit into a crossbar.
    """
    planes = len(counts)
    width = planes if placement == "in_place" else int(counts.sum())
    if width > columns:
        raise UserError(
            f"group {name}: an output takes {width} bit lines, more than the {columns} of a crossbar; "
            "use wider crossbars, fewer weight bits or fewer replicas."
        )
    per_block = columns // width
    if placement == "packed":
        outputs = np.flatnonzero(kept)
        plane = np.repeat(np.arange(planes), counts)
        replica = np.concatenate([np.arange(count) for count in counts])
        lines = _first_lines(len(outputs), per_block, width, columns)[:, None] + np.arange(width)
        blocks = max(1, math.ceil(len(outputs) / per_block))
        entries = [
            (lines.ravel(), np.repeat(outputs, width), np.tile(plane, len(outputs)), np.tile(replica, len(outputs)))
        ]
    else:
        first = _first_lines(len(kept), per_block, planes, columns)
        lines = first[:, None] + np.arange(planes)
        holes = lines[~kept].ravel()
        outputs = np.flatnonzero(kept)
        extra_plane = np.repeat(np.arange(planes), counts - 1)
        extra_replica = np.concatenate([np.arange(1, count) for count in counts])
        need = len(extra_plane)
        blocks = math.ceil(len(kept) / per_block)
        hosts, blocks = _hosts(outputs // per_block, need, holes, columns, blocks)
        entries = [
            (
                lines[kept].ravel(),
                np.repeat(outputs, planes),
                np.tile(np.arange(planes), len(outputs)),
                np.zeros(len(outputs) * planes, np.int64),
            ),
            (
                hosts,
                np.repeat(outputs, need),
                np.tile(extra_plane, len(outputs)),
                np.tile(extra_replica, len(outputs)),
            ),
        ]
    size = blocks * columns
    output = np.full(size, -1, np.int32)
    plane_of = np.zeros(size, np.int8)
    replica_of = np.zeros(size, np.int8)
    for line, o, p, r in entries:
        output[line], plane_of[line], replica_of[line] = o, p, r
    return ColumnMap(output, plane_of * np.int8(cell_bits), replica_of, flipped[plane_of] & (output >= 0))


def _first_lines(outputs: int, per_block: int, width: int, columns: int) -> NDArray[np.int64]:
    """First bit line of each output when every crossbar holds ``per_block`` whole outputs."""
    block, place = np.divmod(np.arange(outputs, dtype=np.int64), per_block)
    return block * columns + place * width


def _hosts(
    block_of_output: NDArray[np.int64], need: int, holes: NDArray[np.int64], columns: int, blocks: int
) -> tuple[NDArray[np.int64], int]:
    """Bit lines for ``need`` replicas of each output, int64[outputs * need], and the number of column blocks then.

    Linear in the number of replicas plus outputs left without a hole in their own block times column blocks.
    """
    free: list[list[int]] = [[] for _ in range(blocks)]
    for line in holes[::-1].tolist():
        free[line // columns].append(line)
    hosts = np.full((len(block_of_output), need), -1, np.int64)
    for output, block in enumerate(block_of_output.tolist()):
        own = free[block]
        for i in range(min(need, len(own))):
            hosts[output, i] = own.pop()
    left = np.argwhere(hosts < 0)
    for at, (output, i) in enumerate(left):
        home = int(block_of_output[output])
        nearest = min((b for b in range(blocks) if free[b]), key=lambda b: (abs(b - home), b), default=None)
        if nearest is None:
            appended = left[at:]
            hosts[appended[:, 0], appended[:, 1]] = blocks * columns + np.arange(len(appended))
            blocks += math.ceil(len(appended) / columns)
            break
        hosts[output, i] = free[nearest].pop()
    return hosts.ravel(), blocks


def program(q: NDArray[np.int32], column_map: ColumnMap, rows: int, cell_bits: int = 1) -> NDArray[np.uint8]:
    """Packed cells (``GroupImage.cells``) that hold the integers q [K, N] under a column map.

    A flipped cell holds its last level minus the level.
    """
    inputs = len(q)
    row_blocks = math.ceil(inputs / rows)
    lines = np.flatnonzero(column_map.used)
    output, plane, flipped = column_map.output[lines], column_map.plane[lines], column_map.flipped[lines]
    packed = np.zeros((2, row_blocks * rows, math.ceil(len(column_map) * cell_bits / 8)), np.uint8)
    magnitude_type = np.uint8 if np.abs(q).max(initial=0) < 256 else np.uint16
    for sign in (0, 1):
        for start in range(0, inputs, rows):
            part = q[start : start + rows]
            magnitude = np.maximum(part if sign == 0 else -part, 0).astype(magnitude_type)
            shifted = magnitude[:, output] >> plane.astype(magnitude_type)
            bits = np.zeros((len(part), len(column_map), cell_bits), np.uint8)
            for bit in range(cell_bits):
                bits[:, lines, bit] = ((shifted >> bit) & 1) ^ flipped
            packed[sign, start : start + len(part)] = np.packbits(bits.reshape(len(part), -1), axis=-1)
    return packed


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
        appended_lines: used bit lines beyond the dense column blocks.
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
    per_block = group.columns // width
    dense_blocks = math.ceil(group.outputs / per_block)
    dense_lines = dense_blocks * group.columns
    kept = np.zeros(group.outputs, np.bool_)
    kept[column_map.output[column_map.used]] = True

    home = (_first_lines(group.outputs, per_block, width, group.columns)[:, None] + np.arange(width)).ravel()
    former_holes = home.reshape(-1, width)[~kept].ravel()
    used = np.zeros(max(dense_lines, len(column_map)), np.bool_)
    used[: len(column_map)] = column_map.used

    lines = np.flatnonzero(column_map.used)
    at_home = (
        home.reshape(-1, width)[column_map.output[lines], column_map.plane[lines] // group.cell_bits] == lines
    ) & ~column_map.repeats[lines]
    entries = int(len(lines) - at_home.sum())
    outside = np.zeros(group.outputs, np.bool_)
    outside[column_map.output[lines[lines >= dense_lines]]] = True
    crossbars, dense_crossbars = 2 * group.pairs, 2 * group.row_blocks * dense_blocks
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
        appended_lines=int((lines >= dense_lines).sum()),
        outputs_protected_in_dense=int((kept & ~outside).sum()),
        former_holes=len(former_holes),
        occupied_holes=int(used[former_holes].sum()),
        column_map_entries=entries,
        column_map_bits=entries * math.ceil(math.log2(max(2, group.outputs * width))),
    )
