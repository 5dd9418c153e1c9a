"""Real activations of a mapped matrix through the simulated hardware, with the Verilog of the periphery in the loop."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.peripheral import Peripheral, create_peripheral
from crossvote.sim.peripheral.opc_array import opc_parameters
from crossvote.sim.system.cosim import cosimulate
from crossvote.swstack.evaluation.calibration import static_steps
from crossvote.swstack.evaluation.config import CosimConfig
from crossvote.swstack.evaluation.real_tokens import captured_inputs
from crossvote.swstack.inference.convert import convert, swap_faults
from crossvote.swstack.inference.crossbar_linear import MappedLinear
from crossvote.swstack.mapping.config import Activations
from crossvote.swstack.tasks import Task
from crossvote.swstack.tasks.batches import batches, encode


@dataclass(frozen=True)
class MatrixCosim:
    """One matrix of one scheme after co-simulation.

    equal: simulated hardware, NumPy reference and torch evaluation agree on every integer.
    mismatches: integers that differ from the reference. outputs: integers compared. faults: stuck cells of the chip.
    codes: pairs of ADC codes that went through the peripheral. cycles: RTL clock cycles, all OPCs together.
    simulated_ps: time on the chip. peripheral_seconds: wall time in the peripheral.
    """

    matrix: str
    scheme: str
    backend: str
    tokens: int
    faults: int
    opcs: int
    outputs: int
    mismatches: int
    equal: bool
    codes: int
    cycles: int
    disagreements: int
    simulated_ps: int
    peripheral_seconds: float
    wall_seconds: float


def cosimulate_matrices(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    images: Mapping[str, Image],
    faults: FaultMap,
    chip: ChipConfig,
    config: CosimConfig,
    activations: Activations = "token",
    progress: Progress = no_progress,
) -> tuple[MatrixCosim, ...]:
    """Co-simulate the configured matrices under every scheme, on one chip.

    The inputs are what the matrix receives when the whole model runs on that chip. With float activations, which no
    crossbar takes, they are quantized per token here.

    Args:
        model: the pruned model that the images were made from. images: scheme name -> image.

    Raises:
        UserError: no such matrix, or a fault map for another chip.
    """
    parameters = opc_parameters(chip)
    backend = config.backend

    def make_peripheral() -> Peripheral:
        return create_peripheral(backend, parameters)

    results = []
    names = _matrix_names(next(iter(images.values())), config.matrices)
    steps = None
    if activations == "static":
        steps = static_steps(model, tokenizer, task, next(iter(images.values())))
    for scheme, image in images.items():
        on_chip = convert(model, image, activations, steps)
        swap_faults(on_chip, faults)
        examples = encode(tokenizer, task.dev[: config.tokens], task.max_length)
        inputs = captured_inputs(on_chip, image, (batch.inputs for batch in batches(examples, 8)), config.tokens)
        for name in names:
            layer = on_chip.get_submodule(name)
            assert isinstance(layer, MappedLinear)
            group = image.group_of(name)
            x = inputs[group.name]
            matrix = group.matrix(name)
            span = range(matrix.first_output, matrix.first_output + matrix.outputs)
            result = cosimulate(
                group,
                x,
                chip,
                make_peripheral,
                faults,
                span,
                config.quantum,
                threads=os.cpu_count() or 1,
                progress=lambda _, done, total, label=f"{scheme}: {name}": progress(label, done, total),  # type: ignore[misc]
            )
            inside = np.isin(result.output_index, span)
            own = result.output_index[inside] - matrix.first_output
            torch_outputs: NDArray[np.int64] = layer.integer_outputs(torch.from_numpy(x)).numpy()[:, own]
            results.append(
                MatrixCosim(
                    matrix=name,
                    scheme=scheme,
                    backend=result.backend,
                    tokens=len(x),
                    faults=len(faults.cells),
                    opcs=result.opcs,
                    outputs=result.outputs.size,
                    mismatches=result.mismatches,
                    equal=result.mismatches == 0 and np.array_equal(torch_outputs, result.outputs[:, inside]),
                    codes=result.code_pairs,
                    cycles=result.cycles,
                    disagreements=result.disagreements,
                    simulated_ps=result.simulated_ps,
                    peripheral_seconds=result.peripheral_seconds,
                    wall_seconds=result.wall_seconds,
                )
            )
    return tuple(results)


def _matrix_names(image: Image, wanted: tuple[str, ...]) -> list[str]:
    if wanted == ("all",):
        return [matrix.name for group in image.groups for matrix in group.matrices]
    return [_find_matrix(image, name) for name in wanted] or [_first_feed_forward(image)]


def _find_matrix(image: Image, name: str) -> str:
    known = [matrix.name for group in image.groups for matrix in group.matrices]
    found = [full for full in known if full == name or full.endswith(f".{name}")]
    if len(found) != 1:
        raise UserError(
            f"cosim.matrices: '{name}' names {len(found) or 'no'} matrices of the image, not one; "
            f"it holds {', '.join(known)}."
        )
    return found[0]


def _first_feed_forward(image: Image) -> str:
    return next(group for group in image.groups if group.name.endswith(".ffn1")).matrices[0].name
