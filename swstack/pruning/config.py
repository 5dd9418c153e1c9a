"""How to prune."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from crossvote.sim.common.schema import build, config_dataclass
from crossvote.swstack.pruning.methods import METHODS
from crossvote.swstack.training.config import TrainingConfig

S = TypeVar("S")

#: Value of ``method`` that leaves the model as it is.
NO_PRUNING = "none"

#: The method that decides before training: it has no gate epochs, and its masks are fixed from the first step on.
DECIDED_FIRST = "least-squares"

#: How a gate's gradient follows from dL/dt of the gated weights t = w h: by the chain rule, or with the sign of w in
#: place of w (AutoPrune, Xiao et al. 2019).
GateGradient = Literal["chain", "sign"]


@config_dataclass
class PruneConfig(TrainingConfig):
    """How to prune."""

    column_sparsity: float = Field(
        default=0.30, ge=0, lt=1, description="Share of columns to prune in every word-line group."
    )
    row_sparsity: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of rows (shared by the matrices of a group) to prune in every group.",
    )
    warmup_epochs: int = Field(
        default=0, ge=0, le=1000, description="Dense epochs before the gates start to learn; none for 'least-squares'."
    )
    gate_epochs: int = Field(
        default=3,
        ge=1,
        le=1000,
        description="Epochs in which gates learn, and other methods decide; none for 'least-squares'.",
    )
    final_epochs: int = Field(default=2, ge=0, le=1000, description="Epochs of fine-tuning with frozen gates.")
    ramp_share: float = Field(
        default=0.5, ge=0, le=1, description="Share of the gate epochs over which the target rises to its full value."
    )
    method: str = Field(
        default="gates",
        description=f"What decides: learned gates (the paper's), or a method to compare: {', '.join(METHODS)}; "
        "or 'none': nothing is pruned and nothing trained.",
    )
    methods: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Settings that one method alone has, in a table of its name."
    )
    gate_learning_rate: float = Field(
        default=0.01,
        gt=0,
        le=1000,
        description="SGD learning rate of gates, movement scores and hard-concrete parameters.",
    )
    saliency_steps: int = Field(
        default=25,
        ge=0,
        le=100_000,
        description="Steps that measure the saliency, by which gates start (at most a quarter of the gate epochs); "
        "0: all start alike.",
    )
    gate_gradient: GateGradient = Field(
        default="chain", description="Gradient of a gate: by the chain rule, or with the weights' signs (AutoPrune)."
    )
    multiplier_rate: float = Field(
        default=0.02, ge=0, le=1e6, description="Ascent rate of the controller's linear multiplier."
    )
    quadratic: float = Field(default=8.0, ge=0, le=1e6, description="Weight of the controller's quadratic term.")
    distillation: float = Field(
        default=0.0, ge=0, le=1, description="Weight of the loss against the dense model's outputs; 0: labels only."
    )
    temperature: float = Field(default=2.0, gt=0, le=1000, description="Softmax temperature of the distillation.")
    layer_distillation: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        description="Weight of the loss against the dense model's hidden states after every layer; 0: none.",
    )
    dropout: bool = Field(
        default=True,
        description="Whether the model's dropout is on; it holds back overfitting, and blurs what distillation copies.",
    )
    augmentation: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the examples of a batch in which tokens are exchanged, for distillation only.",
    )

    @field_validator("method")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in (*METHODS, NO_PRUNING):
            raise ValueError(f"must be one of {', '.join((*METHODS, NO_PRUNING))}.")
        return name

    @field_validator("methods")
    @classmethod
    def _own_settings(cls, methods: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, settings in methods.items():  # only where there are some, for methods load PyTorch
            build(METHODS[name].Settings, settings, f"prune.methods.{name}")
        return methods

    @model_validator(mode="after")
    def _augmentation_needs_a_teacher(self) -> PruneConfig:
        if self.augmentation and not (self.distillation or self.layer_distillation):
            raise ValueError("augmentation needs distillation or layer_distillation above 0.")
        return self

    def own(self, settings: type[S], name: str) -> S:
        """The settings that the method ``name`` alone has, by their configuration class."""
        return build(settings, self.methods.get(name, {}), f"prune.methods.{name}")

    @property
    def epochs(self) -> int:
        """Epochs of all phases; only the last one is for a method that decides before training."""
        if self.method == DECIDED_FIRST:
            return self.final_epochs
        return self.warmup_epochs + self.gate_epochs + self.final_epochs
