"""Real tokens for the system model: a run's model on its faulty chip, and what every matrix receives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.array.image import Image
from crossvote.sim.chip.config import ChipConfig
from crossvote.sim.common.errors import UserError
from crossvote.sim.peripheral import Backend
from crossvote.sim.system.computed import RealGroup
from crossvote.swstack.evaluation.calibration import static_steps
from crossvote.swstack.evaluation.real_tokens import captured_inputs, rtl_groups
from crossvote.swstack.experiment.config import find_config, load_config
from crossvote.swstack.inference.convert import convert, swap_faults
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.loading import load_model
from crossvote.swstack.tasks import load_task
from crossvote.swstack.tasks.batches import batches, encode

#: The pruned model in a run directory.
PRUNED = "pruned/model"


@dataclass(frozen=True, eq=False)
class RealTokens:
    """A scheme's model on the faulty chip, its image, the inputs of its groups and the groups to be computed."""

    model: PreTrainedModel
    image: Image
    inputs: dict[str, NDArray[np.int64]]
    groups: dict[str, RealGroup]


def real_tokens(
    run: Path, chip: ChipConfig, schemes: Sequence[str], tokens: int, backend: Backend, folder: Path
) -> dict[str, RealTokens]:
    """The model of every scheme on the run's chip of the highest fault rate, and what its matrices receive."""
    config = load_config(find_config(str(run)))
    task = load_task(config.task, config.seed)
    source = ModelConfig(source=str((run / PRUNED).resolve()))
    model, tokenizer = load_model(source, task.num_labels, task.regression, config.seed)
    examples = [batch.inputs for batch in batches(encode(tokenizer, task.dev[:tokens], task.max_length), 8)]
    faults = _faults(run, max(config.faults.rates))
    activations = config.quantization.activations
    found = {}
    for name in schemes:
        image = Image.load(run / "images" / f"{name}.safetensors")
        steps = None
        if activations == "static":
            steps = static_steps(model, tokenizer, task, image)
        on_chip = convert(model, image, activations, steps)
        swap_faults(on_chip, faults)
        inputs = captured_inputs(on_chip, image, examples, tokens)
        groups = rtl_groups(image, chip, inputs, faults, backend, evidence=folder / f"mismatch-{name}")
        found[name] = RealTokens(on_chip, image, inputs, groups)
    return found


def _faults(run: Path, rate: float) -> FaultMap:
    path = run / "faults" / "chips.json"
    if not path.is_file():
        raise UserError(f"{path}: no fault maps yet; draw them with: crossvote faults {run}")
    chips = json.loads(path.read_text(encoding="utf-8"))["chips"]
    return FaultMap.load(run / next(chip["file"] for chip in chips if chip["rate"] == rate))
