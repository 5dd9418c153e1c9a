"""How to train."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crossvote.sim.common.schema import config_dataclass

Precision = Literal["auto", "float32"]


@config_dataclass
class TrainingConfig:
    """What every training stage sets."""

    batch_size: int = Field(default=32, ge=1, le=65_536, description="Examples per step.")
    learning_rate: float = Field(default=1e-4, gt=0, le=1, description="Peak learning rate of the weights (AdamW).")
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1, description="Share of the steps over which the rate rises.")
    weight_decay: float = Field(default=0.01, ge=0, le=1, description="AdamW weight decay of matrices.")
    max_grad_norm: float = Field(
        default=1.0, gt=0, le=1e6, description="Gradients of the weights are clipped to this norm."
    )
    checkpoint_steps: int = Field(default=100, ge=1, le=1_000_000, description="Steps between checkpoints.")
    precision: Precision = Field(
        default="auto",
        description="Arithmetic of training: 'auto' is bfloat16 mixed precision where the device has it.",
    )


@config_dataclass
class FinetuneConfig(TrainingConfig):
    """How to fine-tune."""

    skip: bool = Field(
        default=False,
        description="Take the model as it comes, with the head it has; refused if it has none for the task.",
    )
    epochs: int = Field(default=3, ge=0, le=1000, description="Passes over the train examples; 0: none.")
    patience: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="Stop after so many epochs without a better primary metric on a tenth of the train examples "
        "set aside for it, and keep the best epoch; 0: train on all examples to the end.",
    )
