"""Train the pruned model for faults; without epochs for it, what is mapped is the pruned model itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossvote.sim.common.schema import to_mapping
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.pipeline import Context, Stage
from crossvote.swstack.experiment.run.records import FaultTrained
from crossvote.swstack.experiment.run.sources import train_source
from crossvote.swstack.experiment.stages.common import TRAIN_ONLY, load_part, settings


def perform(context: Context[RunConfig]) -> Sequence[str]:
    result = paths.RESULTS["fault-training"]
    if not context.config.fault_training.epochs:
        return [context.write(result, FaultTrained())]
    from crossvote.swstack.mapping.error_law import matrix_laws
    from crossvote.swstack.mapping.mapping import map_model
    from crossvote.swstack.models.loading import save_model
    from crossvote.swstack.models.masks import load_masks
    from crossvote.swstack.pruning.for_faults import train_for_faults

    config, training = context.config, context.config.fault_training
    model, tokenizer, task = load_part(context.run.path, paths.PRUNED, config, train=True)
    masks = load_masks(context.run.path / paths.MASKS)
    image = map_model(
        model,
        masks,
        config.scheme(training.scheme),
        config.quantization,
        config.chip,
        name=training.scheme,
        progress=context.progress,
    )
    laws = matrix_laws(image, training.design_rate, config.faults.sa0_sa1)
    done = train_for_faults(model, tokenizer, task, masks, laws, training, config.seed, context.work, context.progress)
    save_model(model, tokenizer, context.out / paths.TRAINED)
    record = FaultTrained(
        scheme=training.scheme,
        noise=to_mapping(training)["noise"],
        design_rate=training.design_rate,
        draw=training.draw,
        ramp_share=training.ramp_share,
        history=done.history,
    )
    return [paths.TRAINED, context.write(result, record)]


def _settings(config: RunConfig) -> Mapping[str, Any]:
    """Nothing where nothing is trained; else the training, the law and what the images of the scheme depend on."""
    if not config.fault_training.epochs:
        return {}
    return {
        **settings(config, ("task", "quantization", "fault_training"), TRAIN_ONLY),
        "layout": config.model.layout,
        "scheme": to_mapping(config.scheme(config.fault_training.scheme)),
        "sa0_sa1": config.faults.sa0_sa1,
        **config.chip.image_sizes,
    }


STAGE = Stage[RunConfig](
    "fault-training",
    ("prune",),
    _settings,
    perform,
    lambda config: (train_source(config),) if config.fault_training.epochs else (),
    # Schemes and kinds of noise come with the configuration, so no import here leads to them.
    (
        __name__,
        "crossvote.swstack.mapping.protection",
        "crossvote.swstack.models.loading",
        "crossvote.swstack.pruning.noise",
    ),
    lambda config: config.fault_training.epochs > 0,
)
