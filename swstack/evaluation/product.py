"""One matrix of integers on crossbars: the same product by every path, for checks and for looking closely.

The paths without a model need no PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.array.crossbar import reference_outputs
from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import GroupImage, MatrixImage
from crossvote.sim.array.read_model import ReadModel
from crossvote.sim.array.silicon import Silicon
from crossvote.sim.chip.components.opc import opc_parameters
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral import create_peripheral
from crossvote.sim.peripheral.opc_array import OpcArray
from crossvote.swstack.mapping.programming import QuantizedGroup, place_group
from crossvote.swstack.mapping.scheme import Scheme

if TYPE_CHECKING:
    from crossvote.swstack.inference.crossbar_linear import CrossbarLinear
    from crossvote.swstack.inference.explicit_linear import ExplicitLinear

Path = Literal["fast", "explicit", "numpy", "verilator", "amaranth"]


def product(
    q: NDArray[np.integer],
    x: NDArray[np.integer],
    scheme: Scheme,
    chip: ChipConfig,
    silicon: Silicon | None,
    path: Path,
) -> NDArray[np.int64]:
    """y int64[T, N] of q [K, N] for x [T, K] on the crossbars of ``chip``; outputs whose weights are all 0 are pruned.

    Raises:
        UserError: integers that do not fit the chip's planes or inputs, an unknown path, or one that cannot be had.
    """
    if path not in get_args(Path):
        raise UserError(f"path '{path}': must be one of {', '.join(get_args(Path))}.")
    group = _placed(np.asarray(q), scheme, chip)
    x = _checked_inputs(np.asarray(x), group, chip)
    faults = None if silicon is None else silicon.faults(2 * group.pairs)
    if path == "fast":
        return _fast(group, x, chip, faults)
    if path == "explicit":
        return _explicit(group, x, chip, faults)
    if path == "numpy":
        return reference_outputs(group, x, chip.opc.input_bits, chip.adc.bits, faults)
    parameters = opc_parameters(chip)
    bundles = group.bundles(chip.opc.columns, chip.opc.outputs)
    return OpcArray(group, chip, lambda: create_peripheral(path, parameters), faults, bundles).process(x).outputs


def _placed(q: NDArray[np.integer], scheme: Scheme, chip: ChipConfig) -> GroupImage:
    planes = chip.opc.planes
    top = (1 << planes) - 1
    if q.ndim != 2 or q.dtype.kind not in "iu":
        raise UserError(f"q is {q.dtype}{list(q.shape)}; integers [inputs, outputs] are needed.")
    if q.size == 0:
        raise UserError(f"q is {q.dtype}{list(q.shape)}; at least one input and one output are needed.")
    if int(q.max()) > top or int(q.min()) < -top:
        raise UserError(f"q must hold integers from -{top} to {top}: the chip's OPC takes {planes} planes.")
    inputs, outputs = q.shape
    quantized = QuantizedGroup(
        "matrix",
        q.astype(np.int32),
        (MatrixImage("matrix", 0, outputs, np.ones(1, np.float32), None),),
        np.ones(inputs, np.bool_),
        np.any(q, axis=0),
    )
    crossbar, opc = chip.crossbar, (chip.opc.columns, chip.opc.outputs)
    return place_group(quantized, scheme, planes, crossbar.rows, crossbar.columns, 0, crossbar.cell_bits, *opc)


def _checked_inputs(x: NDArray[np.integer], group: GroupImage, chip: ChipConfig) -> NDArray[np.int64]:
    half = 1 << (chip.opc.input_bits - 1)
    if x.ndim != 2 or x.dtype.kind not in "iu" or x.shape[1] != group.inputs:
        raise UserError(f"x is {x.dtype}{list(x.shape)}; integers [vectors, {group.inputs}] are needed.")
    if x.size and not (-half <= x.min() and x.max() < half):
        raise UserError(f"x must hold integers from -{half} to {half - 1}: inputs have {chip.opc.input_bits} bits.")
    return x.astype(np.int64)


def _fast(group: GroupImage, x: NDArray[np.int64], chip: ChipConfig, faults: FaultMap | None) -> NDArray[np.int64]:
    from crossvote.swstack.inference.convert import ProgrammedGroup
    from crossvote.swstack.inference.crossbar_linear import CrossbarLinear
    from crossvote.swstack.inference.placed_group import PlacedGroup

    if chip.clips:
        raise UserError(
            f"path 'fast': chip '{chip.name}' has ADCs that clip, which no product of matrices can follow; "
            "use path 'explicit'."
        )
    placed = PlacedGroup(group)
    layer = CrossbarLinear(placed, group.matrices[0], chip.opc.input_bits)
    ProgrammedGroup(placed, (layer,)).program(faults)
    return _integers(layer, x)


def _explicit(group: GroupImage, x: NDArray[np.int64], chip: ChipConfig, faults: FaultMap | None) -> NDArray[np.int64]:
    from crossvote.swstack.inference.explicit_linear import ExplicitLinear

    model = ReadModel.of_chip(chip, 0)
    layer = ExplicitLinear(group, group.matrices[0], chip.opc.input_bits, chip.adc.bits, model)
    layer.program(faults)
    return _integers(layer, x)


def _integers(layer: CrossbarLinear | ExplicitLinear, x: NDArray[np.int64]) -> NDArray[np.int64]:
    import torch

    kind = torch.int8 if layer.input_bits <= 8 else torch.int16
    with torch.no_grad():
        found: NDArray[np.int64] = layer.integer_outputs(torch.from_numpy(x).to(kind)).numpy()
    return found
