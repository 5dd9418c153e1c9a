"""A run's model on its faulty chip, with real tokens of the dev set, for a system run that computes (needs PyTorch)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from crossvote.sim.array.image import Image
from crossvote.sim.array.silicon import Silicon
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.swstack.evaluation.chips import silicon_of
from crossvote.swstack.evaluation.cosimulation import OnChip, dev_batches, on_chip
from crossvote.swstack.experiment.calibration import read_steps
from crossvote.swstack.experiment.config import RunConfig, find_config, load_config
from crossvote.swstack.mapping.mapping import build_image
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.layouts import word_line_groups
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.models.masks import load_masks
from crossvote.swstack.tasks import load_task

PRUNED, MASKS = "pruned/model", "pruned/masks.safetensors"


def schemes_on_chip(run: Path, schemes: Sequence[str], tokens: int) -> dict[str, OnChip]:
    """The model of every scheme on the run's chip of the highest fault rate, and what its matrices receive.

    Raises:
        UserError: the run has no chips yet.
    """
    config = load_config(find_config(str(run)))
    silicon = _silicon(run, max(config.faults.rates))
    task = load_task(config.task, config.seed)
    source = ModelConfig(source=str((run / PRUNED).resolve()))
    model, tokenizer = load_model(source, task.num_labels, task.regression, config.seed)
    inputs, steps = dev_batches(tokenizer, task, tokens), read_steps(run)
    placed = {}
    for name in schemes:
        image = Image.load(run / "images" / f"{name}.safetensors")
        faults = silicon.faults(image.crossbars)
        placed[name] = on_chip(model, image, inputs, faults, tokens, config.quantization.activations, steps, name)
    return placed


def _silicon(run: Path, rate: float) -> Silicon:
    """The run's first chip of a fault rate."""
    path = run / "faults" / "chips.json"
    if not path.is_file():
        raise UserError(f"{path}: no chips yet; draw them with: crossvote faults {run}")
    chips = json.loads(path.read_text(encoding="utf-8"))["chips"]
    return silicon_of(next(chip for chip in chips if chip["rate"] == rate))


def mapped_anew(run: Path, config: RunConfig, chip: ChipConfig, schemes: Sequence[str]) -> dict[str, Image]:
    """The run's pruned model mapped onto another chip, by scheme; nothing is written."""
    task = load_task(config.task, config.seed)
    source = ModelConfig(source=str((run / PRUNED).resolve()))
    model, _ = load_model(source, task.num_labels, task.regression, config.seed)
    masks, groups, protections = load_masks(run / MASKS), word_line_groups(model), config.protections()
    return {
        name: build_image(
            model,
            groups,
            masks,
            protections[name],
            config.quantization,
            rows=chip.crossbar.rows,
            columns=chip.crossbar.columns,
            adc_bits=chip.adc.bits,
            input_bits=chip.opc.input_bits,
            cell_bits=chip.crossbar.cell_bits,
            name=name,
        )
        for name in schemes
    }
