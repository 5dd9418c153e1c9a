"""Quantize and place the pruned model on crossbars, once per protection scheme."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from crossvote.sim.common.schema import to_mapping
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run import paths
from crossvote.swstack.experiment.run.pipeline import Context, Stage
from crossvote.swstack.experiment.run.records import Mapped, MappedScheme
from crossvote.swstack.experiment.stages.common import load_part


def perform(context: Context[RunConfig]) -> Sequence[str]:
    from crossvote.swstack.mapping.cost import mapping_report
    from crossvote.swstack.mapping.mapping import map_model
    from crossvote.swstack.models.masks import load_masks

    config = context.config
    model, _, _ = load_part(context.run.path, paths.mapped_model(config), config)
    masks = load_masks(context.run.path / paths.MASKS)
    schemes = []
    for name, protection in config.protections().items():
        image = map_model(
            model, masks, protection, config.quantization, config.chip, name=name, progress=context.progress
        )
        image.save(context.out / paths.image(name))
        report = mapping_report(image)
        schemes.append(
            MappedScheme(
                name=name,
                description=protection.describe(),
                replicas=image.has_replicas,
                content_hash=image.content_hash,
                crossbars=sum(group.crossbars for group in report),
                dense_crossbars=sum(group.dense_crossbars for group in report),
                chip_crossbars=image.crossbars,
                zero_space=all(group.zero_space for group in report),
                groups=tuple(dataclasses.asdict(group) for group in report),
            )
        )
    record = Mapped(schemes[0].dense_crossbars, tuple(schemes))
    return [
        *(paths.image(name) for name in config.map.schemes),
        context.write(paths.RESULTS["map"], record),
    ]


def _settings(config: RunConfig) -> dict[str, Any]:
    """Formats and schemes, and of the chip only what an image depends on."""
    return {
        "layout": config.model.layout,
        "quantization": to_mapping(config.quantization),
        "schemes": {name: to_mapping(protection) for name, protection in config.protections().items()},
        "order": list(config.map.schemes),
        **config.chip.image_sizes,
    }


STAGE = Stage[RunConfig](
    "map",
    ("prune", "fault-training"),
    _settings,
    perform,
    # Schemes come with the configuration, so no import here leads to them.
    code=(__name__, "crossvote.swstack.mapping.protection", "crossvote.swstack.models.loading"),
)
