"""Which rungs a ladder has, on which chips they are measured, and what each rung is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pydantic import Field, field_validator, model_validator

from crossvote.sim.common.errors import UserError
from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.evaluation.config import FaultsConfig
from crossvote.swstack.experiment.config import RunConfig
from crossvote.swstack.experiment.support import check_run
from crossvote.swstack.mapping.protection import Schemes
from crossvote.swstack.mapping.scheme import Scheme
from crossvote.swstack.pruning.fault_training_config import FaultTrainingConfig

FOLDER = "ladder"
#: Ending of a rung's name for the model that was trained for faults.
TRAINED = "+trained"
DEFAULT_RUNGS = (
    "none",
    "none-column",
    "paper",
    "best",
    "mean5",
    "code",
    "code-vote-tensor",
    "mean5+trained",
    "code+trained",
    "code-vote-tensor+trained",
)


def _training_defaults() -> FaultTrainingConfig:
    return FaultTrainingConfig(epochs=2, learning_rate=5e-5)


@config_dataclass
class LadderConfig:
    """Which rungs are measured, on which chips."""

    rungs: tuple[str, ...] = Field(
        default=DEFAULT_RUNGS, min_length=1, description="Schemes by name; with '+trained' after training for faults."
    )
    faults: FaultsConfig = Field(
        default_factory=lambda: FaultsConfig(rates=(0.002, 0.01, 0.03, 0.05, 0.08, 0.1), chips=30),
        description="The chips.",
    )
    own_rates: dict[str, tuple[float, ...]] = Field(
        default_factory=dict,
        description="Fault rates of single rungs, where they are not those of all; none: without faults only.",
    )
    training: FaultTrainingConfig = Field(
        default_factory=_training_defaults,
        description="How to train for faults; its scheme counts for rungs that know the faults, others have their own.",
    )
    batch_size: int = Field(default=256, ge=1, description="Dev examples run at once.")
    limit: int | None = Field(default=None, ge=1, description="Use only the first so many dev examples.")

    @field_validator("rungs")
    @classmethod
    def _distinct(cls, rungs: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(rungs)) != len(rungs):
            raise ValueError("every rung can be named once only.")
        return rungs

    @model_validator(mode="after")
    def _rates_of_rungs(self) -> LadderConfig:
        if unknown := [name for name in self.own_rates if name not in self.rungs]:
            raise ValueError(f"own_rates names '{unknown[0]}', which is no rung.")
        return self

    def rates_of(self, rung: str) -> tuple[float, ...]:
        """The fault rates at which a rung is measured."""
        return self.own_rates.get(rung, self.faults.rates)

    @property
    def all_faults(self) -> FaultsConfig:
        """The chips of all rungs."""
        return replace(self.faults, rates=tuple(sorted({rate for rung in self.rungs for rate in self.rates_of(rung)})))


def rung_schemes(settings: LadderConfig, config: RunConfig) -> dict[str, Scheme]:
    """The scheme of every rung, by the rung's name.

    Raises:
        UserError: a rung that is no scheme, or that cannot be on this chip.
    """
    known = Schemes(config.map.protection)
    found = {}
    for name in settings.rungs:
        plain = name.removesuffix(TRAINED)
        law = law_of(name, known, settings)
        for scheme in (plain, law):
            if scheme is not None and scheme not in known:
                raise UserError(f"rung '{name}': '{scheme}' is no protection scheme; known are {', '.join(known)}.")
        if law is not None and known[law].knows_faults:
            raise UserError(
                f"rung '{name}': '{law}' programs around the faults of each chip, so it has no law of errors "
                "to train for; training.scheme must name another."
            )
        found[name] = known[plain]
    chip, quantization = config.chip, config.quantization
    check_run(chip, found, quantization.planes, quantization.activations, "auto")
    settings.faults.pattern.check(chip.crossbar.rows, chip.crossbar.columns)
    return found


def law_of(rung: str, schemes: Mapping[str, Scheme], settings: LadderConfig) -> str | None:
    """The scheme for whose errors a rung's model is trained, by name; None if it is not trained for faults."""
    plain = rung.removesuffix(TRAINED)
    if plain == rung:
        return None
    return settings.training.scheme if plain in schemes and schemes[plain].knows_faults else plain
