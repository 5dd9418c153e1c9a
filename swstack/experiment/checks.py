"""What a later stage would refuse, refused before the first one starts, on the real model and the real task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from crossvote.sim.array.image import Image
from crossvote.sim.array.read_model import ReadModel
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral.verilator_build import tools
from crossvote.swstack.evaluation.cosimulation import find_matrices
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.resources import check_resources
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.task import task_of_run
from crossvote.swstack.experiment.stages import NEED_MODEL, NEED_TASK
from crossvote.swstack.inference.convert import convert
from crossvote.swstack.inference.embedding_faults import embedding_crossbars
from crossvote.swstack.mapping.mapping import map_model
from crossvote.swstack.models.accounting import not_finite
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import WordLineGroup, matrix_weight, word_line_groups
from crossvote.swstack.models.loading import load
from crossvote.swstack.pruning.axes import pruning_axes
from crossvote.swstack.pruning.config import NO_PRUNING
from crossvote.swstack.pruning.methods import METHODS
from crossvote.swstack.tasks import Task, load_task
from crossvote.swstack.tasks.batches import Batch, collate, encode
from crossvote.swstack.tasks.kinds import head_of
from crossvote.swstack.training.finetune import check_own_head

#: Dev examples that are run before the first stage, the shortest ones.
_EXAMPLES = 2


@dataclass(frozen=True, eq=False)
class Found:
    """What the pending stages start from; None for what none of them needs."""

    task: Task | None = None
    model: PreTrainedModel | None = None
    tokenizer: PreTrainedTokenizerBase | None = None


def check_pending(config: RunConfig, directory: Path, pending: Sequence[str]) -> Found:
    """Refuse what the ``pending`` stages would stumble over. A model or a task on the hub is fetched here.

    Raises:
        UserError: a model or task that is absent or broken, a family that cannot be mapped, a share that cannot be
            pruned, a protection that the weights or the crossbars have no room for, a model that does not run on the
            chip, has no head to be taken as it is, or has no table of embeddings that could be faulty, a matrix that
            does not exist, a back end that cannot be had, or a model that gives NaN.
        StorageError: too little disk or memory.
    """
    if "cosim" in pending and config.cosim.backend == "verilator":
        tools()
    if not NEED_TASK.intersection(pending):
        return Found()
    if "finetune" in pending:
        task = load_task(config.task, config.seed)
    else:
        task = task_of_run(directory, config, train=bool(_learning(config).intersection(pending)))
    if not NEED_MODEL.intersection(pending):
        return Found(task)
    dense = directory / paths.DENSE
    source = (
        config.model if "finetune" in pending else ModelConfig(source=str(dense.resolve()), layout=config.model.layout)
    )
    model, tokenizer = load(source, head_of(task), config.seed)
    if "finetune" in pending:
        check_own_head(model, task, config.finetune)
    check_resources(model, config, directory, pending)
    # What is learned from is encoded first by the stage that learns.
    encoded = encode(tokenizer, task.dev, task.max_length)
    batch = collate(encoded, np.argsort(encoded.lengths, kind="stable")[:_EXAMPLES])
    _check_outputs(model, batch, source.source)
    if "prune" in pending:
        pruning_axes(model, config.prune.column_sparsity, config.prune.row_sparsity)
        if config.prune.method != NO_PRUNING:
            METHODS[config.prune.method].check(model)
    if {"map", "eval"}.intersection(pending):
        _check_mapping(model, config, batch if "eval" in pending else None)
    if config.faults.embeddings and {"map", "eval"}.intersection(pending):
        embedding_crossbars(model, config.chip.crossbar.rows, config.chip.crossbar.columns)
    if "cosim" in pending:
        find_matrices([name for group in word_line_groups(model) for name in group.matrices], config.cosim.matrices)
    return Found(task, model, tokenizer)


def _learning(config: RunConfig) -> set[str]:
    """Stages that look at the train examples."""
    measured = {"calibrate"} if config.quantization.activations == "static" else set()
    return {"prune", "fault-training"} | measured


def _check_outputs(model: PreTrainedModel, batch: Batch, source: str) -> None:
    """Refuse a model that cannot read the dev examples, or whose outputs of them are no numbers."""
    try:
        with torch.inference_mode():
            outputs = model(**batch.inputs)
    except (ValueError, RuntimeError, IndexError) as error:  # what models say of a length or a token that is not theirs
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"model {source!r}: it fails at a dev example ({reason}).") from None
    name = not_finite(outputs)
    if name is not None:
        raise UserError(
            f"model {source!r}: its {name} of a dev example are NaN or infinite, though its weights are numbers; they "
            "are too large, or a number of its config.json is wrong."
        )


def _check_mapping(model: PreTrainedModel, config: RunConfig, batch: Batch | None) -> None:
    """Map the smallest word-line group under every scheme, and run a batch on it: what fails there fails for all."""
    config.check_support(row_blocks(model, config))
    static = config.quantization.activations == "static"
    trained = (config.fault_training.scheme,) if config.fault_training.epochs else ()
    for name in dict.fromkeys((*trained, *config.map.schemes)):
        image = smallest_image(model, config, name)
        if batch is not None and name in config.map.schemes:
            steps = {group.name: 1.0 for group in image.groups} if static else None
            reads = ReadModel.of_chip(config.chip, config.seed)
            converted = convert(model, image, config.quantization.activations, steps, reads)
            with torch.inference_mode():
                converted(**batch.inputs)


def row_blocks(model: PreTrainedModel, config: RunConfig) -> int:
    """Crossbars under one another that the widest matrix takes."""
    widest = max(matrix_weight(model, group.matrices[0]).shape[0] for group in word_line_groups(model))
    return -(-widest // config.chip.crossbar.rows)


def smallest_group(model: PreTrainedModel) -> WordLineGroup:
    """The word-line group with the fewest weights."""
    return min(
        word_line_groups(model), key=lambda group: sum(matrix_weight(model, name).numel() for name in group.matrices)
    )


def smallest_image(model: PreTrainedModel, config: RunConfig, scheme: str) -> Image:
    """The image of the smallest word-line group alone, unpruned.

    Raises:
        UserError: the scheme cannot be mapped; its name is said.
    """
    try:
        protection, groups = config.scheme(scheme), [smallest_group(model)]
        protection.check_groups([group.name for group in word_line_groups(model)])
        return map_model(model, None, protection, config.quantization, config.chip, groups=groups, name=scheme)
    except UserError as error:
        raise UserError(f"scheme '{scheme}': {error}") from None
