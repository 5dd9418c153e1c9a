"""Co-simulate matrices on the first chip of the highest fault rate."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.pipeline import Context, Stage
from crossvote.swstack.experiment.run.records import Calibration, Chips, Cosimulated
from crossvote.swstack.experiment.run.sources import dev_source
from crossvote.swstack.experiment.stages.common import load_part, settings

if TYPE_CHECKING:
    from crossvote.swstack.evaluation.results import CosimRecord


def perform(context: Context[RunConfig]) -> Sequence[str]:
    from crossvote.sim.array.silicon import Silicon
    from crossvote.swstack.evaluation.cosimulation import cosimulate_matrices
    from crossvote.swstack.experiment.run.images import recorded_image
    from crossvote.swstack.experiment.support import cosim_engines

    run, config = context.run, context.config
    model, tokenizer, task = load_part(run.path, paths.mapped_model(config), config)
    rate = max(config.faults.rates)
    images = {name: recorded_image(run.path, name) for name in config.map.schemes}
    row_blocks = max(group.row_blocks for image in images.values() for group in image.groups)
    engines, left_out = cosim_engines(
        config.chip, config.protections(), config.quantization.planes, config.cosim.backend, row_blocks
    )
    silicon = Silicon.of_record(run.read(paths.CHIPS, Chips).first(rate))
    matrices: list[CosimRecord] = []
    for backend in dict.fromkeys(engines.values()):
        matrices += cosimulate_matrices(
            model,
            tokenizer,
            task,
            {name: images[name] for name in engines if engines[name] == backend},
            silicon.faults(max(image.crossbars for image in images.values())),
            config.chip,
            dataclasses.replace(config.cosim, backend=backend),
            config.quantization.activations,
            run.read(paths.RESULTS["calibrate"], Calibration).steps,
            context.progress,
            config.eval.batch_size,
        )
    order = list(images)
    matrices.sort(key=lambda record: order.index(record.scheme))
    record = Cosimulated(
        rate,
        tuple(dataclasses.asdict(matrix) for matrix in matrices),
        tuple({"scheme": name, "reason": reason} for name, reason in left_out.items()),
    )
    return [context.write(paths.RESULTS["cosim"], record)]


STAGE = Stage[RunConfig](
    "cosim",
    ("prune", "fault-training", "map", "calibrate", "faults"),
    lambda config: {
        **settings(config, ("task", "quantization", "chip", "cosim")),
        "rate": max(config.faults.rates),
        "batch_size": config.eval.batch_size,
        "schemes": list(config.map.schemes),
    },
    perform,
    lambda config: (dev_source(config),),
    (
        __name__,
        "crossvote.sim.array.image",
        "crossvote.swstack.experiment.support",
        "crossvote.swstack.models.loading",
    ),
)
