"""The one description of the hardware: crossbar, converters and output peripheral, with units and sources.

Units are in the key names; times are integer picoseconds. Presets are TOML files beside this module; each of their
numbers has its origin in the ``[sources]`` table.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from sim.errors import UserError
from sim.schema import build, config_dataclass, read_toml


@config_dataclass
class CrossbarConfig:
    """An array of ReRAM cells."""

    rows: int = Field(ge=2, le=4096, description="word lines")
    columns: int = Field(ge=8, le=4096, description="bit lines")
    read_ps: int = Field(ge=1, description="time of one read of all bit lines, one input bit per word line")


@config_dataclass
class AdcConfig:
    """The analog-to-digital converters of one crossbar."""

    bits: int = Field(ge=1, le=16, description="resolution; codes clip at 2^bits - 1")
    per_crossbar: int = Field(ge=1, description="converters that share the bit lines of one crossbar")
    conversion_ps: int = Field(ge=1, description="time of one conversion")


@config_dataclass
class OpcConfig:
    """The output peripheral component (the RTL)."""

    columns: int = Field(ge=8, le=4096, description="bit lines that one OPC serves")
    lanes: int = Field(ge=1, le=256, description="bit-line pairs taken per clock")
    planes: int = Field(ge=1, le=15, description="magnitude bit planes of a weight, B = weight bits - 1")
    input_bits: int = Field(ge=2, le=16, description="two's complement input bits, one per read")
    clock_ps: int = Field(ge=1, description="clock period")
    queue_vectors: int = Field(ge=1, description="token vectors that fit between the converters and the OPC")


@config_dataclass
class ChipConfig:
    """A chip. ``load_chip`` reads one from a preset or a TOML file."""

    name: str
    crossbar: CrossbarConfig
    adc: AdcConfig
    opc: OpcConfig
    sources: dict[str, str] = Field(default_factory=dict, description="origin of each number, by dotted key")

    @model_validator(mode="after")
    def _consistent(self) -> ChipConfig:
        if self.opc.columns % self.opc.lanes:
            raise ValueError(
                f"opc.lanes = {self.opc.lanes} must divide opc.columns = {self.opc.columns}, "
                "because a beat carries one code pair per lane."
            )
        if self.crossbar.columns < self.opc.planes:
            raise ValueError(
                f"crossbar.columns = {self.crossbar.columns} cannot hold the {self.opc.planes} planes of one output."
            )
        return self

    @property
    def vector_interval_ps(self) -> int:
        """Initiation interval of a crossbar pair, ps: n_x reads, each as slow as the read or its conversions.

        Source: ISAAC (ISCA 2016), section on the tile pipeline, with 1-bit DACs.
        """
        conversions = -(-self.crossbar.columns // self.adc.per_crossbar)
        return self.opc.input_bits * max(self.crossbar.read_ps, conversions * self.adc.conversion_ps)

    @property
    def clips(self) -> bool:
        """True when a full bit line exceeds the ADC's range."""
        return self.crossbar.rows > (1 << self.adc.bits) - 1


def chip_presets() -> dict[str, Path]:
    """The shipped chip descriptions by name."""
    folder = resources.files("sim") / "chips"
    paths = [Path(str(entry)) for entry in folder.iterdir() if entry.name.endswith(".toml")]
    return {path.stem: path for path in sorted(paths)}


def load_chip(preset: str, overrides: dict[str, Any] | None = None) -> ChipConfig:
    """The chip of a preset name or a TOML file, with nested ``overrides`` such as {"adc": {"bits": 7}}.

    Raises:
        UserError: no such preset or file, an unknown key, a wrong type or an impossible value.
    """
    presets = chip_presets()
    path = presets.get(preset, Path(preset))
    if preset not in presets and not path.is_file():
        raise UserError(f"chip.preset = '{preset}' is neither a TOML file nor one of {', '.join(presets)}.")
    return build(ChipConfig, _merge(read_toml(path), overrides or {}), str(path))


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
