"""What a later stage would refuse, refused before the first one starts, on the real model and the real task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from crossvote.sim.array.image import Image
from crossvote.sim.common.errors import UserError
from crossvote.swstack.evaluation.cosimulation import find_matrices
from crossvote.swstack.experiment import paths
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.resources import check_resources
from crossvote.swstack.inference.embedding_faults import embedding_crossbars
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import WordLineGroup, matrix_weight, word_line_groups
from crossvote.swstack.models.loading import load
from crossvote.swstack.pruning.axes import pruning_axes
from crossvote.swstack.tasks import Task, load_task


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
            pruned, a protection that the weights or the crossbars have no room for, a matrix that does not exist.
        StorageError: too little disk or memory.
    """
    needs_model = {"finetune", "prune", "fault-training", "map", "cosim"}.intersection(pending)
    needs_task = {"finetune", "score-dense", "prune", "score-pruned", "fault-training", "eval", "cosim"}.intersection(
        pending
    )
    if not needs_model | needs_task:
        return Found()
    task = load_task(config.task, config.seed)
    if not needs_model:
        return Found(task)
    dense = directory / paths.DENSE
    source = (
        config.model if "finetune" in pending else ModelConfig(source=str(dense.resolve()), layout=config.model.layout)
    )
    model, tokenizer = load(source, task.head, config.seed)
    check_resources(model, config, directory, pending)
    if "prune" in pending:
        pruning_axes(model, config.prune.column_sparsity, config.prune.row_sparsity)
    if "map" in pending:
        _check_mapping(model, config)
    if config.faults.embeddings and {"map", "eval"}.intersection(pending):
        embedding_crossbars(model, config.chip.crossbar.rows, config.chip.crossbar.columns)
    if "cosim" in pending:
        find_matrices([name for group in word_line_groups(model) for name in group.matrices], config.cosim.matrices)
    return Found(task, model, tokenizer)


def _check_mapping(model: PreTrainedModel, config: RunConfig) -> None:
    """Map the smallest word-line group under every scheme: what fails there fails for all of them."""
    config.check_support(row_blocks(model, config))
    trained = (config.fault_training.scheme,) if config.fault_training.epochs else ()
    for name in dict.fromkeys((*trained, *config.map.schemes)):
        smallest_image(model, config, name)


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
        return build_image(
            model,
            [smallest_group(model)],
            None,
            config.scheme(scheme),
            config.quantization,
            **config.image_sizes(),
            name=scheme,
        )
    except UserError as error:
        raise UserError(f"scheme '{scheme}': {error}") from None
