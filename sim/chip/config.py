"""The one description of the hardware: crossbar, cells, converters, output peripheral, tiles, network, digital units.

Units are in the key names; times are integer picoseconds. Presets are TOML files beside this module; each of their
numbers has its origin in the ``[sources]`` table. *Tile* and *IMA* are ISAAC's levels (ISCA 2016): crossbars with
their converters form an IMA, IMAs with a buffer form a tile, tiles on a mesh form a chip.

A key that is added here gets a default that means what chips did before it, so that a chip file goes on working;
``FORMAT`` is raised only when a key that files have changes its meaning or goes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from crossvote.sim.chip.components.base import COMPONENTS
from crossvote.sim.chip.sections import (
    MOST,
    AdcConfig,
    CellConfig,
    CrossbarConfig,
    DacConfig,
    DigitalConfig,
    FurtherConfig,
    NetworkConfig,
    OpcConfig,
    OverrideConfig,
    PackageConfig,
    PipelineConfig,
    PowerConfig,
    TileConfig,
)
from crossvote.sim.chip.shipped import chip_presets
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import at_home, write_text_atomic
from crossvote.sim.common.schema import build, config_dataclass, merge, read_toml, to_mapping

#: Version of the keys of a chip file. Up to 1 files held tables of energies and powers; now costs follow structure.
FORMAT = 2


@config_dataclass
class ChipConfig:
    """A chip. ``load_chip`` reads one from a preset or a TOML file."""

    format: int = Field(default=FORMAT, ge=1, le=MOST, description="version of these keys")
    name: str = Field(description="what the chip is called in results; a new chip is a file with a name of its own")
    crossbar: CrossbarConfig
    cell: CellConfig = Field(default_factory=lambda: CellConfig())
    dac: DacConfig
    adc: AdcConfig
    opc: OpcConfig
    pipeline: PipelineConfig
    tile: TileConfig
    network: NetworkConfig
    digital: DigitalConfig
    package: PackageConfig
    power: PowerConfig = Field(default_factory=lambda: PowerConfig())
    override: dict[str, OverrideConfig] = Field(default_factory=dict, description="measured numbers, by component")
    further: dict[str, FurtherConfig] = Field(default_factory=dict, description="parts without counted actions")
    sources: dict[str, str] = Field(default_factory=dict, description="origin of each number, by dotted key")

    @field_validator("format")
    @classmethod
    def _known_format(cls, version: int) -> int:
        if version != FORMAT:
            raise ValueError(
                f"this program reads chip files of format {FORMAT}; tables of energies and powers, as in format 1, are "
                "left out there, because costs follow structure ([override.NAME] takes measured numbers)."
            )
        return version

    @model_validator(mode="after")
    def _consistent(self) -> ChipConfig:
        if self.opc.columns % self.opc.lanes:
            raise ValueError(
                f"opc.lanes = {self.opc.lanes} must divide opc.columns = {self.opc.columns}, "
                "because a beat carries one code pair per lane."
            )
        if self.crossbar.columns < self.slices:
            raise ValueError(
                f"crossbar.columns = {self.crossbar.columns} cannot hold the {self.slices} bit lines of one output."
            )
        if self.crossbars_per_tile % self.signs:
            raise ValueError(
                f"tile.crossbars_per_ima = {self.tile.crossbars_per_ima} and tile.imas = {self.tile.imas} give an odd "
                "number of crossbars per tile, but they come in pairs."
            )
        for name, override in self.override.items():
            if name not in COMPONENTS:
                raise ValueError(f"override.{name} names no component; there are {', '.join(COMPONENTS)}.")
            own = COMPONENTS[name].actions
            for action in [*override.energy_pj, *override.interval_ps]:
                if action not in own:
                    raise ValueError(f"override.{name} names action '{action}'; the component has {', '.join(own)}.")
        return self

    @property
    def image_sizes(self) -> dict[str, int]:
        """What an image depends on of the chip, named as in ``crossvote.swstack.mapping.mapping.build_image``."""
        return {
            "rows": self.crossbar.rows,
            "columns": self.crossbar.columns,
            "adc_bits": self.adc.bits,
            "input_bits": self.opc.input_bits,
            "cell_bits": self.crossbar.cell_bits,
            "opc_columns": self.opc.columns,
            "opc_outputs": self.opc.outputs,
        }

    @property
    def slices(self) -> int:
        """Bit lines of one output without replicas: a cell of several bits holds several planes."""
        return -(-self.opc.planes // self.crossbar.cell_bits)

    @property
    def signs(self) -> int:
        """Crossbars that hold one block of weights: 2 for a differential pair."""
        return 1 if self.crossbar.pair == "none" else 2

    @property
    def digitised(self) -> int:
        """Conversions per bit line and read: 2 when both crossbars of a pair are digitised."""
        return 2 if self.crossbar.pair == "digital" else 1

    @property
    def crossbars_per_tile(self) -> int:
        """Crossbars of a tile, both signs counted."""
        return self.tile.imas * self.tile.crossbars_per_ima

    @property
    def reads(self) -> int:
        """Reads per token vector: input bits over DAC bits."""
        return -(-self.opc.input_bits // self.dac.bits)

    def read_cycle_of(self, lines: int) -> int:
        """Time from read to read, ps, when ``lines`` bit lines of every crossbar are converted.

        A periphery with a clock (``pipeline.peripheral = "rtl"``) steps reads by it: they take whole periods.
        """
        conversions = -(-lines * self.adc.shared_by // self.adc.per_crossbar)
        cycle = max(self.crossbar.read_ps, conversions * self.adc.conversion_ps)
        clock = self.opc.clock_ps if self.pipeline.peripheral == "rtl" else 1
        return -(-cycle // clock) * clock

    @property
    def read_cycle_ps(self) -> int:
        """Time from read to read with all bit lines in use, ps: the read or its conversions, whichever is slower."""
        return self.read_cycle_of(self.crossbar.columns)

    @property
    def vector_interval_ps(self) -> int:
        """Initiation interval of a crossbar, ps: one read per input digit.

        Source: ISAAC (ISCA 2016), section on the tile pipeline.
        """
        return self.reads * self.read_cycle_ps

    @property
    def largest_sum(self) -> int:
        """Sum of a full bit line, in levels of a cell."""
        return self.crossbar.rows * ((1 << self.crossbar.cell_bits) - 1) * ((1 << self.dac.bits) - 1)

    @property
    def clips(self) -> bool:
        """True when a full bit line exceeds the ADC's range."""
        return self.largest_sum > (self.adc.full_scale or (1 << self.adc.bits) - 1)

    def save(self, path: str | Path) -> None:
        """Write the chip as a TOML file, which ``load_chip`` and ``chip.preset`` of a configuration take, too."""
        import tomli_w

        write_text_atomic(at_home(path), tomli_w.dumps(to_mapping(self)))

    @classmethod
    def load(cls, path: str | Path) -> ChipConfig:
        """The chip of a TOML file.

        Raises:
            UserError: as ``load_chip``.
        """
        return build(cls, _read(at_home(path), ()), str(path))


def load_chip(preset: str, overrides: dict[str, Any] | None = None, where: str = "chip") -> ChipConfig:
    """The chip of a preset name or a TOML file, with nested ``overrides`` such as {"adc": {"bits": 7}}.

    A file is a whole description, or names what it starts from (``preset = "crossvote"``, or another file, relative to
    it) and says what differs. ``where`` is what gave ``preset``, for messages.

    Raises:
        UserError: no such preset or file, an unknown key, a wrong type or an impossible value.
    """
    path = _described(preset, Path(), where)
    return build(ChipConfig, merge(_read(path, ()), overrides or {}), str(path))


def _described(preset: str, folder: Path, where: str) -> Path:
    """The file of a preset or of a path, relative to ``folder``."""
    presets = chip_presets()
    path = presets.get(preset, folder / preset)
    if not path.is_file():
        raise UserError(f"{where} = '{preset}' is neither a TOML file nor one of {', '.join(presets)}.")
    return path


def _read(path: Path, before: tuple[Path, ...]) -> dict[str, Any]:
    """What a file says, over what it starts from. before: the files that start from this one."""
    if path.resolve() in before:
        raise UserError(f"{path}: preset: the file starts from itself.")
    own = read_toml(path)
    preset = own.pop("preset", None)
    if preset is None:
        return own
    if not isinstance(preset, str):
        raise UserError(f"{path}: preset = {preset!r} must be the name of a preset or of a file.")
    start = _described(preset, path.parent, f"{path}: preset")
    return merge(_read(start, (*before, path.resolve())), own)
