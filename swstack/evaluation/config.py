"""Which chips are drawn, and what is measured on them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from crossvote.sim.array.faults import PAPER_SA0_SA1, UNIFORM, Ratio
from crossvote.sim.array.patterns import PatternField
from crossvote.sim.common.schema import config_dataclass
from crossvote.sim.peripheral import Backend


@config_dataclass
class FaultsConfig:
    """Which chips are drawn."""

    rates: tuple[float, ...] = Field(
        default=(0.0005, 0.001, 0.002),
        min_length=1,
        max_length=1000,
        description="fractions of all cells that are stuck, each 0 to 1",
    )
    chips: int = Field(default=5, ge=1, le=10_000, description="chips drawn per rate")
    sa0_sa1: Ratio = Field(
        default=PAPER_SA0_SA1, description="ratio of cells stuck at high (read 0) to stuck at low resistance (read 1)"
    )
    pattern: PatternField = Field(
        default=UNIFORM,
        json_schema_extra={"default": UNIFORM.kind},
        description="where stuck cells lie: the name of a pattern (uniform, clustered, whole word_lines or bit_lines) "
        "or a table with its kind and settings",
    )
    embeddings: bool = Field(
        default=False, description="keep the token embedding table in faulty cells too, 8 bits per value"
    )

    @field_validator("rates")
    @classmethod
    def _rates(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < rate <= 1 for rate in rates):
            raise ValueError("a fault rate is above 0 and at most 1; the point without faults is always measured.")
        if len(set(rates)) != len(rates):
            raise ValueError("every rate can be named once only.")
        return rates


@config_dataclass
class EvalConfig:
    """How each chip is measured."""

    batch_size: int = Field(default=64, ge=1, le=65_536, description="dev examples run at once")
    limit: int | None = Field(
        default=None, ge=1, le=1_000_000_000, description="use only the first so many dev examples"
    )


@config_dataclass
class CosimConfig:
    """What to stream through the simulated hardware."""

    matrices: tuple[str, ...] = Field(
        default=(),
        description="Module paths of the matrices, complete or their end (layer.0.intermediate.dense), or 'all'; "
        "empty: the first feed-forward matrix.",
    )
    tokens: int = Field(default=16, ge=1, le=1_000_000, description="Token vectors of the dev set, padding left out.")
    backend: Backend = Field(
        default="auto",
        description="verilator: compiled from the exported Verilog; amaranth: Amaranth's simulator; numpy: the "
        "reference; tile: the whole tile's Verilog, activations in and quantized activations out; auto: verilator "
        "where it can be built, else numpy.",
    )
    quantum: int = Field(
        default=8,
        ge=1,
        le=65_536,
        description="Token vectors that the crossbars run ahead of the OPCs' time; 1 is exact.",
    )


@config_dataclass
class SimulateConfig:
    """How the whole chip is simulated for the costs in the report."""

    tokens: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="Length of a sequence; left out: the mean length of the dev examples.",
    )
    stream: int = Field(
        default=16, ge=2, le=4096, description="Sequences of the stream that measures throughput beside the latency."
    )
    resolution: Literal["analytic", "matrix", "tile", "crossbar"] = Field(
        default="matrix", description="Units with queues of their own: analytic, matrix, tile or crossbar."
    )
