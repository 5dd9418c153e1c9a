"""Trials: one scheme on one chip, known by everything that decides its result and by nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossvote.sim.common.code import code_digest
from crossvote.sim.common.content import digest
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import to_mapping
from crossvote.swstack.experiment.campaign.spec import CampaignSpec, Variant
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.run.directory import RunDirectory
from crossvote.swstack.experiment.run.pipeline import identify
from crossvote.swstack.experiment.stages import STAGES

#: A trial without faults: the quantized model on a perfect chip.
PERFECT = -1

#: What measures; the modules of a campaign itself count where they do.
_CODE = (
    "crossvote.sim.array.image",
    "crossvote.swstack.experiment.campaign.measure",
    "crossvote.swstack.experiment.campaign.scopes",
    "crossvote.swstack.models.loading",
)


@dataclass(frozen=True)
class PlannedTrial:
    """One scheme on one chip.

    key: digest of all that decides the result. variant: number of the configuration. rate: 0 without faults.
    chip: number at that rate, ``PERFECT`` without faults. scope: which cells may be stuck.
    """

    key: str
    variant: int
    scheme: str
    rate: float
    chip: int
    scope: str


@dataclass(frozen=True)
class Outcome:
    """What came of a trial. metrics: name -> percent, primary metric first; empty if it failed.

    error: traceback of a trial that failed. faults: stuck cells within the image. seconds, worker: of this attempt;
    they decide nothing. shard: file of the examples' logits, by its name.
    """

    key: str
    metrics: dict[str, float]
    faults: int = 0
    error: str | None = None
    seconds: float = 0.0
    worker: str = ""
    shard: str | None = None


@dataclass(frozen=True)
class Chunk:
    """Trials of one variant that one worker does in a row.

    run: directory with the model and the images. settings: the variant's configuration as plain values.
    shards: where examples' logits go; None keeps none. losses: times that a worker was lost with this chunk.
    """

    run: Path
    settings: dict[str, Any]
    trials: tuple[PlannedTrial, ...]
    shards: Path | None = None
    losses: int = 0


def run_name(config: RunConfig) -> str:
    """Name of the run directory that holds a configuration's model and images: equal for configurations that share
    them."""
    nowhere = RunDirectory(Path("/nonexistent"))
    wanted = ("finetune", "prune", "fault-training", "map")
    return digest([identify(stage, config, nowhere).key({}) for stage in STAGES if stage.name in wanted])[:24]


def expand(spec: CampaignSpec, variants: Sequence[Variant]) -> Iterator[PlannedTrial]:
    """All trials, chip by chip, so that early results already cover every scheme and rate."""
    for variant in variants:
        if variant.config is None:
            continue
        config = variant.config
        identities = {scheme: _identity(config, scheme) for scheme in config.map.schemes}

        def trial(scheme: str, rate: float, chip: int, scope: str, variant: Variant = variant) -> PlannedTrial:
            content = [identities[scheme], rate, chip, scope]  # noqa: B023 - used at once
            return PlannedTrial(digest(content), variant.number, scheme, rate, chip, scope)

        for scheme in config.map.schemes:
            yield trial(scheme, 0.0, PERFECT, "all")
        for chip in range(config.faults.chips):
            for rate in config.faults.rates:
                for scope in spec.scopes:
                    for scheme in config.map.schemes:
                        yield trial(scheme, rate, chip, scope)


def _identity(config: RunConfig, scheme: str) -> str:
    """Digest of what all chips of a scheme share: model, image, data, silicon, code. Never a path, other schemes, the
    number of chips or the other rates."""
    alone = dataclasses.replace(config, map=dataclasses.replace(config.map, schemes=(scheme,)))
    nowhere = RunDirectory(Path("/nonexistent"))
    chain = {}
    for stage in STAGES:
        if stage.name in ("finetune", "prune", "fault-training", "map"):
            chain[stage.name] = identify(stage, alone, nowhere).key({})
        if stage.name == "eval":
            identity = identify(stage, alone, nowhere)
            chain["eval"] = digest([identity.settings, identity.sources])
    faults = {key: value for key, value in to_mapping(config.faults).items() if key not in ("rates", "chips")}
    return digest({"chain": chain, "faults": faults, "seed": config.seed, "code": code_digest(*_CODE)})


def plan_digest(rows: Sequence[tuple[str, Any]]) -> str:
    """One digest over all results: (key, metrics) in the order of the keys."""
    return digest([[key, metrics] for key, metrics in sorted(rows)])


def refuse_unknown_scopes(scopes: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a scope that names nothing of the image.

    Raises:
        UserError: the first such scope.
    """
    for scope in scopes:
        if scope != "all" and scope not in known:
            raise UserError(f"scopes: '{scope}' names nothing of this model; there are {', '.join(known)}.")
