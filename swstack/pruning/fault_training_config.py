"""How to train for faults."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.pruning.noise import NoiseField, parse_noise
from crossvote.swstack.training.config import TrainingConfig


@config_dataclass
class FaultTrainingConfig(TrainingConfig):
    """How to train for faults, after pruning."""

    epochs: int = Field(
        default=0, ge=0, le=1000, description="Passes over the train examples; 0: no training for faults."
    )
    design_rate: float = Field(default=0.1, gt=0, lt=0.5, description="Largest fault rate that is trained for.")
    draw: Literal["uniform", "fixed"] = Field(
        default="uniform", description="Fault rate of a step: uniform from 0 to the largest, or always the largest."
    )
    ramp_share: float = Field(
        default=0.0, ge=0, le=1, description="Share of the steps over which the largest rate rises to its full value."
    )
    scheme: str = Field(default="code", description="Protection scheme whose errors are drawn.")
    noise: NoiseField = Field(
        default_factory=lambda: parse_noise("code"),
        description="What is done to the weights: a name, or a table with its kind and settings.",
    )
    distillation: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Weight of the loss against the fault-free model's outputs; 0: labels only.",
    )
    temperature: float = Field(default=2.0, gt=0, le=1000, description="Softmax temperature of the distillation.")
    layer_distillation: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        description="Weight of the loss against the fault-free model's hidden states; 0: none.",
    )
    dropout: bool = Field(
        default=False, description="Whether the model's dropout is on; errors of weights take its place."
    )
