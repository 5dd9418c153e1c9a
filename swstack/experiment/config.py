"""The configuration of a run: one TOML file, shipped or the user's, with overrides from the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from crossvote.sim.chip.config import ChipConfig, load_chip
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.files import at_home
from crossvote.sim.common.schema import build, config_dataclass, merge, read_toml, to_mapping
from crossvote.swstack.evaluation.config import CosimConfig, EvalConfig, FaultsConfig, SimulateConfig
from crossvote.swstack.experiment.overrides import lay_over, parse_override
from crossvote.swstack.mapping.config import QuantizationConfig
from crossvote.swstack.mapping.protection import PRESETS, Schemes
from crossvote.swstack.mapping.scheme import AnyScheme, Scheme
from crossvote.swstack.models.config import ModelConfig
from crossvote.swstack.models.packaged import PACKAGED_MODELS
from crossvote.swstack.pruning.config import PruneConfig
from crossvote.swstack.pruning.fault_training_config import FaultTrainingConfig
from crossvote.swstack.tasks.config import TaskConfig
from crossvote.swstack.training.config import FinetuneConfig

DEFAULT_CHIP = "crossvote"

#: Seeds are kept as signed 64-bit integers in tables.
LARGEST_SEED = (1 << 63) - 1


@config_dataclass
class MapConfig:
    """Which protection schemes are mapped and compared, on the same chips."""

    schemes: tuple[str, ...] = Field(
        default=("none", "paper", "best", "code"),
        min_length=1,
        description="Protection schemes by name: shipped presets or own ones from [map.protection.NAME].",
    )
    protection: dict[str, AnyScheme] = Field(default_factory=dict, description="Own protection schemes by name.")

    @field_validator("protection")
    @classmethod
    def _own_names(cls, schemes: dict[str, Scheme]) -> dict[str, Scheme]:
        for name in schemes:
            if name in PRESETS and schemes[name] != PRESETS[name]:
                raise ValueError(f"'{name}' is the name of a shipped scheme; call your own by another.")
        return schemes

    @field_validator("schemes")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError("every scheme can be named once only.")
        for name in names:
            if not re.fullmatch(r"[\w.+-]{1,64}", name) or name.startswith("."):
                raise ValueError(f"'{name}' names files, so it may have up to 64 letters, digits and _ - + . only.")
        return names


@config_dataclass
class RunConfig:
    """Everything that decides the numbers of a run."""

    seed: int = Field(default=0, ge=0, le=LARGEST_SEED, description="Every random draw of the run derives from it.")
    model: ModelConfig = Field(default_factory=ModelConfig)
    task: TaskConfig = Field(default_factory=TaskConfig)
    finetune: FinetuneConfig = Field(default_factory=FinetuneConfig)
    prune: PruneConfig = Field(default_factory=PruneConfig)
    fault_training: FaultTrainingConfig = Field(default_factory=FaultTrainingConfig)
    quantization: QuantizationConfig = Field(default_factory=QuantizationConfig)
    map: MapConfig = Field(default_factory=MapConfig)
    faults: FaultsConfig = Field(default_factory=FaultsConfig)
    eval: EvalConfig = Field(default_factory=EvalConfig)
    cosim: CosimConfig = Field(default_factory=CosimConfig)
    simulate: SimulateConfig = Field(default_factory=SimulateConfig)
    chip: ChipConfig = Field(default_factory=lambda: load_chip(DEFAULT_CHIP))

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> RunConfig:
        known = Schemes(self.map.protection)
        for name in self.map.schemes:
            if name not in known:
                raise ValueError(f"key 'map.schemes': '{name}' is no protection scheme; known are {', '.join(known)}.")
        if self.fault_training.epochs:
            name = self.fault_training.scheme
            if name not in known:
                raise ValueError(
                    f"key 'fault_training.scheme': '{name}' is no protection scheme; known are {', '.join(known)}."
                )
            if known[name].knows_faults:
                raise ValueError(
                    f"key 'fault_training.scheme': '{name}' programs around the faults of a single chip, so it has no "
                    "law of errors to train for; name a scheme that does not know the faults."
                )
        self.faults.pattern.check(self.chip.crossbar.rows, self.chip.crossbar.columns)
        if not (info.context or {}).get("was_checked"):
            self.check_support()
        return self

    def check_support(self, row_blocks: int = 1) -> None:
        """Refuse what the chip, the schemes and the back ends cannot do together.

        Args:
            row_blocks: of the widest matrix, where it is known.

        Raises:
            UserError: the first thing that cannot be done.
        """
        from crossvote.swstack.experiment.support import check_run

        quantization = self.quantization
        check_run(
            self.chip,
            self.protections(),
            quantization.planes,
            quantization.activations,
            self.cosim.backend,
            row_blocks,
        )

    def protections(self) -> dict[str, Scheme]:
        """The protection schemes of ``map.schemes`` in their order."""
        return {name: self.scheme(name) for name in self.map.schemes}

    def scheme(self, name: str) -> Scheme:
        """A protection scheme by name, own ones before shipped ones."""
        return Schemes(self.map.protection)[name]


def load_config(path: Path, overrides: Sequence[str] = (), *, was_checked: bool = False) -> RunConfig:
    """Read a TOML file, lay the ``key=value`` overrides over it and check the whole.

    ``[chip]`` may name a ``preset`` (a shipped name or a TOML file) and change single keys of it; without one it
    changes CrossVote's default chip. Paths are relative to the file that holds them, those of overrides to the working
    directory; in the result they are absolute.

    was_checked: whether the file is a run's own, written after ``check_support``, which looks at codes of schemes and
        so takes longer than all else here; whoever goes on to work with the run has to ask for it.

    Raises:
        UserError: a file that is no TOML, an unknown key, a wrong type or an impossible value.
    """
    data = _with_absolute_paths(read_toml(path), path.parent.absolute(), str(path))
    where = str(path)
    if overrides:
        parsed = {text: _with_absolute_paths(parse_override(text), Path.cwd(), f"-o {text}") for text in overrides}
        data = lay_over(data, parsed, str(path))
        where = f"{path} with {', '.join(f'-o {text}' for text in overrides)}"
    chip = data.get("chip", {})
    if isinstance(chip, Mapping) and ("preset" in chip or "name" not in chip):
        own = {key: value for key, value in chip.items() if key != "preset"}
        data = {**data, "chip": merge(_chip_preset(chip.get("preset", DEFAULT_CHIP)), own)}
    return build(RunConfig, data, where, {"was_checked": was_checked})


#: Keys that may hold a path, and whether they always do or may as well be a name.
_PATHS = {
    ("model", "source"): False,
    ("task", "glue_dir"): True,
    ("task", "train"): True,
    ("task", "dev"): True,
    ("chip", "preset"): False,
}


def _with_absolute_paths(data: Mapping[str, Any], folder: Path, where: str) -> dict[str, Any]:
    """The parsed values with paths made absolute. What could be a name as well is a path where it is written like one
    or something lies there."""
    resolved = dict(data)
    for (section, key), always in _PATHS.items():
        table = resolved.get(section)
        value = table.get(key) if isinstance(table, Mapping) else None
        if not isinstance(value, str) or not value or value in PACKAGED_MODELS or value.startswith("hub:"):
            continue
        try:
            place = folder / at_home(value)
            there = place.exists()
        except (UserError, OSError) as error:  # a user without a home, a name that is too long
            raise UserError(f"{where}: key '{section}.{key}' = {_short(value)}: no path ({_reason(error)}).") from None
        if "\0" in value:
            raise UserError(f"{where}: key '{section}.{key}' = {_short(value)}: no path has NUL in its name.")
        if always or value.startswith((".", "~", "/")) or there:
            # Not resolve(): a link that is moved to other data stays a link.
            resolved[section] = {**resolved[section], key: os.path.normpath(place)}
    return resolved


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error).rstrip(".")


def _short(value: str) -> str:
    return repr(value if len(value) <= 80 else f"{value[:77]}...")


def _chip_preset(preset: Any) -> dict[str, Any]:
    if not isinstance(preset, str):
        raise UserError(f"key 'chip.preset' = {preset!r}: the name of a chip preset or of a TOML file is needed.")
    return to_mapping(load_chip(preset, where="chip.preset"))
