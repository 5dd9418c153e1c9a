"""The compiler: the weights of a model quantized and placed on crossbars, group by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from crossvote.sim.array.image import GroupImage, Image, MatrixImage
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.common.schema import to_mapping
from crossvote.swstack.mapping.config import QuantizationConfig
from crossvote.swstack.mapping.programming import QuantizedGroup, place_group
from crossvote.swstack.mapping.quantization import quantize_weights
from crossvote.swstack.mapping.scheme import Scale, Scheme
from crossvote.swstack.models.layouts import WordLineGroup, matrix_bias, matrix_weight, word_line_groups
from crossvote.swstack.models.masks import MatrixMask


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
