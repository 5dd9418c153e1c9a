"""What a campaign will take: seconds of a trial and bytes on disk, from a short calibration."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from crossvote.sim.array.faults import FaultMap
from crossvote.sim.common.seeds import seed_sequence
from crossvote.swstack.experiment.campaign.spec import Variant
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.inference.convert import convert, swap_faults
from crossvote.swstack.mapping.mapping import map_model
from crossvote.swstack.models.loading import load
from crossvote.swstack.tasks import load_task
from crossvote.swstack.tasks.batches import encode
from crossvote.swstack.tasks.kinds import head_of
from crossvote.swstack.training.predict import predict

#: Dev examples that a calibration measures, drawn evenly over the set so that their lengths are typical.
_EXAMPLES = 32


@dataclass(frozen=True)
class Forecast:
    """Seconds of one trial on this machine, alone; bytes of a model with its images, and of one trial's logits."""

    seconds: float
    model_bytes: int
    trial_bytes: int


def calibrate(config: RunConfig) -> Forecast:
    """Measure a few examples on a faulty chip with the unpruned, untrained model, which takes as long as any other.

    Raises:
        UserError: the model or the task cannot be had.
    """
    task = load_task(config.task, config.seed)
    model, tokenizer = load(config.model, head_of(task), config.seed)
    name, protection = next(iter(config.protections().items()))
    chip = config.chip
    image = map_model(model, None, protection, config.quantization, chip, name=name)
    examples = task.dev[: config.eval.limit]
    few = examples[:: max(1, len(examples) // _EXAMPLES)][:_EXAMPLES]
    encoded = encode(tokenizer, few, task.max_length)
    faults = FaultMap.sample(
        image.rows, image.columns, image.crossbars, max(config.faults.rates), seed_sequence(config.seed, "calibration")
    )
    on_chip = convert(model, image)
    predict(on_chip, encoded, config.eval.batch_size)  # caches fill, and are not measured
    started = time.perf_counter()
    swap_faults(on_chip, faults)
    swapped = time.perf_counter()
    predict(on_chip, encoded, config.eval.batch_size)
    each = (time.perf_counter() - swapped) / len(few)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    cells = sum(group.cells.nbytes for group in image.groups)
    return Forecast(
        seconds=swapped - started + each * len(examples),
        model_bytes=3 * weights + cells * len(config.map.schemes),
        trial_bytes=4 * task.num_labels * len(examples),
    )


def distinct(variants: Sequence[Variant]) -> dict[tuple[str, str, int | None], list[Variant]]:
    """Variants by what decides how long a trial takes: model, task and number of examples."""
    groups: dict[tuple[str, str, int | None], list[Variant]] = {}
    for variant in variants:
        if variant.config is not None:
            config = variant.config
            groups.setdefault((config.model.source, config.task.name, config.eval.limit), []).append(variant)
    return groups
