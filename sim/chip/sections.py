"""The tables of a chip file, one class each; ``crossvote.sim.chip.config`` puts them together.

Units are in the key names; times are integer picoseconds.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from crossvote.sim.common.schema import config_dataclass

#: Bounds of what a chip may be, far beyond what is built: a time of one second, a TiB, a billion of anything, and of a
#: measured number what still adds up in double precision.
MOST_PS, MOST_BYTES, MOST, MOST_REAL = 10**12, 1 << 40, 10**9, 1e15
#: A measured energy or time, by action.
_Measured = Annotated[float, Field(ge=0, le=MOST_REAL)]


@config_dataclass
class CrossbarConfig:
    """An array of ReRAM cells."""

    rows: int = Field(ge=2, le=4096, description="word lines")
    columns: int = Field(ge=8, le=4096, description="bit lines")
    cell_bits: int = Field(ge=1, le=8, description="bits of a cell")
    pair: Literal["none", "digital", "analog"] = Field(
        description="none: one crossbar holds signed weights (offset); digital: a positive and a negative crossbar, "
        "both digitised; analog: a pair, subtracted before one conversion"
    )
    read_ps: int = Field(
        ge=1, le=MOST_PS, description="time of one read of all bit lines, one input digit per word line"
    )


@config_dataclass
class CellConfig:
    """How far cells are from ideal ones; the defaults are ideal. Their bits are ``crossbar.cell_bits``.

    Source of the disturb faults: arXiv 2401.11664, section 2.1.
    """

    on_off_ratio: float | None = Field(
        default=None,
        gt=1,
        le=1e9,
        description="low over high resistance conductance; absent: a cell at 0 does not conduct",
    )
    variation: float = Field(
        default=0.0, ge=0, le=5, description="standard deviation of the logarithm of the conductance"
    )
    verified_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the used cells, those whose conductance counts most, that are written with verification",
    )
    verified_variation: float = Field(
        default=0.0, ge=0, le=5, description="what cell.variation is for the cells that are written with verification"
    )
    one_disturb: float = Field(default=0.0, ge=0, le=1, description="chance that a cell at 1 reads 0, in each read")
    write_pj: float = Field(
        default=1.29, ge=0, le=MOST_REAL, description="energy of programming one cell, verification included"
    )
    write_row_ps: int = Field(
        default=85_700, ge=0, le=MOST_PS, description="time of programming one word line of a crossbar"
    )
    endurance: float = Field(default=1e8, gt=0, le=MOST_REAL, description="writes that a cell survives")
    zero_disturb: float = Field(default=0.0, ge=0, le=1, description="chance that a cell at 0 reads 1, in each read")

    @model_validator(mode="after")
    def _one_kind(self) -> CellConfig:
        if self.verified_variation > self.variation:
            raise ValueError(
                f"cell.verified_variation = {self.verified_variation:g} is more than cell.variation = "
                f"{self.variation:g}; verification makes cells vary less."
            )
        if self.variation and (self.one_disturb or self.zero_disturb):
            raise ValueError(
                "cell.variation and cell.one_disturb or cell.zero_disturb cannot be simulated together; set one to 0."
            )
        return self


@config_dataclass
class DacConfig:
    """The digital-to-analog converters, one per word line of a crossbar."""

    bits: int = Field(ge=1, le=8, description="input bits driven per read")


@config_dataclass
class AdcConfig:
    """The analog-to-digital converters behind the crossbars."""

    bits: int = Field(ge=1, le=16, description="resolution; codes clip at 2^bits - 1")
    full_scale: float | None = Field(
        default=None, gt=0, le=1e9, description="sum, in levels of a cell, of the last code; absent: one code per level"
    )
    may_clip: bool = Field(
        default=False, description="true: a bit line whose sum can exceed the last code is meant to be so"
    )
    per_crossbar: int = Field(ge=1, le=4096, description="converters of a sharing group of crossbars")
    shared_by: int = Field(ge=1, le=4096, description="crossbars in a sharing group")
    conversion_ps: int = Field(ge=1, le=MOST_PS, description="time of one conversion")


@config_dataclass
class OpcConfig:
    """The output peripheral component (the RTL)."""

    columns: int = Field(ge=8, le=4096, description="bit lines that one OPC serves")
    lanes: int = Field(ge=1, le=256, description="bit-line pairs taken per clock")
    planes: int = Field(ge=1, le=16, description="bits of a weight that cells hold: B = weight bits - 1 for a pair")
    input_bits: int = Field(ge=2, le=16, description="two's complement input bits, one per read")
    row_blocks: int = Field(default=32, ge=1, le=256, description="most row blocks that are added before the vote")
    voter: bool = Field(default=True, description="has the median of three replicas")
    column_map: bool = Field(
        default=True,
        description="has a writable column map; false: a fixed one, outputs side by side, no flips, no replicas",
    )
    scale_bits: int = Field(
        default=0,
        ge=0,
        le=17,
        description="bits of the multiplier that scales each output; 0 leaves the scale stage out",
    )
    log_bits: int = Field(
        default=0,
        ge=0,
        le=24,
        description="bits of the count, per bit line, of votes in which it was not the median; 0 leaves the log out",
    )
    checksum_bits: int = Field(
        default=0,
        ge=0,
        le=16,
        description="most checksum bit lines that the column sums of a vector are checked against; 0 leaves the check "
        "out",
    )
    clock_ps: int = Field(ge=1, le=MOST_PS, description="clock period")
    queue_vectors: int = Field(
        ge=1, le=MOST, description="token vectors that fit between the converters and a group's OPCs"
    )

    @property
    def outputs(self) -> int:
        """Most outputs of an OPC, as in ``OpcParameters.outputs``."""
        return self.columns // self.planes


@config_dataclass
class PipelineConfig:
    """How a token vector passes a tile, in cycles of one read (``ChipConfig.read_cycle_ps``)."""

    peripheral: Literal["rtl", "cycles"] = Field(
        description="rtl: the output peripheral takes the clock cycles of the OPC's RTL; cycles: shift_add_cycles"
    )
    fetch_cycles: int = Field(ge=0, le=MOST, description="tile buffer to input registers")
    shift_add_cycles: int = Field(ge=0, le=MOST, description="shift-and-add of the last read, when peripheral = cycles")
    store_cycles: int = Field(ge=0, le=MOST, description="activation and write into the tile buffer")


@config_dataclass
class TileConfig:
    """A tile: IMAs around a buffer."""

    imas: int = Field(ge=1, le=MOST, description="IMAs per tile")
    crossbars_per_ima: int = Field(ge=1, le=MOST, description="crossbars per IMA")
    buffer_bytes: int = Field(ge=1, le=MOST_BYTES, description="capacity of the tile buffer")
    kv_share: float = Field(gt=0, le=1, description="part of the buffer that may hold Q, K and V of waiting tokens")
    bus_bits: int = Field(ge=1, le=MOST, description="wires between buffer and IMAs")
    bus_ps: int = Field(ge=0, le=MOST_PS, description="time of one bus transfer")
    buffer_ports: int = Field(default=2, ge=1, le=16, description="banks of the buffer that work at the same time")
    buffer_bits: int = Field(default=256, ge=8, le=4096, description="bits of one access to a bank")
    buffer_ps: int = Field(default=1667, ge=0, le=MOST_PS, description="time from access to access of a bank")
    queue_vectors: int = Field(
        ge=1, le=MOST, description="places for token vectors in front of every stage of the pipeline"
    )


@config_dataclass
class NetworkConfig:
    """Mesh of routers with dimension-ordered (X first) routing; 0 ps makes a part ideal."""

    tiles_per_router: int = Field(ge=1, le=MOST, description="tiles that share a router")
    flit_bits: int = Field(ge=1, le=MOST, description="width of a link")
    link_ps: int = Field(ge=0, le=MOST_PS, description="time of one flit on a link")
    router_ps: int = Field(ge=0, le=MOST_PS, description="delay of the first flit per router")
    buffer_flits: int = Field(
        default=0,
        ge=0,
        le=1 << 20,
        description="flits of a transfer that the input of a router holds, with credits back to the sender: one that "
        "has to wait and does not fit holds the links behind it; 0: as many as come",
    )


@config_dataclass
class DigitalConfig:
    """Digital units in every tile; the tiles of a transformer layer share its work evenly.

    Operations are per element: a score for softmax, a hidden unit for layer norm and residual, an intermediate
    unit for GELU.
    """

    attention: Literal["digital", "sram-cim", "reram-write"] = Field(
        default="digital",
        description="digital: multiply-accumulate units read K and V from the tile buffers; sram-cim: K and V lie in "
        "SRAM that computes; reram-write: they are written into crossbars, for every sequence anew",
    )
    clock_ps: int = Field(ge=1, le=MOST_PS, description="clock period")
    macs_per_tile: int = Field(ge=1, le=MOST, description="8-bit multiply-accumulate units per tile (QK^T and AV)")
    lanes_per_tile: int = Field(
        ge=1, le=MOST, description="vector lanes per tile (softmax, layer norm, GELU, residual)"
    )
    softmax_ops: int = Field(ge=0, le=MOST, description="operations per score")
    layer_norm_ops: int = Field(ge=0, le=MOST, description="operations per hidden unit")
    gelu_ops: int = Field(ge=0, le=MOST, description="operations per intermediate unit")
    residual_ops: int = Field(ge=0, le=MOST, description="operations per hidden unit")
    attention_ps: int = Field(ge=0, le=MOST_PS, description="least latency of QK^T, and of AV")
    softmax_ps: int = Field(ge=0, le=MOST_PS, description="least latency of softmax")
    layer_norm_ps: int = Field(ge=0, le=MOST_PS, description="least latency of residual and layer norm")
    gelu_ps: int = Field(ge=0, le=MOST_PS, description="least latency of GELU")


@config_dataclass
class PackageConfig:
    """Chips and the links between them and the host."""

    tiles: int = Field(ge=1, le=MOST, description="tiles per chip")
    chips: int = Field(ge=1, le=MOST, description="chips that may be used")
    link_byte_ps: int = Field(
        ge=0, le=MOST_PS, description="time per byte between host and chip, and between neighbouring chips"
    )


@config_dataclass
class PowerConfig:
    """What is switched off when it does nothing; static power and leakage of the rest are always drawn."""

    gating: Literal["none", "unused", "idle"] = Field(
        default="none",
        description="none: all of a chip leaks; unused: tiles without weights are off; idle: so are, in between, units "
        "that hold no data (converters, drivers, output peripherals, digital units)",
    )
    gated_share: float = Field(
        default=0.1, ge=0, le=1, description="part of its leakage that a unit draws when switched off"
    )


@config_dataclass
class OverrideConfig:
    """Measured numbers in the place of a component's model; what is absent follows the model."""

    energy_pj: dict[str, _Measured] = Field(default_factory=dict, description="dynamic energy of one action, by name")
    interval_ps: dict[str, _Measured] = Field(
        default_factory=dict,
        description="least time from action to action, for the power at full activity; a run's times follow other keys",
    )
    area_um2: float | None = Field(default=None, ge=0, le=MOST_REAL, description="area of one instance")
    leakage_mw: float | None = Field(
        default=None, ge=0, le=MOST_REAL, description="power of one instance that does nothing"
    )


@config_dataclass
class FurtherConfig:
    """A part of the chip that no counted action uses: its power and its area are all that is known of it."""

    per: Literal["ima", "tile", "router", "chip"] = Field(description="what each instance belongs to")
    count: float = Field(gt=0, le=MOST_REAL, description="instances per such unit")
    power_mw: float = Field(ge=0, le=MOST_REAL, description="power of one instance at full activity")
    area_um2: float = Field(ge=0, le=MOST_REAL, description="area of one instance")
    static: bool = Field(default=False, description="draws its power all the time, not only at full activity")
