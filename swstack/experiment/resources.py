"""Disk and memory that a run takes at least, checked before its first stage starts.

Lower bounds from the sizes of the model alone, so that what is refused could not have worked: weights, gradients and
two moments while training, a teacher beside them while pruning, a second model while one is solved, images of one bit
per cell, no activations.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from crossvote.sim.common.errors import StorageError
from crossvote.sim.common.machine import free_memory
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.models.layouts import matrix_weight, word_line_groups
from crossvote.swstack.pruning.config import DECIDED_FIRST, NO_PRUNING

_FLOAT = 4


@dataclass(frozen=True)
class Needs:
    """Bytes that the pending stages take at least: on disk when all are done, in memory at the worst moment."""

    disk: int
    memory: int


def needs(model: PreTrainedModel, config: RunConfig, pending: Sequence[str]) -> Needs:
    """What the pending stages of a run of this model take at least."""
    weights = _FLOAT * sum(parameter.numel() for parameter in model.parameters())
    mapped = sum(matrix_weight(model, name).numel() for group in word_line_groups(model) for name in group.matrices)
    # Two crossbars hold a bit of every plane; the share that is pruned may be left out.
    prunes = "prune" in pending and config.prune.method != NO_PRUNING
    kept = 1 - (0.0 if config.prune.method == NO_PRUNING else config.prune.column_sparsity)
    image = int(2 * (config.quantization.weight_bits - 1) * mapped * kept / 8)
    saved = {"finetune", "prune"}.intersection(pending)
    decides_first = prunes and config.prune.method == DECIDED_FIRST
    trains = (prunes and config.prune.epochs > 0) or (
        "finetune" in pending and not config.finetune.skip and config.finetune.epochs > 0
    )
    # A model of each stage; what was decided before training; and the last checkpoint: weights and the optimizer's two
    # moments.
    disk = (len(saved) + decides_first) * weights + (3 * weights if trains else 0)
    disk += len(config.map.schemes) * image if "map" in pending else 0
    memory = weights
    if decides_first:
        memory = 2 * weights  # gradients, and then the dense model beside the pruned one
    if trains:
        memory = 4 * weights
    if prunes and (config.prune.distillation or config.prune.layer_distillation):
        memory += weights
    if "eval" in pending:
        memory = max(memory, weights + mapped + image)
    return Needs(disk, memory)


def check_resources(model: PreTrainedModel, config: RunConfig, directory: Path, pending: Sequence[str]) -> None:
    """Refuse a run for which there is too little room.

    Raises:
        StorageError: saying how much is needed and how much is free.
    """
    found = needs(model, config, pending)
    place = next(folder for folder in (directory, *directory.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if free < found.disk:
        raise StorageError(
            f"{directory}: the run takes at least {_told(found.disk)} of disk, but {_told(free)} are free; make room, "
            "or name a folder on another disk."
        )
    memory = free_memory()
    if memory is not None and memory < found.memory:
        raise StorageError(
            f"{directory}: the run takes at least {_told(found.memory)} of memory, but {_told(memory)} are free; end "
            "other programs, or take a smaller model."
        )


def _told(size: int) -> str:
    unit, length = next((one for one in (("GB", 1e9), ("MB", 1e6)) if size >= 0.1 * one[1]), ("kB", 1e3))
    return f"{size / length:,.2f} {unit}"
