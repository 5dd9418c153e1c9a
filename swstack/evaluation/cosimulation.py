"""Real activations of a mapped model through the simulated hardware, with the output peripheral in the loop.

There is one path: capture what the matrices receive on the faulty chip, ask for a co-simulation of their word-line
groups (alone, or inside a run of the system model), and compare every integer with the reference and with torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image, MatrixImage
from crossvote.sim.chip.components.opc import opc_parameters
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.machine import cores
from crossvote.sim.common.progress import Progress, no_progress
from crossvote.sim.peripheral import Backend, create_peripheral
from crossvote.sim.peripheral.support import cosim_backend, group_demand
from crossvote.sim.peripheral.tile_backend import VerilatorTile
from crossvote.sim.system.cosim import CosimRequest, Cosimulation, cosim_requests, cosimulate
from crossvote.swstack.evaluation.captured import captured_inputs
from crossvote.swstack.evaluation.config import CosimConfig, EvalConfig
from crossvote.swstack.evaluation.results import CosimRecord
from crossvote.swstack.inference.checksums import checksum_mismatches
from crossvote.swstack.inference.convert import convert, swap_faults
from crossvote.swstack.inference.mapped_linear import MappedLinear
from crossvote.swstack.mapping.config import Activations
from crossvote.swstack.tasks import Task
from crossvote.swstack.tasks.batches import batches, encode


@dataclass(frozen=True, eq=False)
class OnChip:
    """A scheme's model on a faulty chip, and what its word-line groups receive there.

    inputs: int64[V, K] by group name, padding left out.
    """

    scheme: str
    model: PreTrainedModel
    image: Image
    faults: FaultMap | None
    inputs: dict[str, NDArray[np.int64]]

    def requests(
        self, chip: ChipConfig, backend: Backend = "auto", quantum: int = 16, evidence: Path | None = None
    ) -> dict[str, CosimRequest]:
        """Every word-line group of the image, by name; through whole tiles for "tile".

        evidence: folder for the first wrong transaction.

        Raises:
            UserError: sizes that the output peripheral cannot have, a code that it cannot serve, or inputs that do not
                fit it.
        """
        parameters = opc_parameters(chip)
        own = cosim_backend(chip, [group_demand(group) for group in self.image.groups], backend)
        return cosim_requests(
            chip,
            {group.name: group for group in self.image.groups},
            self.inputs,
            make_peripheral=lambda: create_peripheral(own, parameters),
            make_tile=VerilatorTile if own == "tile" else None,
            faults=self.faults,
            quantum=quantum,
            threads=cores(),
            evidence=evidence,
        )

    def record(self, result: Cosimulation, matrix: MatrixImage | None = None) -> CosimRecord:
        """Compare what came out of a group with the torch evaluation; only a matrix of it where one is named."""
        group = self.image.group(result.group)
        x = torch.from_numpy(self.inputs[result.group]).to(torch.int32)
        counted = checksum_mismatches(self.image.group(result.group), x, self.faults, result.spans, result.checksums)
        equal = result.mismatches == 0 and result.compared > 0
        equal = equal and result.checksum_mismatches == result.checksum_reference == counted
        for own in group.matrices if matrix is None else (matrix,):
            layer = self.model.get_submodule(own.name)
            assert isinstance(layer, MappedLinear)
            span = np.arange(own.first_output, own.first_output + own.outputs)
            columns = span[np.isin(span, result.simulated)]
            expected = np.zeros_like(result.outputs)
            expected[:, span] = layer.integer_outputs(x).numpy()
            if result.requantise is not None:
                expected = result.requantise(expected)
            equal = equal and np.array_equal(expected[:, columns], result.outputs[:, columns])
        return CosimRecord(
            name=result.group if matrix is None else matrix.name,
            scheme=self.scheme,
            backend=result.backend,
            tokens=len(result.outputs),
            faults=0 if self.faults is None else self.faults.count(0, self.faults.crossbars),
            opcs=result.opcs,
            outputs=result.compared,
            mismatches=result.mismatches,
            equal=equal,
            codes=result.code_pairs,
            cycles=result.cycles,
            disagreements=result.disagreements,
            simulated_ps=result.simulated_ps,
            checksum_mismatches=result.checksum_mismatches,
            checksum_reference=result.checksum_reference,
        )


def on_chip(
    model: PreTrainedModel,
    image: Image,
    inputs: Iterable[Mapping[str, torch.Tensor]],
    faults: FaultMap | None,
    tokens: int,
    activations: Activations = "token",
    steps: Mapping[str, float] | None = None,
    scheme: str = "",
) -> OnChip:
    """Put a model on a faulty chip and capture what its matrices receive for the first ``tokens`` token vectors.

    Float activations, which no crossbar takes, are quantized per token here. An image of a scheme that programs around
    known faults holds what is programmed on a chip without any, so that is the chip it is put on.

    Args:
        model: the pruned model that the image was made from. inputs: batches with an attention mask.
        steps: of "static" activations, by word-line group.
    """
    if image.protection.get("knows_faults"):
        faults = None
    converted = convert(model, image, activations, steps)
    swap_faults(converted, faults)
    return OnChip(scheme, converted, image, faults, captured_inputs(converted, image, inputs, tokens))


def dev_batches(
    tokenizer: PreTrainedTokenizerBase, task: Task, tokens: int, batch_size: int
) -> list[dict[str, torch.Tensor]]:
    """Batches of dev examples that hold ``tokens`` token vectors, if the task has so many.

    batch_size: as the accuracy was measured with: inputs with a scale per tensor have that of their batch.
    """
    return [batch.inputs for batch in batches(encode(tokenizer, task.dev[:tokens], task.max_length), batch_size)]


def cosimulate_matrices(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    images: Mapping[str, Image],
    faults: FaultMap,
    chip: ChipConfig,
    config: CosimConfig,
    activations: Activations = "token",
    steps: Mapping[str, float] | None = None,
    progress: Progress = no_progress,
    batch_size: int = EvalConfig().batch_size,
) -> tuple[CosimRecord, ...]:
    """Co-simulate the configured matrices under every scheme, on one chip, each with all matrices of its OPCs.

    The inputs are what the matrix receives when the whole model runs on that chip.

    Args:
        model: the pruned model that the images were made from. images: scheme name -> image.
        steps: of "static" activations, by word-line group, as the accuracy was measured with. batch_size: likewise.

    Raises:
        UserError: no such matrix, or a fault map for another chip.
    """
    records = []
    names = matrix_names(next(iter(images.values())), config.matrices)
    inputs = dev_batches(tokenizer, task, config.tokens, batch_size)
    for scheme, image in images.items():
        placed = on_chip(model, image, inputs, faults, config.tokens, activations, steps, scheme)
        requests = placed.requests(chip, config.backend, config.quantum)
        for name in names:
            group = image.group_of(name)
            matrix = group.matrix(name)
            span = range(matrix.first_output, matrix.first_output + matrix.outputs)
            result = cosimulate(
                replace(requests[group.name], outputs=span),
                chip,
                lambda _, done, total, label=f"{scheme}: {name}": progress(label, done, total),  # type: ignore[misc]
            )
            records.append(placed.record(result, matrix))
    return tuple(records)


def matrix_names(image: Image, wanted: Sequence[str]) -> list[str]:
    """Full names of the matrices that ``cosim.matrices`` means.

    Raises:
        UserError: a name that means none or several.
    """
    known = [matrix.name for group in image.groups for matrix in group.matrices]
    return find_matrices(known, wanted) or [_first_feed_forward(image)]


def find_matrices(known: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Those of the ``known`` names that the entries of ``cosim.matrices`` mean; none for no entry.

    Raises:
        UserError: an entry that means none or several.
    """
    if tuple(wanted) == ("all",):
        return list(known)
    names = []
    for name in wanted:
        found = [full for full in known if full == name or full.endswith(f".{name}")]
        if len(found) != 1:
            raise UserError(
                f"cosim.matrices: '{name}' names {len(found) or 'no'} matrices of the model, not one; "
                f"it holds {', '.join(known)}."
            )
        names.append(found[0])
    return names


def _first_feed_forward(image: Image) -> str:
    """The first feed-forward matrix; of groups without roles, the first with more outputs than inputs, or any."""
    named = (group for group in image.groups if group.name.endswith(".ffn1"))
    wide = (group for group in image.groups if group.outputs > len(group.matrices) * group.inputs)
    return next(named, next(wide, image.groups[0])).matrices[0].name
