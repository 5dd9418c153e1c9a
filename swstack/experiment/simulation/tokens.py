"""A run's model on its faulty chip, with real tokens of the dev set, for a system run that computes (needs PyTorch)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossvote.sim.array.image import Image
from crossvote.sim.array.silicon import Silicon
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.shell import command_line
from crossvote.swstack.evaluation.cosimulation import OnChip, dev_batches, on_chip
from crossvote.swstack.experiment.config import RunConfig, load_config
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.images import recorded_image
from crossvote.swstack.experiment.run.records import Calibration, Chips, read_record
from crossvote.swstack.experiment.run.task import task_of_run
from crossvote.swstack.experiment.shipped import find_run_config
from crossvote.swstack.mapping.mapping import map_model
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.loading import load
from crossvote.swstack.models.masks import load_masks
from crossvote.swstack.tasks.kinds import head_of


def schemes_on_chip(run: Path, schemes: Sequence[str], tokens: int) -> dict[str, OnChip]:
    """The model of every scheme on the run's chip of the highest fault rate, and what its matrices receive.

    Raises:
        UserError: the run has no chips yet.
    """
    config = load_config(find_run_config(run))
    silicon = _silicon(run, max(config.faults.rates))
    task = task_of_run(run, config)
    source = _mapped_model(run, config)
    model, tokenizer = load(source, head_of(task), config.seed)
    inputs, steps = dev_batches(tokenizer, task, tokens, config.eval.batch_size), _steps(run)
    placed = {}
    for name in schemes:
        image = recorded_image(run, name)
        faults = silicon.faults(image.crossbars)
        placed[name] = on_chip(model, image, inputs, faults, tokens, config.quantization.activations, steps, name)
    return placed


def real_inputs(run: Path, scheme: str, tokens: int) -> dict[str, NDArray[np.int64]]:
    """What the matrices of a scheme receive for the first tokens of the dev set, on a chip without faults, by group.

    Every token is quantized with a scale of its own, whatever the run does: it is their bits that count here, and steps
    that a run calibrates may not be there yet.
    """
    config = load_config(find_run_config(run))
    task = task_of_run(run, config)
    source = _mapped_model(run, config)
    model, tokenizer = load(source, head_of(task), config.seed)
    batches = dev_batches(tokenizer, task, tokens, config.eval.batch_size)
    return on_chip(model, recorded_image(run, scheme), batches, None, tokens, scheme=scheme).inputs


def _mapped_model(run: Path, config: RunConfig) -> ModelConfig:
    """The model that was mapped, as the run's stage left it."""
    model = RunDirectory(run).whole(paths.mapped_model(config))
    return ModelConfig(source=str(model.resolve()), layout=config.model.layout)


def _silicon(run: Path, rate: float) -> Silicon:
    """The run's first chip of a fault rate."""
    path = RunDirectory(run).whole(paths.CHIPS)
    if not path.is_file():
        raise UserError(f"{path}: no chips yet; draw them with: {command_line('faults', run)}")
    return Silicon.of_record(read_record(Chips, path).first(rate))


def _steps(run: Path) -> dict[str, float] | None:
    path = RunDirectory(run).whole(paths.RESULTS["calibrate"])
    return read_record(Calibration, path).steps if path.is_file() else None


def mapped_anew(run: Path, config: RunConfig, chip: ChipConfig, schemes: Sequence[str]) -> dict[str, Image]:
    """The run's model mapped onto another chip, by scheme; nothing is written."""
    task = task_of_run(run, config)
    source = _mapped_model(run, config)
    model, _ = load(source, head_of(task), config.seed)
    masks, protections = load_masks(RunDirectory(run).whole(paths.MASKS)), config.protections()
    return {name: map_model(model, masks, protections[name], config.quantization, chip, name=name) for name in schemes}
