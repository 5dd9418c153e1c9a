"""Real token vectors for the system model: what every word-line group of a mapped model receives, as integers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral import Backend, create_peripheral
from crossvote.sim.peripheral.opc_array import opc_parameters
from crossvote.sim.system.computed import RealGroup, real_groups
from crossvote.sim.system.model import SystemResult
from crossvote.swstack.inference.calibration import watching
from crossvote.swstack.inference.crossbar_linear import MappedLinear
from crossvote.swstack.mapping.quantization import activation_scale, quantize_activations


@dataclass(frozen=True)
class TokenCheck:
    """One word-line group after a system run with real tokens.

    equal: the outputs of the simulated hardware are those of the integer reference and of the torch evaluation.
    codes: pairs of ADC codes. cycles: RTL clock cycles of all its OPCs together.
    """

    group: str
    backend: str
    tokens: int
    opcs: int
    outputs: int
    mismatches: int
    equal: bool
    codes: int
    cycles: int
    disagreements: int
    peripheral_seconds: float


def captured_inputs(
    model: PreTrainedModel, image: Image, batches: Iterable[Mapping[str, torch.Tensor]], tokens: int
) -> dict[str, NDArray[np.int64]]:
    """Quantized inputs of every word-line group for the first ``tokens`` token vectors (no padding), int64[V, K].

    Args:
        model: runs on the chip (``crossvote.swstack.inference.convert``).
        batches: its inputs; an attention mask says what is padding.
    """
    layers = {group.name: model.get_submodule(group.matrices[0].name) for group in image.groups}
    caught: dict[str, list[torch.Tensor]] = {name: [] for name in layers}
    modules = [(group.name, group.matrices[0].name) for group in image.groups]
    with watching(model, modules, lambda name, x: caught[name].append(x)), torch.inference_mode():
        for batch in batches:
            model(**batch)
            if all(sum(len(part) for part in parts) >= tokens for parts in caught.values()):
                break
    return {name: _quantized(layers[name], torch.cat(parts)[:tokens]) for name, parts in caught.items()}


def _quantized(layer: torch.nn.Module, x: torch.Tensor) -> NDArray[np.int64]:
    """As ``MappedLinear`` quantizes; float activations, which no crossbar takes, are quantized per token."""
    assert isinstance(layer, MappedLinear)
    x = x.float()
    if layer.undriven is not None:
        x = x.masked_fill(layer.undriven, 0.0)
    if layer.input_step is not None:
        step = torch.tensor(layer.input_step)
    else:
        step = activation_scale(x, layer.input_bits, "tensor" if layer.activations == "tensor" else "token")
    return quantize_activations(x, step, layer.input_bits).numpy().astype(np.int64)


def rtl_groups(
    image: Image,
    chip: ChipConfig,
    inputs: dict[str, NDArray[np.int64]],
    faults: FaultMap | None,
    backend: Backend = "auto",
    quantum: int = 16,
    evidence: Path | None = None,
) -> dict[str, RealGroup]:
    """The groups of an image for ``simulate(computed=...)`` of the system model, with an OPC backend in the loop.

    ``evidence`` is a folder for the first transaction that differs from the reference.

    Raises:
        UserError: a backend that cannot be built, or inputs that are not of this image.
    """
    parameters = opc_parameters(chip)
    return real_groups(
        chip,
        {group.name: group for group in image.groups},
        dict(inputs),
        make_peripheral=lambda: create_peripheral(backend, parameters),
        faults=faults,
        quantum=quantum,
        threads=os.cpu_count() or 1,
        evidence=evidence,
    )


def check_tokens(
    result: SystemResult, model: PreTrainedModel, image: Image, inputs: Mapping[str, NDArray[np.int64]]
) -> tuple[TokenCheck, ...]:
    """Compare what came out of the simulated hardware with the reference and with the torch evaluation.

    Raises:
        UserError: the result has no computed groups.
    """
    if not result.computed:
        raise UserError("no word-line group was computed in this run.")
    checks = []
    for name, computed in result.computed.items():
        group = image.group(name)
        x = torch.from_numpy(inputs[name]).to(torch.int32)
        expected = np.zeros_like(computed.outputs)
        for matrix in group.matrices:
            layer = model.get_submodule(matrix.name)
            assert isinstance(layer, MappedLinear)
            span = slice(matrix.first_output, matrix.first_output + matrix.outputs)
            expected[:, span] = layer.integer_outputs(x).numpy()
        checks.append(
            TokenCheck(
                group=name,
                backend=computed.backend,
                tokens=len(computed.outputs),
                opcs=computed.opcs,
                outputs=computed.outputs.size,
                mismatches=computed.mismatches,
                equal=computed.mismatches == 0 and np.array_equal(computed.outputs, expected),
                codes=computed.code_pairs,
                cycles=computed.cycles,
                disagreements=computed.disagreements,
                peripheral_seconds=computed.peripheral_seconds,
            )
        )
    return tuple(checks)
