"""Which task to use."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from crossvote.sim.common.schema import config_dataclass
from crossvote.swstack.tasks.kinds import KINDS

#: More rows than any file that fits a machine's memory as examples.
MOST_ROWS = 1_000_000_000


@config_dataclass
class TaskConfig:
    """Which task to use, and how much of it."""

    name: str = Field(
        default="grammar-single",
        min_length=1,
        description="A task that is known by name: an embedded grammar, 'digits' (pictures, from scikit-learn), or one "
        "of GLUE, also by the name of its folder (`crossvote presets` lists them); or any name for own data (train and "
        "dev).",
    )
    glue_dir: str | None = Field(
        default=None,
        min_length=1,
        description="Directory with GLUE in the official TSV layout; absent: the Hugging Face hub.",
    )
    kind: str | None = Field(
        default=None,
        json_schema_extra={"enum": list(KINDS)},
        description="What own data ask for; absent: classification, or regression where labels are numbers. "
        "'causal-lm' and 'masked-lm' also make running text of the sentences of an embedded or a GLUE task.",
    )
    train: str | None = Field(
        default=None,
        min_length=1,
        description="Own train data: a .csv, .tsv, .jsonl, .json, .parquet or .txt file (a text a line), a folder that "
        "`datasets` saved, or 'hub:NAME:SPLIT' (or 'hub:NAME/CONFIGURATION:SPLIT' after the owner's slash) for a data "
        "set of the hub.",
    )
    dev: str | None = Field(default=None, min_length=1, description="Own data to measure on; same forms as train.")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Names of own data's columns, for example {sentence1 = 'text', label = 'stars'}; a column that is "
        "not named here is called as the kind calls it.",
    )
    labels: tuple[str, ...] = Field(
        default=(),
        description="Classes of own data in index order, which rows name or, where no name is a number, count from 0; "
        "absent: those of the train data, sorted.",
    )
    metrics: tuple[str, ...] = Field(default=(), description="Metrics, the primary one first; absent: the usual ones.")
    train_limit: int | None = Field(
        default=None, ge=1, le=MOST_ROWS, description="Use only so many train examples, drawn by the seed."
    )
    eval_limit: int | None = Field(
        default=None, ge=1, le=MOST_ROWS, description="Use only so many dev examples, drawn by the seed."
    )
    holdout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the train examples, drawn by the seed, to set aside and use in place of the dev "
        "examples: for choosing settings without a look at dev; 0: the dev examples.",
    )
    max_length: int = Field(
        default=128, ge=8, le=4096, description="Longest input in tokens; longer ones are truncated."
    )

    @field_validator("kind")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None and name not in KINDS:
            raise ValueError(f"must be one of {', '.join(KINDS)}.")
        return name

    @field_validator("labels", "metrics")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError("every name can be given once only.")
        return names

    @model_validator(mode="after")
    def _own_data_are_complete(self) -> TaskConfig:
        if (self.train is None) != (self.dev is None):
            raise ValueError("own data need both task.train and task.dev.")
        if self.train is None:
            for key in ("kind", "columns", "labels"):
                if getattr(self, key) and not (key == "kind" and self.kind in ("causal-lm", "masked-lm")):
                    raise ValueError(f"task.{key} describes own data, which task.train and task.dev must name.")
        return self
