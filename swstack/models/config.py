"""Which transformer to load."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crossvote.sim.common.schema import config_dataclass

#: Name of the default encoder (all-MiniLM-L6-v2); ``crossvote.swstack.models.packaged`` knows where its weights are.
EMBEDDED_MODEL = "minilm-l6"


Layout = Literal["auto", "traced", "single"]


@config_dataclass
class ModelConfig:
    """Which transformer to load."""

    source: str = Field(
        default=EMBEDDED_MODEL,
        min_length=1,
        description="'minilm-l6', 'mpnet-base' or the decoder 'smollm2-135m' (from Python packages, 'make models'), a "
        "directory in save_pretrained layout, or a Hugging Face name.",
    )
    layout: Layout = Field(
        default="auto",
        description="How word-line groups are found: 'auto': the family's known layers, traced for a family that is "
        "not known; 'traced': by which matrices the same tensor drives, whatever the family; 'single': every matrix "
        "is a group of its own.",
    )
    head: bool = Field(
        default=False,
        description="Whether the matrices of the head (pooler, classifier, a language model's words) are on crossbars "
        "too, unpruned.",
    )
