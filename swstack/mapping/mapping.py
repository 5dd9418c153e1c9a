"""The compiler: quantized weights and the copies of their bits placed on crossbars, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from crossvote.sim.array.checksum import with_checksums
from crossvote.sim.array.column_map import ColumnMap
from crossvote.sim.array.image import GroupImage, Image, MatrixImage
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.common.schema import to_mapping
from crossvote.swstack.mapping.config import QuantizationConfig
from crossvote.swstack.mapping.placement import dense_lines, home_lines, place_checksums, place_outputs
from crossvote.swstack.mapping.quantization import quantize_weights
from crossvote.swstack.mapping.scheme import Allocation, GroupStatistics, Scale, Scheme
from crossvote.swstack.models.layouts import WordLineGroup, matrix_bias, matrix_weight, word_line_groups
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
    scheme: Scheme,
    quantization: QuantizationConfig | None = None,
    *,
    rows: int = 128,
    columns: int = 128,
    adc_bits: int = 8,
    input_bits: int = 8,
    cell_bits: int = 1,
    opc_columns: int | None = None,
    opc_outputs: int | None = None,
    name: str = "",
    progress: Progress = no_progress,
) -> Image:
    """Quantize and place the word-line groups of a model on crossbars of ``rows`` x ``columns`` cells.

    Groups take consecutive crossbars in the order given. ``name`` names the scheme in the image. Time grows with the
    number of cells; the largest temporary is one row block of one group. ``opc_columns`` and ``opc_outputs``: what an
    output peripheral serves, which checksums go by; left out, the lines of a crossbar and as many outputs as have room.

    Raises:
        UserError: a crossbar too narrow for one output, or anything ``quantize_group`` refuses.
    """
    quantization = quantization or QuantizationConfig()
    images: list[GroupImage] = []
    first_pair = 0
    for done, group in enumerate(groups):
        progress(f"map {name}".rstrip(), done, len(groups))
        quantized = quantize_group(model, group, masks, quantization.weight_bits, scheme.scale)
        planes, opc = quantization.planes, (opc_columns, opc_outputs)
        images.append(place_group(quantized, scheme, planes, rows, columns, first_pair, cell_bits, *opc))
        first_pair += images[-1].pairs
    progress(f"map {name}".rstrip(), len(groups), len(groups))
    known = {"knows_faults": True} if scheme.knows_faults else {}
    return Image(tuple(images), {"name": name, **to_mapping(scheme), **known}, input_bits=input_bits, adc_bits=adc_bits)


def map_model(
    model: nn.Module,
    masks: Mapping[str, MatrixMask] | None,
    scheme: Scheme,
    quantization: QuantizationConfig,
    chip: ChipConfig,
    *,
    groups: Sequence[WordLineGroup] | None = None,
    name: str = "",
    progress: Progress = no_progress,
) -> Image:
    """``build_image`` of all word-line groups of a model, or of some, on the crossbars that ``chip`` describes.

    Raises:
        UserError: as ``build_image``; or the scheme names groups that the model does not have.
    """
    if groups is None:
        groups = word_line_groups(model)
        scheme.check_groups([group.name for group in groups])
    return build_image(
        model,
        groups,
        masks,
        scheme,
        quantization,
        **chip.image_sizes,
        name=name,
        progress=progress,
    )


def place_group(
    quantized: QuantizedGroup,
    scheme: Scheme,
    planes: int,
    rows: int,
    columns: int,
    first_pair: int = 0,
    cell_bits: int = 1,
    opc_columns: int | None = None,
    opc_outputs: int | None = None,
) -> GroupImage:
    """Place one quantized word-line group under a protection scheme.

    Where a code leaves out low planes, its output's integers are rounded to multiples of the lowest one kept.
    ``opc_columns``, ``opc_outputs``: as in ``build_image``.

    Raises:
        UserError: a crossbar too narrow for one output, or a scheme that does not fit.
    """
    statistics = group_statistics(quantized, planes, cell_bits, rows)
    slices = len(statistics.cell_planes)
    if slices > columns:
        raise UserError(
            f"group {quantized.name}: an output takes {slices} bit lines, more than the {columns} of a crossbar; "
            "use wider crossbars or fewer weight bits."
        )
    opc = (opc_columns or columns, opc_outputs or columns // planes)
    allocation, column_map = _placed(scheme, statistics, columns, *opc)
    cells = program(rounded(quantized.q, allocation, planes), column_map, rows, cell_bits)
    return GroupImage(
        name=quantized.name,
        inputs=len(quantized.q),
        planes=planes,
        rows=rows,
        columns=columns,
        matrices=tuple(
            matrix if scheme.gain == 1 else replace(matrix, scale=(matrix.scale * scheme.gain).astype(np.float32))
            for matrix in quantized.matrices
        ),
        column_map=column_map,
        cells=with_checksums(cells, column_map, rows) if column_map.checksums else cells,
        kept_inputs=quantized.kept_inputs,
        vote=allocation.vote,
        first_pair=first_pair,
        cell_bits=cell_bits,
    )


def _placed(
    scheme: Scheme, statistics: GroupStatistics, columns: int, opc_columns: int, opc_outputs: int
) -> tuple[Allocation, ColumnMap]:
    """The codes of a group and their bit lines, checksums included."""
    slices, bits = len(statistics.cell_planes), scheme.checksum_bits or 0
    name, cell_bits = statistics.name, statistics.cell_bits
    room = dense = dense_lines(len(statistics.kept), slices, columns)
    while True:
        allocation = scheme.allocate(statistics, room)
        column_map = place_outputs(allocation, slices, columns, scheme.placement, name, cell_bits, spare=bits)
        if not bits:
            return allocation, column_map
        checked = place_checksums(column_map, bits, columns, opc_columns, opc_outputs, name)
        over = int(checked.read.sum()) > dense
        if not over or room < dense:
            return allocation, checked
        # A scheme that fills the room there is leaves some for its checksums; others place the same once more.
        room = dense - bits * checked.checksums


def group_statistics(quantized: QuantizedGroup, planes: int, cell_bits: int, rows: int) -> GroupStatistics:
    """What a scheme may know of a group: all inputs alike, and an output's error counts by its scale."""
    scale = np.concatenate([np.broadcast_to(matrix.scale, matrix.outputs) for matrix in quantized.matrices])
    return GroupStatistics(
        name=quantized.name,
        planes=planes,
        cell_bits=cell_bits,
        q=quantized.q,
        kept=quantized.kept_outputs,
        scale=scale.astype(np.float32),
        moments=quantized.kept_inputs.astype(float) if quantized.kept_inputs.any() else np.ones(len(quantized.q)),
        sensitivity=np.ones(len(scale)),
        vote_rows=min(rows, int(quantized.kept_inputs.sum())),
    )


def rounded(q: NDArray[np.int32], allocation: Allocation, planes: int) -> NDArray[np.int32]:
    """q [K, N], each output rounded to the nearest multiple of its lowest plane that its kept planes can hold."""
    lowest = allocation.lowest
    if not lowest.any():
        return q
    step = np.left_shift(1, lowest)
    most = (1 << planes) - step
    whole: NDArray[np.int32] = np.clip(np.rint(q / step) * step, -most, most).astype(np.int32)
    return whole


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
